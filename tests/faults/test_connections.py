"""PostgreSQL gives no more connections: the stream waits, and goes on when there is one again."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.brokers import ScriptedBroker
from tests.effects import handlers
from tests.processes import Tom, running, wait_until
from tests.streams import entry


@pytest.fixture
def administrator(postgres_url: str) -> Iterator[psycopg.Connection]:
    """A connection that no limit holds for."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def role(postgres_url: str, administrator: psycopg.Connection) -> Iterator[str]:
    """Who the TOM is for PostgreSQL: the owner of its database, and no superuser."""
    name, database = f"role_{uuid.uuid4().hex[:12]}", urlsplit(postgres_url).path[1:]
    administrator.execute(f'CREATE ROLE "{name}" LOGIN')
    administrator.execute(f'ALTER DATABASE "{database}" OWNER TO "{name}"')
    yield name
    administrator.execute(f'REASSIGN OWNED BY "{name}" TO CURRENT_USER')
    administrator.execute(f'DROP OWNED BY "{name}"')
    administrator.execute(f'DROP ROLE "{name}"')


@pytest.mark.postgres
def test_too_many_connections(
    broker: ScriptedBroker,
    topic: str,
    group_id: str,
    postgres_url: str,
    administrator: psycopg.Connection,
    role: str,
    tmp_path: Path,
) -> None:
    """Others have taken them all, and the stream has lost its own."""
    server = urlsplit(postgres_url)
    tom = Tom(tmp_path, server._replace(netloc=f"{role}@{server.netloc.rpartition('@')[2]}").geturl())
    tom.migrate()
    tom.streams = [entry(broker.bootstrap_servers, group_id, {topic: "one"})]
    broker.create_topic(topic)

    def publish(numbers: range) -> None:
        for number in numbers:
            broker.produce(topic, handlers.content(n=number))
        broker.flush()

    def offsets() -> list[int]:
        return [row[0] for row in administrator.execute('SELECT "offset" FROM effects_effect ORDER BY 1').fetchall()]

    publish(range(3))
    with running(tom, "readstreams") as process:
        wait_until(lambda: offsets() == [0, 1, 2] or process.poll() is not None, "the first alerts")
        administrator.execute(f'ALTER ROLE "{role}" CONNECTION LIMIT 0')
        administrator.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = %s", [role])
        wait_until(lambda: "too many connections for role" in process.log.read_text(), "the stream to wait")
        publish(range(3, 6))
        assert process.poll() is None
        assert offsets() == [0, 1, 2]
        administrator.execute(f'ALTER ROLE "{role}" CONNECTION LIMIT -1')
        wait_until(lambda: len(offsets()) >= 6, "the alerts after it")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, process.log.read_text()
    assert offsets() == list(range(6))
    counted = "SELECT outcome, sum(n)::int FROM tom_alertstreams_outcomecount GROUP BY outcome"  # a row for each hour
    assert tom.query(counted) == [("done", 6)]
    assert tom.query("SELECT count(*) FROM tom_alertstreams_deadletter") == [(0,)]
    text = process.log.read_text()
    assert text.count("too many connections") <= 3, text
    assert "is down" not in text
    assert "Traceback" not in text
