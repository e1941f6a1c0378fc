"""Bad handlers: whatever they raise, answer or do to their transaction, each alert has one outcome and the rest goes through.

After each run the books are balanced.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import pytest
from django.db import IntegrityError, connection, transaction

from tests.brokers import ScriptedBroker
from tests.contract.books import Message, balanced, outcomes, publish
from tests.effects import handlers
from tests.effects.models import Effect, OnlyOnce
from tests.faults import gated
from tests.marks import CORE_TABLES
from tests.streams import counts, effects, make, run_once
from tom_alertstreams.alerts import Alert
from tom_alertstreams.delivery import ledger
from tom_alertstreams.delivery.source import Control
from tom_alertstreams.delivery.supervisor import Supervisor
from tom_alertstreams.exceptions import RejectAlert, RetryLater
from tom_alertstreams.models import DeadLetter, Rejection, StreamPartition

pytestmark = [
    CORE_TABLES,
    pytest.mark.both_databases,
    pytest.mark.usefixtures("fresh_handlers"),
]

STYLES = ["write_then_trouble", "each", "many"]


class Speechless(Exception):
    """Its text cannot be made."""

    def __str__(self) -> str:
        raise KeyError("text")


def _raise(errors: Mapping[int, BaseException]) -> None:
    """Let the handler raise these, by offset, at every try."""

    def fail(alert: Alert) -> None:
        if alert.offset in errors:
            raise errors[alert.offset]

    handlers.trouble.append(fail)


class TestHandlersThatFail:
    @pytest.mark.parametrize("handler", STYLES)
    def test_whatever_is_raised_is_one_dead_letter(
        self, broker: ScriptedBroker, topic: str, group_id: str, handler: str
    ) -> None:
        errors = {
            1: ValueError("\x00 \ud800 \udfff"),
            3: KeyError(b"\xff\x00"),
            4: RecursionError(),
            6: MemoryError(),
            7: type("X" * 300, (Exception,), {})("of a class with a long name"),
            9: Speechless(),
        }
        _raise(errors)
        messages: list[Message] = [(handlers.content(n=n), b"key \x00") for n in range(11)]
        publish(broker, topic, messages)
        run_once(make(broker.bootstrap_servers, group_id, {topic: handler}))
        balanced(topic, messages, group_id)
        assert effects(topic) == [0, 2, 5, 8, 10]
        letters = {letter.offset: letter for letter in DeadLetter.objects.all()}
        assert letters.keys() == errors.keys()
        assert {(letter.attempts, letter.state) for letter in letters.values()} == {(3, "open")}
        assert all(letter.error and "\x00" not in letter.error + letter.traceback for letter in letters.values())

    @pytest.mark.parametrize("handler", STYLES)
    def test_where_an_error_cannot_be_stored_a_minimal_row_is(
        self,
        broker: ScriptedBroker,
        topic: str,
        group_id: str,
        handler: str,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.set_level(logging.CRITICAL, ledger.__name__)  # pytest-xdist cannot pass such a line on
        monkeypatch.setattr(ledger, "clean", lambda text, limit: text[:limit])
        _raise({1: ValueError("\ud800")})
        messages: list[Message] = [(handlers.content(n=n), b"key") for n in range(3)]
        publish(broker, topic, messages)
        run_once(make(broker.bootstrap_servers, group_id, {topic: handler}))
        letter = DeadLetter.objects.get()
        assert (letter.offset, letter.attempts, letter.error_class) == (1, 3, "ValueError")
        assert bytes(letter.raw or b"") == messages[1][0]
        assert "could not be stored" in letter.error
        assert effects(topic) == [0, 2]

    def test_a_handler_that_ends_its_program(self, broker: ScriptedBroker, topic: str, group_id: str) -> None:
        """As written for a script: ``sys.exit`` where the alert is not what it expects."""

        def leave(alert: Alert) -> None:
            if alert.offset == 1:
                sys.exit("what is this?")

        messages: list[Message] = [(handlers.content(n=n), None) for n in range(3)]
        publish(broker, topic, messages)
        handlers.trouble.append(leave)
        run_once(make(broker.bootstrap_servers, group_id, {topic: "write_then_trouble"}))
        balanced(topic, messages, group_id)
        assert outcomes(topic, 3) == {0: "done", 1: "dead:HandlerExit", 2: "done"}

    @pytest.mark.parametrize("handler", STYLES)
    def test_what_is_raised_and_is_no_exception_is_a_failure(
        self, broker: ScriptedBroker, topic: str, group_id: str, handler: str
    ) -> None:
        """As of asyncio and of gevent, whose time-outs and cancellations come through ``except Exception``."""
        _raise({1: asyncio.CancelledError(), 3: GeneratorExit()})
        messages: list[Message] = [(handlers.content(n=n), None) for n in range(5)]
        publish(broker, topic, messages)
        run_once(make(broker.bootstrap_servers, group_id, {topic: handler}))
        balanced(topic, messages, group_id)
        assert outcomes(topic, 5) == {
            0: "done", 1: "dead:HandlerAborted", 2: "done", 3: "dead:HandlerAborted", 4: "done"
        }  # fmt: skip
        letter = DeadLetter.objects.get(offset=1)
        assert (letter.attempts, letter.error) == (3, "the handler raised CancelledError, which is no Exception.")

    @pytest.mark.parametrize(
        ("error", "outcome"),
        [(SystemExit(2), "dead:HandlerExit"), (asyncio.CancelledError(), "dead:HandlerAborted")],
    )
    def test_a_look_up_that_ends_its_program(
        self, broker: ScriptedBroker, topic: str, group_id: str, error: BaseException, outcome: str
    ) -> None:
        """In ``prepare``, which runs in another thread."""

        def leave(alerts: list[Alert]) -> None:
            if any(alert.offset == 1 for alert in alerts):
                raise error

        messages: list[Message] = [(handlers.content(n=n), None) for n in range(3)]
        publish(broker, topic, messages)
        gated.looking_up.append(leave)
        try:
            run_once(make(broker.bootstrap_servers, group_id, {topic: "tests.faults.gated.looked_up"}))
        finally:
            gated.looking_up.clear()
        balanced(topic, messages, group_id)
        assert outcomes(topic, 3) == {0: "done", 1: outcome, 2: "done"}

    @pytest.mark.parametrize("handler", STYLES)
    def test_an_answer_that_cannot_be_stored_stops_nobody(
        self, broker: ScriptedBroker, topic: str, group_id: str, handler: str
    ) -> None:
        """An object id that is a number, as LSST has them; a reason quoted from the alert; a delay that is no number."""
        object_id = 2**63 - 1
        answers: dict[int, Exception] = {
            1: RejectAlert("class", object_id),  # type: ignore[arg-type]
            2: RejectAlert("class", None),  # type: ignore[arg-type]
            3: RejectAlert("a\x00b\ud800"),
            4: RejectAlert(None),  # type: ignore[arg-type]
            6: RejectAlert("c" * 100, "o" * 300),
            7: RetryLater(0.01, "a\x00b\ud800"),
            8: RetryLater(float("nan")),
            9: RetryLater(float("inf")),
            10: RetryLater(1e300),
        }
        _raise(answers)
        messages: list[Message] = [(handlers.content(n=n), None) for n in range(12)]
        publish(broker, topic, messages)
        run_once(make(broker.bootstrap_servers, group_id, {topic: handler}))
        balanced(topic, messages, group_id)
        assert effects(topic) == [0, 5, 11]
        assert Rejection.objects.get(offset=1).object_id == str(object_id)

    @pytest.mark.parametrize("handler", ["write_then_trouble", "many"])
    def test_a_second_try_sees_the_alert_as_it_came(
        self, broker: ScriptedBroker, topic: str, group_id: str, handler: str
    ) -> None:
        seen: list[int] = []

        def spoil(alert: Alert) -> None:
            seen.append(alert.content.pop("n"))
            alert.content["more"] = b"not JSON any more"
            if alert.offset == 1 and handlers.calls.count(1) < 3:
                raise ValueError("after it was changed")

        messages: list[Message] = [(handlers.content(n=n), None) for n in range(3)]
        publish(broker, topic, messages)
        handlers.trouble.append(spoil)
        run_once(make(broker.bootstrap_servers, group_id, {topic: handler}))
        balanced(topic, messages, group_id)
        assert effects(topic) == [0, 1, 2]
        assert seen.count(1) == 3

    @pytest.mark.parametrize("handler", STYLES)
    def test_bytes_of_a_changed_alert_are_kept_as_they_came(
        self, broker: ScriptedBroker, topic: str, group_id: str, handler: str
    ) -> None:
        def spoil(alert: Alert) -> None:
            alert.content.clear()
            if alert.offset == 1:
                raise ValueError("after it was changed")

        messages: list[Message] = [(b'{ "n":%d, "n": 1e2 }' % n, None) for n in range(3)]
        publish(broker, topic, messages)
        handlers.trouble.append(spoil)
        run_once(make(broker.bootstrap_servers, group_id, {topic: handler}))
        balanced(topic, messages, group_id)
        assert DeadLetter.objects.get().offset == 1


def swallow_with_the_orm() -> None:
    OnlyOnce(name="the same each time").save(force_insert=True)


def swallow_with_a_cursor() -> None:
    """Django does not see it: on PostgreSQL "current transaction is aborted" from here on."""
    table = connection.ops.quote_name(OnlyOnce._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {table} (name) VALUES (%s)", ["the same each time"])


class TestHandlersAndTransactions:
    @pytest.mark.parametrize("handler", STYLES)
    @pytest.mark.parametrize("insert", [swallow_with_the_orm, swallow_with_a_cursor])
    def test_swallows_an_integrity_error(
        self, broker: ScriptedBroker, topic: str, group_id: str, handler: str, insert: Any
    ) -> None:
        """A 1.x handler runs outside from then on and loses nothing; a marked one must not do it, and hears so."""
        at = 3

        def swallow(alert: Alert) -> None:
            if alert.offset >= at:
                with suppress(IntegrityError):
                    insert()

        OnlyOnce.objects.create(name="the same each time")
        messages: list[Message] = [(handlers.content(n=n), None) for n in range(6)]
        publish(broker, topic, messages)
        handlers.trouble.append(swallow)
        run_once(make(broker.bootstrap_servers, group_id, {topic: handler}))
        balanced(topic, messages, group_id)
        found = outcomes(topic, 6)  # each has one
        unharmed = connection.vendor == "sqlite" and insert is swallow_with_a_cursor
        if handler == "write_then_trouble" or unharmed:
            assert set(found.values()) == {"done"}
            assert len(Effect.objects.all()) == 6
        else:
            assert {offset for offset, outcome in found.items() if outcome == "done"} == set(range(at))
            assert len(Effect.objects.all()) == at

    @pytest.mark.parametrize("handler", ["each", "many"])
    def test_a_marked_handler_that_insists_on_its_own_transaction(
        self, broker: ScriptedBroker, topic: str, group_id: str, handler: str
    ) -> None:
        def insist(alert: Alert) -> None:
            if alert.offset == 1:
                with transaction.atomic(durable=True):
                    pass

        messages: list[Message] = [(handlers.content(n=n), None) for n in range(3)]
        publish(broker, topic, messages)
        handlers.trouble.append(insist)
        run_once(make(broker.bootstrap_servers, group_id, {topic: handler}))
        balanced(topic, messages, group_id)
        assert outcomes(topic, 3) == {0: "done", 1: "dead:RuntimeError", 2: "done"}

    @pytest.mark.parametrize("library", ["sqlalchemy", "the database's own"])
    def test_a_handler_with_a_connection_of_its_own_runs_outside(
        self, broker: ScriptedBroker, topic: str, group_id: str, library: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It refers to a row that Django has just written: the other connection sees it only once it is committed."""

        def refer(alert: Alert) -> None:
            OnlyOnce.objects.create(name=f"of {alert.offset}, call {handlers.calls.count(alert.offset)}")
            with _other_connection(library) as execute:
                execute(f"UPDATE {OnlyOnce._meta.db_table} SET name = name WHERE name LIKE 'of {alert.offset},%'")

        messages: list[Message] = [(handlers.content(n=n), None) for n in range(4)]
        publish(broker, topic, messages)
        handlers.trouble.append(refer)
        run_once(make(broker.bootstrap_servers, group_id, {topic: "write_then_trouble"}))
        balanced(topic, messages, group_id)
        assert effects(topic) == [0, 1, 2, 3]
        assert handlers.calls == [0, 0, 1, 2, 3]  # the first try is rolled back, its row with it
        assert list(OnlyOnce.objects.order_by("pk").values_list("name", flat=True)) == [
            "of 0, call 2", "of 1, call 1", "of 2, call 1", "of 3, call 1"
        ]  # fmt: skip
        assert len([r for r in caplog.records if "cannot run inside our transaction" in r.message]) == 1


