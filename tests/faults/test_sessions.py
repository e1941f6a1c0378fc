"""The sessions of a running program with PostgreSQL: how many there are, and what becomes of those that may only read."""

from __future__ import annotations

import signal
from pathlib import Path

import psycopg
import pytest

from tests.brokers import ScriptedBroker
from tests.processes import Tom, running, wait_until
from tests.streams import entry, publish, send


@pytest.fixture
def tom(tmp_path: Path, postgres_url: str) -> Tom:
    """A project on a PostgreSQL database of its own."""
    made = Tom(tmp_path, postgres_url)
    made.migrate()
    return made


def others(tom: Tom) -> list[int]:
    """Sessions of the programs that use this database."""
    sql = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    return [row[0] for row in tom.query(sql)]


def test_read_only_for_a_while(tom: Tom, postgres_url: str, broker: ScriptedBroker, topic: str, group_id: str) -> None:
    """As when a standby takes over: every session ends, and new ones may only read."""
    broker.create_topic(topic)
    send(broker, topic, range(3))
    tom.streams = [entry(broker.bootstrap_servers, group_id, {topic: "one"})]
    name = postgres_url.rpartition("/")[2]
    with running(tom, "readstreams") as process, psycopg.connect(postgres_url) as admin:
        admin.autocommit = True
        wait_until(lambda: len(tom.effects()) == 3, "the first alerts")
        admin.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        for pid in others(tom):
            admin.execute("SELECT pg_terminate_backend(%s, 5000) WHERE %s <> pg_backend_pid()", [pid, pid])
        send(broker, topic, range(3))
        wait_until(lambda: "read-only transaction" in process.log.read_text(), "the stream to wait")
        assert process.poll() is None
        admin.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
        # A session keeps what it began with.
        for pid in others(tom):
            admin.execute("SELECT pg_terminate_backend(%s, 5000) WHERE %s <> pg_backend_pid()", [pid, pid])
        wait_until(lambda: len(tom.effects()) >= 6, "the alerts after it")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, process.log.read_text()
    assert tom.effects() == [(topic, 0, offset) for offset in range(6)]
    assert tom.query("SELECT outcome, sum(n) FROM tom_alertstreams_outcomecount GROUP BY outcome") == [("done", 6)]
    assert tom.query("SELECT count(*) FROM tom_alertstreams_deadletter") == [(0,)]
    assert "Traceback" not in process.log.read_text()


def test_one_session_per_stream_and_one_more(tom: Tom, broker: ScriptedBroker, topic: str, group_id: str) -> None:
    styles = ("one", "each", "many", "prepared_with_a_query")
    for style in styles:
        publish(broker, f"{topic}-{style}", 20)
    tom.streams = [
        entry(broker.bootstrap_servers, group_id, {f"{topic}-{style}": style}, label=style) for style in styles
    ]
    seen = []
    with running(tom, "readstreams") as process:
        wait_until(lambda: seen.append(len(others(tom))) or len(tom.effects()) == 20 * len(styles), "all effects")
        wait_until(lambda: seen.append(len(others(tom))) or seen[-1] <= len(styles) + 1, "the look-up's to close")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert len(styles) <= max(seen) <= len(styles) + 2  # one look-up runs beside its stream
    wait_until(lambda: not others(tom), "the sessions to close")
