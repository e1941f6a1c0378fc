"""The simulator makes what ALeRCE would send."""

from __future__ import annotations

import io
from collections import Counter
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from typing import Any

import fastavro
import pytest

from alerce_stream.decoding import shipped_schemas
from alerce_stream.messages import parse
from alerce_stream.testing import Framing, SimulatedMessage, SimulatedNight, send
from alerce_stream.testing.records import fields_of
from tests.unit.alerce_stream.samples import alert
from tom_alertstreams.exceptions import DecodeError, RejectAlert
from tom_alertstreams.ingest.reports import TargetReport

DAYS = ("20261231", "20270101")


def read(message: SimulatedMessage) -> TargetReport:
    return parse(alert(message.value, message.topic))


class Recorder:
    """A producer that keeps what it is given."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes, bytes | None, dict[str, Any]]] = []
        self.flushed = 0

    def produce(self, topic: str, value: bytes, key: bytes | None = None, **options: Any) -> None:
        self.sent.append((topic, value, key, options))

    def flush(self) -> None:
        self.flushed += 1


def test_the_same_arguments_make_the_same_bytes() -> None:
    first, again, other = (SimulatedNight(15, seed, DAYS, changing=0.5, twice=0.5) for seed in (5, 5, 6))
    assert first.messages == again.messages
    assert first.messages != other.messages


def test_more_objects_leave_the_others_as_they_are() -> None:
    few, many = SimulatedNight(5, days=DAYS), SimulatedNight(15, days=DAYS)
    assert few.objects == many.objects[:5]
    assert {message.value for message in few.messages} <= {message.value for message in many.messages}


def test_both_classifiers_of_two_days() -> None:
    night = SimulatedNight(20, days=DAYS)
    assert set(night.topics) == {f"{prefix}_classifier_{day}" for prefix in ("lc", "stamp") for day in DAYS}
    kinds = {item.oid: item.class_name for item in night.objects}
    for message in night.messages:
        report = read(message)
        best = report.classifications[0]
        assert report.object_id == message.oid
        assert (best.classifier, best.class_name, best.probability) == (message.classifier, *message.said)  # type: ignore[misc]
        if message.topic.startswith("lc"):
            assert best.class_name == kinds[message.oid]
    assert {message.value[:4] == b"Obj\x01" for message in night.messages} == {True, False}


@pytest.mark.parametrize("framing", ["container", "schemaless", "json"])
@pytest.mark.parametrize("schema", shipped_schemas())
def test_every_schema_in_every_framing(schema: str, framing: Framing) -> None:
    curve = "lc_classification" in fields_of(schema) or schema == "elasticc_classification"
    chosen: dict[str, Any] = (
        {"stamps": None, "light_curves": schema} if curve else {"stamps": schema, "light_curves": None}
    )
    night = SimulatedNight(10, days=DAYS, framings=(framing,), **chosen)
    assert night.messages
    for message in night.messages:
        if schema == "elasticc_classification":
            with pytest.raises(RejectAlert, match="unsupported"):
                read(message)
            continue
        report = read(message)
        best = report.classifications[0]
        assert report.object_id == message.oid
        assert message.oid in night.positions
        assert (best.classifier, best.class_name, best.probability) == (message.classifier, *message.said)  # type: ignore[misc]
        if report.has_position:
            assert (report.ra, report.dec) == night.positions[message.oid][:2]


def test_confluents_framing() -> None:
    night = SimulatedNight(3, days=DAYS, framings=("confluent",))
    assert {message.value[:5] for message in night.messages} == {b"\x00\x00\x00\x00\x01"}
    for message in night.messages:
        schema = "lc_classifier_2024" if message.topic.startswith("lc") else "stamp_classifier_2025"
        record = fastavro.schemaless_reader(io.BytesIO(message.value[5:]), shipped_schemas()[schema], None)
        assert message.oid in record.values()  # type: ignore[union-attr]


def test_midnight_and_the_new_year_come_while_messages_flow() -> None:
    days = ("20261230", "20261231", "20270101", "20270102")
    night = SimulatedNight(60, days=days)
    sent = [message.sent for message in night.messages]
    assert sent == sorted(sent)
    assert max(later - earlier for earlier, later in pairwise(sent)) < timedelta(hours=6)
    for message in night.messages:
        day = datetime.strptime(message.topic[-8:], "%Y%m%d").replace(tzinfo=timezone.utc)
        # From 23 h of the day before on; what the producers hand over at the change was sent a little earlier.
        assert day - timedelta(hours=7) < message.sent < day + timedelta(hours=23)
    assert {topic[-8:] for topic in night.topics} == set(days)


def test_classes_drift_and_some_minds_are_changed() -> None:
    night = SimulatedNight(200, days=DAYS, changing=0.5)
    drift = {item.oid: [m.said for m in night.messages if m.oid == item.oid] for item in night.objects}
    changed = 0
    for item in night.objects:
        said = [each for each in drift[item.oid] if each is not None]
        if not item.has_light_curve:
            assert item.first_class == item.class_name == said[0].class_name
            continue
        assert night.final[item.oid]["lc_classifier"].class_name == item.class_name
        changed += item.first_class != item.class_name
        assert (said[1].class_name == item.class_name) == (item.first_class == item.class_name)
    assert 40 < changed < 100
    sure = [night.final[item.oid]["lc_classifier"].probability for item in night.objects if item.has_light_curve]
    assert min(sure) >= 0.75


def test_the_last_word_is_that_of_the_last_message() -> None:
    night = SimulatedNight(30, days=DAYS, changing=0.5, twice=0.5)
    for item in night.objects:
        for classifier, said in night.final[item.oid].items():
            told = [m for m in night.messages if (m.oid, m.classifier) == (item.oid, classifier)]
            assert max(told, key=lambda message: message.sent).said == said


def test_the_last_message_of_a_day_is_in_the_topics_of_both_days() -> None:
    night = SimulatedNight(10, days=DAYS)
    times = Counter(message.value for message in night.messages)
    both = {value: {m.topic for m in night.messages if m.value == value} for value, n in times.items() if n > 1}
    assert sorted(map(sorted, both.values())) == [
        [f"{prefix}_{day}" for day in DAYS] for prefix in ("lc_classifier", "stamp_classifier")
    ]


def test_messages_sent_twice() -> None:
    once, twice = (SimulatedNight(50, days=DAYS, twice=share) for share in (0, 0.3))
    assert {message.value for message in once.messages} == {message.value for message in twice.messages}
    assert 0.2 < len(twice.messages) / len(once.messages) - 1 < 0.4
    assert once.final == twice.final


def test_a_whole_topic_under_another_name() -> None:
    night = SimulatedNight(10, days=DAYS)
    topic, copy = "lc_classifier_20270101", night.copy("lc_classifier_20270101", "lc_classifier_20270103")
    assert {message.topic for message in copy} == {"lc_classifier_20270103"}
    assert [m.value for m in copy] == [m.value for m in night.messages if m.topic == topic]


def test_sending() -> None:
    night, producer = SimulatedNight(10, days=DAYS), Recorder()
    assert night.publish(producer) == len(night.messages) == len(producer.sent)
    assert producer.flushed == 1
    assert [options for *_, options in producer.sent] == [{}] * len(night.messages)
    assert night.publish(Recorder(), night.topics[:1]) == sum(m.topic == night.topics[0] for m in night.messages)
    timed = Recorder()
    send(timed, night.messages[:1], times=True, spread=True)
    milliseconds = int(night.messages[0].sent.timestamp() * 1000)
    assert timed.sent == [
        (
            night.messages[0].topic,
            night.messages[0].value,
            night.messages[0].key,
            {"partition": -1, "timestamp": milliseconds},
        )
    ]


def test_the_days_are_yesterday_and_today() -> None:
    before = datetime.now(timezone.utc)
    first, second = SimulatedNight(1).days
    assert second in (f"{before:%Y%m%d}", f"{datetime.now(timezone.utc):%Y%m%d}")
    assert datetime.strptime(second, "%Y%m%d") - datetime.strptime(first, "%Y%m%d") == timedelta(days=1)  # noqa: DTZ007


def test_broken_messages() -> None:
    bad = SimulatedNight(4, broken=True).messages[-3:]
    for message in bad[:2]:
        with pytest.raises(DecodeError):
            _ = alert(message.value, message.topic).content
    with pytest.raises(RejectAlert):
        read(bad[2])
