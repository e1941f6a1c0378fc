"""The database goes away, takes no writes, is slow, or is locked: nothing is lost, nothing is double, no attempt is spent."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress

import psycopg
import pytest
from django.db import DEFAULT_DB_ALIAS, OperationalError, connection, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from tests.brokers import ScriptedBroker
from tests.effects import handlers
from tests.effects.models import OnlyOnce
from tests.marks import CORE_TABLES
from tests.processes import wait_until
from tests.streams import counts, effects, in_a_thread, make, next_offset, run_once, send
from tom_alertstreams.alerts import Alert
from tom_alertstreams.delivery.intake import Intake
from tom_alertstreams.delivery.offsets import Offsets
from tom_alertstreams.delivery.runs import State
from tom_alertstreams.delivery.supervisor import StreamThread
from tom_alertstreams.models import DeadLetter, Installation, StreamPartition

pytestmark = pytest.mark.usefixtures("fresh_handlers")
STYLES = ["write_then_trouble", "each", "many"]


@contextmanager
def started(broker: ScriptedBroker, group_id: str, topic: str, handler: str) -> Iterator[StreamThread]:
    """A stream in a thread, as the supervisor runs it, until the block ends."""
    with in_a_thread(make(broker.bootstrap_servers, group_id, {topic: handler})) as thread:
        yield thread


def terminate(pid: int) -> None:
    """End a session of PostgreSQL, as an administrator would; it is gone when this returns."""
    with psycopg.connect(_dsn(), autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


def _dsn() -> str:
    settings = connection.settings_dict
    return f"host={settings['HOST']} port={settings['PORT']} user={settings['USER']} dbname={settings['NAME']}"


@pytest.mark.postgres
@CORE_TABLES
class TestPostgres:
    @pytest.mark.parametrize("handler", STYLES)
    def test_session_ended_while_idle(self, broker: ScriptedBroker, topic: str, group_id: str, handler: str) -> None:
        sessions: list[int] = []
        handlers.trouble.append(lambda alert: sessions.append(connection.connection.info.backend_pid))
        broker.create_topic(topic)
        send(broker, topic, range(3))
        with started(broker, group_id, topic, handler) as thread:
            wait_until(lambda: effects(topic) == [0, 1, 2], "the first alerts")
            terminate(sessions[-1])
            send(broker, topic, range(3, 6))
            wait_until(lambda: len(effects(topic)) >= 6, "the alerts after it")
            assert thread.status.state is State.RUNNING
        assert effects(topic) == list(range(6))
        assert counts() == {"done": 6}
        assert len(set(sessions)) == 2
        assert not DeadLetter.objects.exists()

    @pytest.mark.parametrize(
        ("handler", "again"),
        [("write_then_trouble", False), ("write_then_trouble", True), ("each", True), ("many", False)],
    )
    def test_session_ended_in_the_middle_of_a_transaction(
        self, broker: ScriptedBroker, topic: str, group_id: str, handler: str, again: bool
    ) -> None:
        """More often than there are attempts; the handler meets the error itself, or our commit does."""

        def lose(alert: Alert) -> None:
            if alert.offset == 2 and handlers.calls.count(2) <= 5:
                terminate(connection.connection.info.backend_pid)
                if again:
                    handlers.write(alert, "into nothing")

        broker.create_topic(topic)
        send(broker, topic, range(5))
        handlers.trouble.append(lose)
        status = run_once(make(broker.bootstrap_servers, group_id, {topic: handler}))
        assert handlers.calls.count(2) == 6
        assert effects(topic) == list(range(5))
        assert counts() == {"done": 5}
        assert next_offset(group_id, topic) == 5
        assert "the database cannot be used" in status.last_error
        assert not DeadLetter.objects.exists()

    def test_session_that_may_only_read_is_left(self, broker: ScriptedBroker, topic: str, group_id: str) -> None:
        """The database was read-only when the session began, and is not any more: only a new session knows."""

        def be_read_only() -> None:
            with connection.cursor() as cursor:
                cursor.execute("SET default_transaction_read_only = on")

        handlers.trouble.append(lambda alert: alert.offset == 1 and transaction.on_commit(be_read_only))
        broker.create_topic(topic)
        send(broker, topic, range(4))
        with started(broker, group_id, topic, "one"):
            wait_until(lambda: len(effects(topic)) >= 4, "the alerts after it")
        assert effects(topic) == [0, 1, 2, 3]
        assert counts() == {"done": 4}

    @pytest.mark.parametrize("handler", STYLES)
    def test_commit_whose_answer_is_lost(
        self,
        broker: ScriptedBroker,
        topic: str,
        group_id: str,
        handler: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The server has committed and the connection breaks before it can say so; all alerts are fetched by then."""
        commit, poll, lost = BaseDatabaseWrapper.commit, Intake.poll, []

        def commit_unheard(wrapper: BaseDatabaseWrapper) -> None:
            commit(wrapper)
            if 1 in handlers.calls and not lost:
                lost.append(True)
                wrapper.connection.close()
                raise OperationalError from psycopg.OperationalError("server closed the connection unexpectedly")

        def poll_to_the_end(intake: Intake, timeout_s: float, *, fetch: bool) -> None:
            poll(intake, timeout_s, fetch=fetch)
            while any(intake.held.values()) and not intake._arrived:
                poll(intake, 0.05, fetch=True)

        monkeypatch.setattr(BaseDatabaseWrapper, "commit", commit_unheard)
        monkeypatch.setattr(Intake, "poll", poll_to_the_end)
        broker.create_topic(topic)
        send(broker, topic, range(4))
        run_once(make(broker.bootstrap_servers, group_id, {topic: handler}))
        assert lost
        assert effects(topic) == [0, 1, 2, 3]
        assert counts() == {"done": 4}
        assert handlers.calls == [0, 1, 2, 3]

    @pytest.mark.parametrize("handler", STYLES)
    def test_one_alert_always_runs_into_the_statement_timeout(
        self, broker: ScriptedBroker, topic: str, group_id: str, handler: str
    ) -> None:
        def be_slow(alert: Alert) -> None:
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL statement_timeout = '50ms'")
                cursor.execute("SELECT pg_sleep(%s)", [10 if alert.offset == 2 else 0])

        broker.create_topic(topic)
        send(broker, topic, range(6))
        handlers.trouble.append(be_slow)
        with started(broker, group_id, topic, handler):
            wait_until(lambda: counts().get("done", 0) + counts().get("dead", 0) == 6, "an end of each alert")
        assert effects(topic) == [0, 1, 3, 4, 5]
        letter = DeadLetter.objects.get()
        assert (letter.offset, letter.state, letter.attempts) == (2, "open", 3)
        assert "statement timeout" in letter.error
        assert counts() == {"done": 5, "waiting": 2, "dead": 1}

    @pytest.mark.parametrize(
        ("handler", "times", "spent"), [("write_then_trouble", 1, {"waiting": 1}), ("each", 2, {}), ("many", 2, {})]
    )
    def test_deadlock(
        self, broker: ScriptedBroker, topic: str, group_id: str, handler: str, times: int, spent: dict[str, int]
    ) -> None:
        """A real one, with a session that has the second row and wants the first; ours is the victim.

        An alert of a group is tried alone before that costs an attempt.
        """
        met = []

        def meet(alert: Alert) -> None:
            if alert.offset == 2 and len(met) < times:
                met.append(alert)
                with _rival("first", "second") as meet_rival, connection.cursor() as cursor:
                    cursor.execute("SET LOCAL deadlock_timeout = '20ms'")
                    OnlyOnce.objects.select_for_update().get(name="first")
                    meet_rival()
                    OnlyOnce.objects.select_for_update().get(name="second")

        for name in ("first", "second"):
            OnlyOnce.objects.create(name=name)
        broker.create_topic(topic)
        send(broker, topic, range(5))
        handlers.trouble.append(meet)
        run_once(make(broker.bootstrap_servers, group_id, {topic: handler}))
        assert len(met) == times
        assert handlers.calls.count(2) == times + 1  # the last one was no victim
        assert effects(topic) == [0, 1, 2, 3, 4]
        assert not DeadLetter.objects.exists()
        assert counts() == {"done": 5, **spent}

    @pytest.fixture
    def short_lock_timeout(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Sessions of ours wait 50 ms for a lock."""
        monkeypatch.setitem(connections.databases[DEFAULT_DB_ALIAS]["OPTIONS"], "options", "-c lock_timeout=50ms")
        connection.close()
        yield
        connection.close()

    @pytest.mark.parametrize("handler", STYLES)
    def test_row_of_the_offset_is_locked(
        self,
        broker: ScriptedBroker,
        topic: str,
        group_id: str,
        handler: str,
        short_lock_timeout: None,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """By another session, which lets go at once: the transaction had no alert yet, so none is at fault."""
        begin = Offsets.begin

        def begin_and_let_go(offsets: Offsets, alerts: Sequence[Alert]) -> None:
            try:
                begin(offsets, alerts)
            except OperationalError:
                rival.rollback()
                raise

        broker.create_topic(topic)
        send(broker, topic, range(2))
        stream = (broker.bootstrap_servers, group_id, {topic: handler})
        run_once(make(*stream))
        send(broker, topic, range(2, 5))
        monkeypatch.setattr(Offsets, "begin", begin_and_let_go)
        with psycopg.connect(_dsn()) as rival:
            rival.execute(f"SELECT 1 FROM {StreamPartition._meta.db_table} FOR UPDATE")
            status = run_once(make(*stream))
        assert "the database cannot be used" in status.last_error
        assert handlers.calls == [0, 1, 2, 3, 4]
        assert effects(topic) == [0, 1, 2, 3, 4]
        assert counts() == {"done": 5}

    @pytest.mark.parametrize("handler", STYLES)
    def test_handler_and_everybody_else_wait_for_a_lock(
        self,
        broker: ScriptedBroker,
        topic: str,
        group_id: str,
        handler: str,
        short_lock_timeout: None,
    ) -> None:
        """More often than there are attempts: while the database takes no writes at all, the alert is not at fault."""

        def want_the_row(alert: Alert) -> None:
            if alert.offset == 2:
                if handlers.calls.count(2) == 6:
                    rival.rollback()
                OnlyOnce.objects.select_for_update().get(name="wanted")

        OnlyOnce.objects.create(name="wanted")
        Installation.current()
        broker.create_topic(topic)
        send(broker, topic, range(5))
        handlers.trouble.append(want_the_row)
        with psycopg.connect(_dsn()) as rival:
            for model in (OnlyOnce, Installation):
                rival.execute(f"SELECT 1 FROM {model._meta.db_table} FOR UPDATE")
            run_once(make(broker.bootstrap_servers, group_id, {topic: handler}))
        assert handlers.calls.count(2) == 6
        assert effects(topic) == [0, 1, 2, 3, 4]
        assert counts() == {"done": 5}


@contextmanager
def _rival(wanted: str, held: str) -> Iterator[Callable[[], None]]:
    """A session that holds one row of OnlyOnce. The call lets it ask for the other, and returns when it waits for it."""
    select = f"SELECT 1 FROM {OnlyOnce._meta.db_table} WHERE name = %s FOR UPDATE"
    with psycopg.connect(_dsn()) as session, psycopg.connect(_dsn(), autocommit=True) as observer:
        session.execute("SET LOCAL deadlock_timeout = '60s'")
        session.execute(select, [held])
        pid = session.info.backend_pid

        def ask() -> None:
            with suppress(psycopg.errors.QueryCanceled):
                session.execute(select, [wanted])

        def waits() -> bool:
            row = observer.execute("SELECT wait_event_type FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone()
            return row == ("Lock",)

        asking = threading.Thread(target=ask, name="rival")

        def meet() -> None:
            asking.start()
            wait_until(waits, "the rival to wait")

        try:
            yield meet
        finally:
            session.cancel_safe()
            asking.join(20)
            session.rollback()


@pytest.mark.skipif("TEST_DATABASE_URL" in os.environ, reason="is about SQLite")
@CORE_TABLES
class TestSqlite:
    @pytest.mark.parametrize("handler", STYLES)
    def test_locked_for_longer_than_the_timeout(
        self, broker: ScriptedBroker, topic: str, group_id: str, handler: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By the web site, or by somebody's backup."""
        monkeypatch.setitem(connections.databases[DEFAULT_DB_ALIAS]["OPTIONS"], "timeout", 0.1)
        broker.create_topic(topic)
        send(broker, topic, range(2))
        with (
            started(broker, group_id, topic, handler) as thread,
            closing(sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)) as other,
        ):
            wait_until(lambda: effects(topic) == [0, 1], "the first alerts")
            wait_until(lambda: thread.status.state is State.RUNNING, "the stream to come to rest")
            other.execute("BEGIN IMMEDIATE")
            send(broker, topic, range(2, 6))
            wait_until(lambda: thread.status.state is State.WAITING, "the stream to wait")
            assert "locked" in thread.status.last_error
            other.execute("ROLLBACK")
            wait_until(lambda: len(effects(topic)) >= 6, "the alerts after it")
        assert effects(topic) == list(range(6))
        assert counts() == {"done": 6}
        assert not DeadLetter.objects.exists()
