"""What the app itself writes cannot be written: a dead letter, the counts, the life of the stream, a line of the log."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta

import psycopg
import pytest
from django import db
from django.db import DEFAULT_DB_ALIAS, connection, connections, models
from django.utils import timezone

from tests.brokers import ScriptedBroker
from tests.effects import handlers
from tests.effects.models import Effect
from tests.marks import CORE_TABLES
from tests.processes import wait_until
from tests.streams import counts, effects, make, next_offset, publish, run_once
from tom_alertstreams.alerts import Alert
from tom_alertstreams.alertstreams.alertstream import AlertStream
from tom_alertstreams.delivery import loop
from tom_alertstreams.delivery.runs import State
from tom_alertstreams.delivery.source import Control
from tom_alertstreams.delivery.supervisor import StreamThread
from tom_alertstreams.models import DeadLetter, OutcomeCount, Rejection, StreamRun

pytestmark = [CORE_TABLES, pytest.mark.usefixtures("fresh_handlers")]

STYLES = ["write_then_trouble", "each", "many"]
DISK_FULL, CHECK_VIOLATION, STATEMENT_TIMEOUT = "53100", "23514", "57014"


def fail_at_2(alert: Alert) -> None:
    if alert.offset == 2:
        raise ValueError("this one")


@contextmanager
def started(stream: AlertStream) -> Iterator[StreamThread]:
    """A stream in a thread, as the supervisor runs it, until the block ends."""
    thread = StreamThread(stream, Control())  # type: ignore[arg-type]
    thread.start()
    try:
        yield thread
    finally:
        thread.control.stopping.set()
        thread.join(30)
    assert not thread.is_alive()


@contextmanager
def refused(model: type[models.Model], state: str, on: tuple[str, ...] = ("INSERT", "UPDATE")) -> Iterator[None]:
    """In this block the database refuses rows of a table: with this SQLSTATE, or as a constraint of SQLite."""
    table, postgres = model._meta.db_table, connection.vendor == "postgresql"
    text = f"no row of {table} today"

    def execute(*statements: str) -> None:
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    if postgres:
        body = f"BEGIN RAISE EXCEPTION '{text}' USING ERRCODE = '{state}'; END"
        execute(
            f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $${body}$$",
            f"CREATE TRIGGER refuse BEFORE {' OR '.join(on)} ON {table} FOR EACH ROW EXECUTE FUNCTION refuse()",
        )
    else:
        body = f"BEGIN SELECT RAISE(ABORT, '{text}'); END"
        execute(*(f"CREATE TRIGGER refuse_{what} BEFORE {what} ON {table} {body}" for what in on))
    try:
        yield
    finally:
        if postgres:
            execute("DROP FUNCTION refuse CASCADE")
        else:
            execute(*(f"DROP TRIGGER refuse_{what}" for what in on))


@pytest.mark.both_databases
@pytest.mark.parametrize("handler", STYLES)
def test_a_dead_letter_that_cannot_be_written_moves_no_offset(
    broker: ScriptedBroker, topic: str, group_id: str, handler: str
) -> None:
    """As where the table is not as it should be: nothing to wait for. The stream is down, and passes nothing over."""
    publish(broker, topic, 5)
    handlers.trouble.append(fail_at_2)
    stream = (broker.bootstrap_servers, group_id, {topic: handler})
    with refused(DeadLetter, CHECK_VIOLATION):
        for _ in range(2):  # as often as it is started
            with pytest.raises(db.IntegrityError, match="no row of"):
                run_once(make(*stream))
            assert next_offset(group_id, topic) == 2
            assert effects(topic) == [0, 1]
    assert StreamRun.objects.latest("pk").state == "down"
    run_once(make(*stream))
    assert effects(topic) == [0, 1, 3, 4]
    letter = DeadLetter.objects.get()
    assert (letter.offset, letter.state, letter.attempts) == (2, "open", 3)
    assert counts() == {"done": 4, "waiting": 2, "dead": 1}


@pytest.mark.postgres
@pytest.mark.parametrize("handler", STYLES)
@pytest.mark.parametrize("table", [DeadLetter, OutcomeCount])
def test_a_table_whose_disk_is_full_is_waited_for(
    broker: ScriptedBroker, topic: str, group_id: str, handler: str, table: type[models.Model]
) -> None:
    publish(broker, topic, 5)
    handlers.trouble.append(fail_at_2)
    with ExitStack() as stack:
        with refused(table, DISK_FULL):
            thread = stack.enter_context(started(make(broker.bootstrap_servers, group_id, {topic: handler})))
            wait_until(lambda: thread.status.state is State.WAITING, "the stream to wait")
            assert "no row of" in thread.status.last_error
            assert len(effects(topic)) == next_offset(group_id, topic) <= 2
        wait_until(lambda: DeadLetter.objects.filter(state="open").exists(), "the dead letter")
        wait_until(lambda: next_offset(group_id, topic) == 5, "the rest")
    assert effects(topic) == [0, 1, 3, 4]
    assert counts() == {"done": 4, "waiting": 2, "dead": 1}


@pytest.mark.postgres
@pytest.mark.parametrize("handler", STYLES)
def test_a_dead_letter_whose_table_is_locked_is_waited_for(
    broker: ScriptedBroker, topic: str, group_id: str, handler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by somebody who builds an index: no fault of the alert, so no try is spent."""
    publish(broker, topic, 5)
    handlers.trouble.append(fail_at_2)
    options = {**connections.databases[DEFAULT_DB_ALIAS]["OPTIONS"], "options": "-c lock_timeout=50ms"}
    monkeypatch.setitem(connections.databases[DEFAULT_DB_ALIAS], "OPTIONS", options)
    settings = connection.settings_dict
    address = f"host={settings['HOST']} port={settings['PORT']} user={settings['USER']} dbname={settings['NAME']}"
    with ExitStack() as stack:
        with psycopg.connect(address) as somebody:
            somebody.execute(f"LOCK TABLE {DeadLetter._meta.db_table} IN SHARE MODE")
            thread = stack.enter_context(started(make(broker.bootstrap_servers, group_id, {topic: handler})))
            wait_until(lambda: thread.status.state in (State.WAITING, State.DOWN), "the stream to wait")
            assert thread.status.state is State.WAITING
            assert "lock timeout" in thread.status.last_error
            assert len(effects(topic)) == next_offset(group_id, topic) <= 2
        wait_until(lambda: DeadLetter.objects.filter(state="open").exists(), "the dead letter")
        wait_until(lambda: next_offset(group_id, topic) == 5, "the rest")
    assert effects(topic) == [0, 1, 3, 4]
    assert counts() == {"done": 4, "waiting": 2, "dead": 1}


