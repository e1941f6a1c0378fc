"""Bad input through a stream: it ends as a dead letter, a rejection or an effect as the case is, and the rest goes through.

What the ready-made handler makes of single values is told by tests/unit/ingest; here every alert comes from a broker, and
the books are balanced after each run.
"""

from __future__ import annotations

import io
import json
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import fastavro
import psycopg
import pytest
from django.db import IntegrityError, connection, transaction
from tom_dataproducts.models import PhotometryReducedDatum
from tom_targets.models import BaseTarget

from tests.brokers import ScriptedBroker
from tests.effects import handlers
from tests.effects.models import Effect, OnlyOnce
from tests.streams import counts, effects, make, next_offset, run_once
from tests.unit.ingest.samples import VOEVENT, notice, voevent, ztf_packet
from tom_alertstreams.alerts import Alert
from tom_alertstreams.alertstreams.alertstream import AlertStream, get_alert_streams
from tom_alertstreams.delivery import loop
from tom_alertstreams.delivery.source import Control
from tom_alertstreams.delivery.supervisor import Supervisor
from tom_alertstreams.exceptions import RejectAlert, RetryLater
from tom_alertstreams.ingest.models import TargetAlert
from tom_alertstreams.models import DeadLetter, OutcomeCount, Rejection, StreamPartition

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

INGEST = "tom_alertstreams.ingest.handlers.ingest_targets"
STYLES = ["write_then_trouble", "each", "many"]
LARGE_ID = 2**63 - 1