@contextmanager
def _other_connection(library: str) -> Iterator[Any]:
    """A connection that Django knows nothing of; the value runs an UPDATE and commits it.

    It raises what the library raises where the lock is taken (SQLite) or, as a foreign key would, where no row is hit.
    """
    sqlite = connection.vendor == "sqlite"
    settings = connection.settings_dict
    address = str(settings["NAME"]) if sqlite else "{USER}@{HOST}:{PORT}/{NAME}".format(**settings)
    if library == "sqlalchemy":
        alchemy = pytest.importorskip("sqlalchemy")
        url = f"sqlite:///{address}" if sqlite else f"postgresql+psycopg://{address}"
        arguments = {"timeout": 0.1} if sqlite else {}
        other: Any = alchemy.create_engine(url, poolclass=alchemy.NullPool, connect_args=arguments).connect()
    else:
        other = sqlite3.connect(address, timeout=0.1) if sqlite else psycopg.connect(f"postgresql://{address}")

    def execute(sql: str) -> None:
        if other.execute(alchemy.text(sql) if library == "sqlalchemy" else sql).rowcount != 1:
            violation = psycopg.errors.ForeignKeyViolation("no such row")
            raise alchemy.exc.IntegrityError(sql, None, violation) if library == "sqlalchemy" else violation
        other.commit()

    try:
        yield execute
    finally:
        other.close()