@pytest.mark.skipif("TEST_DATABASE_URL" in os.environ, reason="is about SQLite")
@pytest.mark.parametrize("handler", STYLES)
def test_a_disk_that_is_full_is_waited_for(
    broker: ScriptedBroker, topic: str, group_id: str, handler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite may have a few pages more than it has; then somebody makes room."""
    with connection.cursor() as cursor:
        cursor.execute("VACUUM")  # what the test before has deleted is room as well
        pages = cursor.execute("PRAGMA page_count").fetchone()[0]
    options = connections.databases[DEFAULT_DB_ALIAS]["OPTIONS"]
    full = {**options, "init_command": f"{options.get('init_command', '')} PRAGMA max_page_count={pages + 60};"}
    handlers.trouble.append(lambda alert: Effect.objects.filter(offset=alert.offset).update(note="x" * 100_000))
    publish(broker, topic, 10)
    with ExitStack() as stack:
        with monkeypatch.context() as patch:
            patch.setitem(connections.databases[DEFAULT_DB_ALIAS], "OPTIONS", full)
            thread = stack.enter_context(started(make(broker.bootstrap_servers, group_id, {topic: handler})))
            wait_until(lambda: thread.status.state is State.WAITING, "the stream to wait")
            assert "full" in thread.status.last_error
            assert len(effects(topic)) == next_offset(group_id, topic) < 10
        wait_until(lambda: next_offset(group_id, topic) == 10, "the rest")
    assert effects(topic) == list(range(10))
    assert counts() == {"done": 10}
    assert not DeadLetter.objects.exists()


@pytest.mark.both_databases
def test_a_life_that_cannot_be_written_is_lived_all_the_same(broker: ScriptedBroker, topic: str, group_id: str) -> None:
    publish(broker, topic, 5)
    handlers.trouble.append(fail_at_2)
    with refused(StreamRun, DISK_FULL):
        run_once(make(broker.bootstrap_servers, group_id, {topic: "write_then_trouble"}))
    assert not StreamRun.objects.exists()
    assert effects(topic) == [0, 1, 3, 4]
    assert counts() == {"done": 4, "waiting": 2, "dead": 1}


class BrokenLog(logging.Handler):
    """Raises, as Python's own handlers never do."""

    def emit(self, record: logging.LogRecord) -> None:
        raise RuntimeError("the log cannot be written")


@pytest.fixture
def broken_log() -> Iterator[None]:
    log, handler = logging.getLogger("tom_alertstreams"), BrokenLog()
    log.addHandler(handler)
    yield
    log.removeHandler(handler)


@pytest.mark.usefixtures("broken_log")
@pytest.mark.parametrize("handler", STYLES)
def test_a_log_that_cannot_be_written_stops_nobody(
    broker: ScriptedBroker, topic: str, group_id: str, handler: str
) -> None:
    publish(broker, topic, 5)
    handlers.trouble.append(fail_at_2)
    with started(make(broker.bootstrap_servers, group_id, {topic: handler})):
        wait_until(lambda: DeadLetter.objects.filter(state="open").exists(), "the dead letter")
        wait_until(lambda: next_offset(group_id, topic) == 5, "the rest")
    assert effects(topic) == [0, 1, 3, 4]
    assert counts() == {"done": 4, "waiting": 2, "dead": 1}


@pytest.mark.both_databases
@pytest.mark.parametrize(
    ("state", "next_step"),
    [
        (STATEMENT_TIMEOUT, "look at what else runs on it, and at its statement_timeout"),
        (DISK_FULL, "If the database is back nothing need be done."),
        (CHECK_VIOLATION, "If ./manage.py migrate has nothing to do"),
    ],
)
def test_old_rows_that_cannot_be_deleted_stop_nobody(
    broker: ScriptedBroker,
    topic: str,
    group_id: str,
    state: str,
    next_step: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever the error says: told once, with the next step. A database that is away is noticed by the next alert."""
    old = timezone.now() - timedelta(days=8)
    Rejection.objects.create(stream="test", topic="old", partition=0, offset=0, time=old)
    monkeypatch.setattr(loop, "_HOUSEKEEPING_EVERY_S", 0.0)
    publish(broker, topic, 5)
    stream = make(broker.bootstrap_servers, group_id, {topic: "one"}, delivery={"BATCH_SIZE": 1})
    with refused(Rejection, state, ("DELETE",)), started(stream) as thread:
        wait_until(lambda: len(effects(topic)) == 5 or thread.status.state is State.DOWN, "the alerts")
        assert thread.status.state is State.RUNNING
    assert effects(topic) == list(range(5))
    assert StreamRun.objects.count() == 1
    told = [record.getMessage() for record in caplog.records if "old rejections" in record.getMessage()]
    assert len(told) == 1
    assert f"no row of {Rejection._meta.db_table} today" in told[0]
    assert connection.vendor == "sqlite" or next_step in told[0]
    run_once(stream)
    assert not Rejection.objects.exists()