@pytest.fixture(autouse=True)
def fresh_handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    handlers.reset()
    monkeypatch.setattr(loop, "_WAITING_EVERY_S", 0.02)
    monkeypatch.setattr(loop, "_FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr(loop, "_POLL_S", 0.05)
    yield
    handlers.reset()


Message = tuple[bytes | None, bytes | None]  # value and key


def publish(broker: ScriptedBroker, topic: str, messages: list[Message]) -> None:
    broker.create_topic(topic)
    for value, key in messages:
        broker.produce(topic, value, key=key)
    broker.flush()


def numbered(broker: ScriptedBroker, topic: str, count: int) -> None:
    publish(broker, topic, [(handlers.content(n=number), None) for number in range(count)])


def balanced(topic: str, messages: list[Message], group_id: str, label: str = "test") -> None:
    """Every alert has one outcome, the offset is behind the last, and what is kept is kept as it came."""
    assert next_offset(group_id, topic) == len(messages)
    rows = OutcomeCount.objects.filter(stream=label, topic=topic).values_list("outcome", "n")
    total: Counter[str] = Counter()
    for outcome, n in rows:
        total[outcome] += n
    letters = list(DeadLetter.objects.filter(stream=label, topic=topic))
    waiting = [letter for letter in letters if letter.state == DeadLetter.State.WAITING]
    assert total["done"] + total["rejected"] + total["dead"] + len(waiting) == len(messages)
    assert total["dead"] == len(letters) - len(waiting)
    for letter in letters:
        kept = tuple(None if field is None else bytes(field) for field in (letter.raw, letter.key))
        assert kept == messages[letter.offset]


def outcomes(topic: str, count: int) -> dict[int, str]:
    """Offset → done, rejected:code or dead:class of the error. More than one outcome of an alert fails here."""
    found = [(offset, f"dead:{name}") for offset, name in DeadLetter.objects.values_list("offset", "error_class")]
    found += [(offset, f"rejected:{code}") for offset, code in Rejection.objects.values_list("offset", "code")]
    written = {*TargetAlert.objects.filter(topic=topic).values_list("offset", flat=True), *effects(topic)}
    found += [(offset, "done") for offset in written]
    assert len(found) == len(dict(found)) == count
    return dict(sorted(found))


def raw(content: Any) -> bytes:
    return json.dumps(content).encode()


def avro(record: dict[str, Any], **fields: str) -> bytes:
    """A container with one record."""
    file = io.BytesIO()
    fastavro.writer(file, schema(**fields), [record])
    return file.getvalue()


def schema(**fields: str) -> dict[str, Any]:
    return {"type": "record", "name": "r", "fields": [{"name": name, "type": kind} for name, kind in fields.items()]}


def bare(record: dict[str, Any], **fields: str) -> bytes:
    file = io.BytesIO()
    fastavro.schemaless_writer(file, schema(**fields), record)
    return file.getvalue()


ENTITY_BOMB = (
    '<?xml version="1.0"?><!DOCTYPE voe:VOEvent [<!ENTITY a0 "boom">'
    + "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
    + "]>"
    + VOEVENT.partition("?>")[2].format(role="observation", trigger="&a11;", error="0.05", citation="")
)
EXTERNAL_ENTITY = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + VOEVENT.partition(
    "?>"
)[2].format(role="observation", trigger="&a;", error="0.05", citation="")
CONTAINER = avro({"objectId": "ZTF26container", "candid": LARGE_ID}, objectId="string", candid="long")

#: What comes in, and what becomes of it.
INGESTED: list[tuple[str, bytes | None, str]] = [
    ("good: the first", raw(ztf_packet("ZTF26first", 1, ra=10.0)), "done"),
    ("truncated Avro container", CONTAINER[:-20], "dead:DecodeError"),
    ("Avro container cut in its schema", CONTAINER[:30], "dead:DecodeError"),
    ("Avro container of another schema", avro({"a": 1}, a="int"), "rejected:unsupported"),
    ("Avro container with half of a ZTF packet", CONTAINER, "rejected:unsupported"),
    ("Confluent's framing without SCHEMA", b"\x00\x00\x00\x00\x07abc", "dead:DecodeError"),
    ("invalid JSON", b'{"objectId": ', "dead:DecodeError"),
    ("JSON that is deep", b"[" * 100_000, "dead:DecodeError"),
    ("JSON of something else", b'{"a": [1, 2]}', "rejected:unsupported"),
    ("invalid XML", b"<?xml version='1.0'?><voe:VOEvent", "dead:DecodeError"),
    ("XML of something else", b"<html><body/></html>", "rejected:unsupported"),
    ("entity bomb", ENTITY_BOMB.encode(), "dead:DecodeError"),
    ("external entity", EXTERNAL_ENTITY.encode(), "dead:DecodeError"),
    ("tombstone", None, "dead:DecodeError"),
    ("empty value", b"", "dead:DecodeError"),
    ("blanks", b" \n", "dead:DecodeError"),
    ("no text at all", b"\xff\xfe\x00\x01", "dead:DecodeError"),
    ("NaN", raw(ztf_packet("ZTF26nan", 2, ra=float("nan"))), "rejected:no_position"),
    ("infinity", raw(ztf_packet("ZTF26inf", 3, dec=float("inf"))), "rejected:no_position"),
    ("RA of 361", raw(ztf_packet("ZTF26ra", 4, ra=361.0)), "dead:PermanentError"),
    ("Dec of -90.1", raw(ztf_packet("ZTF26dec", 5, dec=-90.1)), "dead:PermanentError"),
    ("notice with Dec of 91", raw(notice(id=["91"], dec=91)), "dead:PermanentError"),
    ("VOEvent with NaN as its error", voevent(trigger="11", error="nan").encode(), "done"),
    ("name of 101 characters", raw(ztf_packet("Z" * 101, 6)), "dead:PermanentError"),
    ("NUL in a name", raw(ztf_packet("ZTF\x00", 7)), "dead:PermanentError"),
    ("half a surrogate in a name", raw(ztf_packet("\ud800", 8)), "dead:PermanentError"),
    ("NUL in a text", raw({"title": "a\x00b", "data": {"targets": [{"name": "x", "ra": 1, "dec": 2}]}}), "done"),
    ("NUL in plain text", b"TITLE: GCN\x00NOTICE", "rejected:unsupported"),
    ("id beyond 2**53", raw(ztf_packet("ZTF26large", LARGE_ID, ra=20.0)), "done"),
    ("its neighbour", raw(ztf_packet("ZTF26large", LARGE_ID - 1, ra=20.0, jd=2461000.5)), "done"),
    ("good: the last", raw(ztf_packet("ZTF26last", 9, ra=30.0)), "done"),
]  # fmt: skip


class TestReadyMadeHandler:
    def test_every_kind_of_bad_input(self, broker: ScriptedBroker, topic: str, group_id: str) -> None:
        messages: list[Message] = [(value, name.encode()) for name, value, _ in INGESTED]
        publish(broker, topic, messages)
        since = time.monotonic()
        run_once(
            make(broker.bootstrap_servers, group_id, {topic: {"HANDLER": INGEST, "OPTIONS": {"CREATE": "always"}}})
        )
        assert time.monotonic() - since < 30  # an entity bomb that goes off takes for ever
        balanced(topic, messages, group_id)
        found = outcomes(topic, len(messages))
        assert {INGESTED[n][0]: outcome for n, outcome in found.items()} == {name: end for name, _, end in INGESTED}
        targets = set(BaseTarget.objects.values_list("name", flat=True))
        assert targets == {"ZTF26first", "Swift 11", "x", "ZTF26large", "ZTF26last"}
        ids = TargetAlert.objects.filter(object_id="ZTF26large").values_list("alert_id", flat=True)
        assert set(ids) == {str(LARGE_ID), str(LARGE_ID - 1)}
        points = PhotometryReducedDatum.objects.filter(target__name="ZTF26large").values_list("value", flat=True)
        assert sorted(point["candid"] for point in points) == sorted(ids)
        assert TargetAlert.objects.get(object_id="x").summary == "ab"
        # None of it helps to try again.
        assert set(DeadLetter.objects.values_list("state", "attempts")) == {("open", 1)}

    def test_the_same_bad_alerts_again_change_nothing(self, broker: ScriptedBroker, topic: str, group_id: str) -> None:
        messages: list[Message] = [(value, None) for _, value, _ in INGESTED]
        publish(broker, topic, messages)
        rows = []
        for group in (f"{group_id}-1", f"{group_id}-2"):
            stream = (broker.bootstrap_servers, group, {topic: {"HANDLER": INGEST, "OPTIONS": {"CREATE": "always"}}})
            run_once(make(*stream, label=group))
            balanced(topic, messages, group, label=group)
            models = (BaseTarget, TargetAlert, PhotometryReducedDatum)
            rows.append([model.objects.count() for model in models])  # type: ignore[attr-defined]
        assert rows[0] == rows[1]
        assert 0 not in rows[0]


class TestAvro:
    def test_bare_avro_of_another_schema(
        self, broker: ScriptedBroker, topic: str, group_id: str, tmp_path: Path
    ) -> None:
        path = tmp_path / "alert.avsc"
        path.write_text(json.dumps(schema(n="long", name="string")))
        good = bare({"n": LARGE_ID, "name": "a"}, n="long", name="string")
        messages: list[Message] = [
            (good, None),
            (good[:-1], None),
            (bare({"name": "another"}, name="string"), None),
            (bare({"n": 1, "name": "a", "more": 2}, n="long", name="string", more="long"), None),
            (good, None),
        ]
        publish(broker, topic, messages)
        run_once(make(broker.bootstrap_servers, group_id, {topic: "each"}, DECODER="schemaless", SCHEMA=str(path)))
        balanced(topic, messages, group_id)
        dead = "dead:DecodeError"
        assert list(outcomes(topic, 5).values()) == ["done", dead, dead, dead, "done"]
        assert {effect.note for effect in Effect.objects.all()} == {str({"n": LARGE_ID, "name": "a"})}

    def test_schema_in_the_key(self, broker: ScriptedBroker, topic: str, group_id: str) -> None:
        key, good = raw(schema(n="long")), bare({"n": LARGE_ID}, n="long")
        messages: list[Message] = [
            (good, key),
            (good, raw(schema(n="string"))),
            (good, b"{"),
            (good, None),
            (None, key),
            (good, key),
        ]
        publish(broker, topic, messages)
        run_once(make(broker.bootstrap_servers, group_id, {topic: "each"}, DECODER="key-schema"))
        balanced(topic, messages, group_id)
        dead = "dead:DecodeError"
        assert list(outcomes(topic, 6).values()) == ["done", dead, dead, dead, dead, "done"]


class TestBrokersOfTheirOwn:
    """What their libraries make of bad bytes is caught as well."""

    def test_hopskotch(self, broker: ScriptedBroker, topic: str, group_id: str) -> None:
        forms = (b"voevent", b"json", b"avro", b"circular", b"gcntextnotice", b"blob", b"no such format", None)
        values = (
            b"",
            b"{",
            b"<a",
            ENTITY_BOMB.encode(),
            b"\xff\x00",
            CONTAINER[:-20],
            b"Obj\x01",
            b"[" * 100_000,
            None,
        )
        good = (b'{"n": 1}', b"json")
        sent = [good, *((value, form) for form in forms for value in values), good]
        broker.create_topic(topic)
        for value, form in sent:
            broker.produce(topic, value, headers=[("_format", form)] if form else None)
        broker.flush()
        since = time.monotonic()
        run_once(_hopskotch(broker, topic, group_id))
        assert time.monotonic() - since < 30
        balanced(topic, [(value, None) for value, _ in sent], group_id, label="hopskotch")
        found = outcomes(topic, len(sent))
        assert set(found.values()) == {"done", "dead:DecodeError"}
        assert found[0] == found[len(sent) - 1] == "done"
        # A text notice is any text, and a blob any bytes, as whatever has a format that hop does not know; the others
        # take none of these values.
        taken = {form for n, (_, form) in enumerate(sent) if found[n] == "done"}
        assert taken == {b"json", b"gcntextnotice", b"blob", b"no such format", None}
        assert {found[n] for n, (value, _) in enumerate(sent) if value is None} == {"dead:DecodeError"}


def _hopskotch(broker: ScriptedBroker, topic: str, group_id: str) -> AlertStream:
    options = {
        "URL": f"kafka://{broker.bootstrap_servers}/",
        "USERNAME": "",
        "GROUP_ID": group_id,
        "START_POSITION": "EARLIEST",
        "TOPIC_HANDLERS": {topic: "tests.effects.handlers.each"},
        "CONFIG": dict(broker.CONSUMER_CONFIG),
    }
    name = "tom_alertstreams.alertstreams.hopskotch.HopskotchAlertStream"
    return get_alert_streams([{"NAME": name, "LABEL": "hopskotch", "OPTIONS": options}])[0]


class Speechless(Exception):
    """Its text cannot be made."""

    def __str__(self) -> str:
        raise KeyError("text")


def _raise(errors: dict[int, Exception]) -> None:
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
    def test_an_answer_that_cannot_be_stored_stops_nobody(
        self, broker: ScriptedBroker, topic: str, group_id: str, handler: str
    ) -> None:
        """An object id that is a number, as LSST has them; a reason quoted from the alert; a delay that is no number."""
        answers: dict[int, Exception] = {
            1: RejectAlert("class", LARGE_ID),  # type: ignore[arg-type]
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
        assert Rejection.objects.get(offset=1).object_id == str(LARGE_ID)

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
