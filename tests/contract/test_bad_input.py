"""Bad input through a stream: it ends as a dead letter, a rejection or an effect as the case is, and the rest goes through.

What the ready-made handler makes of single values is told by tests/unit/ingest; here every alert comes from a broker, and
the books are balanced after each run.
"""

from __future__ import annotations

import io
import json
import socket
import time
from pathlib import Path
from typing import Any

import fastavro
import pytest
from tom_dataproducts.models import PhotometryReducedDatum
from tom_targets.models import BaseTarget

from tests.brokers import ScriptedBroker
from tests.contract.books import Message, balanced, outcomes, publish
from tests.effects.models import Effect
from tests.streams import effects, make, run_once
from tests.unit.ingest.samples import VOEVENT, notice, voevent, ztf_packet
from tom_alertstreams.alertstreams.alertstream import AlertStream, get_alert_streams
from tom_alertstreams.ingest.models import TargetAlert
from tom_alertstreams.models import DeadLetter

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.both_databases,
    pytest.mark.usefixtures("fresh_handlers"),
]

INGEST = "tom_alertstreams.ingest.handlers.ingest_targets"
LARGE_ID = 2**63 - 1


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

    @pytest.mark.parametrize("handler", ["each", "many", "prepared"])
    def test_messages_of_hopskotch_on_a_server_that_is_silent(
        self, broker: ScriptedBroker, topic: str, group_id: str, handler: str
    ) -> None:
        """They wait; the others go on, whatever way the handler is called, and one time-out is spent on all of them."""
        with socket.create_server(("127.0.0.1", 0), backlog=16) as silent:
            address = b"http://127.0.0.1:%d/" % silent.getsockname()[1]
            away = [(b'{"url": "%s%d"}' % (address, n), b"external") for n in range(4)]
            broker.create_topic(topic)
            for value, form in [(b'{"n": 1}', b"json"), *away, (b'{"n": 1}', b"json")]:
                broker.produce(topic, value, headers=[("_format", form)])
            broker.flush()
            run_once(_hopskotch(broker, topic, group_id, handler, PREPARE_TIMEOUT_S=0.3))
            silent.settimeout(0)
            silent.accept()[0].close()
            with pytest.raises(BlockingIOError):
                silent.accept()
        assert effects(topic) == [0, 5]
        waiting = DeadLetter.objects.filter(topic=topic, state="waiting").order_by("offset")
        assert list(waiting.values_list("offset", flat=True)) == [1, 2, 3, 4]


def _hopskotch(
    broker: ScriptedBroker, topic: str, group_id: str, handler: str = "each", **delivery: Any
) -> AlertStream:
    options = {
        "URL": f"kafka://{broker.bootstrap_servers}/",
        "USERNAME": "",
        "GROUP_ID": group_id,
        "START_POSITION": "EARLIEST",
        "TOPIC_HANDLERS": {topic: f"tests.effects.handlers.{handler}"},
        "CONFIG": dict(broker.CONSUMER_CONFIG),
    }
    name = "tom_alertstreams.alertstreams.hopskotch.HopskotchAlertStream"
    return get_alert_streams([{"NAME": name, "LABEL": "hopskotch", "OPTIONS": options, "DELIVERY": delivery}])[0]