class TestTwoClusters:
    def test_two_entries_with_one_group_and_one_topic_side_by_side(
        self, broker: ScriptedBroker, own_broker: ScriptedBroker, topic: str, group_id: str
    ) -> None:
        """Offsets, waiting alerts and dead letters of the two are not mixed up."""

        def fail(alert: Alert) -> None:
            if alert.offset == 2 and handlers.calls.count(2) <= 3:  # one of the two is given up or both go through
                raise ValueError(alert.stream)

        first: list[Message] = [(handlers.content(n=n, of="first"), None) for n in range(5)]
        second: list[Message] = [(handlers.content(n=n, of="second"), None) for n in range(7)]
        publish(broker, topic, first)
        publish(own_broker, topic, second)
        handlers.trouble.append(fail)
        streams = [
            make(broker.bootstrap_servers, group_id, {topic: "each"}, label="first"),
            make(own_broker.bootstrap_servers, group_id, {topic: "each"}, label="second"),
        ]
        assert Supervisor(streams, Control(once=True), shutdown_s=20).run() == 0
        positions = StreamPartition.objects.filter(topic=topic).values_list("next_offset", flat=True)
        assert sorted(positions) == [5, 7]
        assert len(set(StreamPartition.objects.values_list("cluster", flat=True))) == 2
        for label, messages in (("first", first), ("second", second)):
            letters = [row.offset for row in DeadLetter.objects.filter(stream=label)]
            written = Effect.objects.filter(note__contains=f"'{label}'").order_by("offset")
            assert sorted([*(row.offset for row in written), *letters]) == list(range(len(messages)))
            for letter in DeadLetter.objects.filter(stream=label):
                assert bytes(letter.raw or b"") == messages[letter.offset][0]
            total = counts(label)
            assert total["done"] + total.get("dead", 0) == len(messages)
