"""ALeRCE's daily topics on a broker: two days of classifications become Targets, whatever the API does meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import stamina
from django.db import connections
from django.utils import timezone
from tom_targets.models import Target

from alerce_stream.resolver import Position
from alerce_stream.streams import AlerceAlertStream
from alerce_stream.testing import SimulatedNight, StubApi
from tests.brokers import ScriptedBroker
from tests.streams import counts, run_once
from tom_alertstreams.alertstreams.alertstream import get_alert_streams
from tom_alertstreams.delivery import loop
from tom_alertstreams.delivery.runs import Status
from tom_alertstreams.delivery.source import Control
from tom_alertstreams.ingest.models import Classification, TargetAlert
from tom_alertstreams.models import DeadLetter, StreamPartition

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

HANDLER = "alerce_stream.handlers.ingest_classifications"
DAYS = ("20261231", "20270101")
SUPERNOVAE = {"CLASSES": ["SNIa", "SNII", "SN"]}


def positions_from_elsewhere(object_ids: list[str], api_url: str) -> dict[str, Position]:
    """A RESOLVER as a user might write it."""
    return {name: Position(12.5, -4.5) for name in object_ids}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(loop, "_WAITING_EVERY_S", 0.02)
    monkeypatch.setattr(loop, "_FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr(loop, "_LONGEST_PAUSE_S", 0.1)
    with stamina.set_testing(True):
        yield


@pytest.fixture
def night() -> SimulatedNight:
    return SimulatedNight(objects=20, days=DAYS)


@pytest.fixture
def api(night: SimulatedNight) -> Iterator[StubApi]:
    with StubApi(night.positions) as running:
        yield running


def make(
    broker: ScriptedBroker,
    group_id: str,
    rules: dict[str, Any] | None = None,
    start: str = "earliest",
    **options: Any,
) -> AlerceAlertStream:
    topic = {"HANDLER": HANDLER, "OPTIONS": SUPERNOVAE if rules is None else rules}
    config = {**broker.CONSUMER_CONFIG, "security.protocol": "PLAINTEXT", "topic.metadata.refresh.interval.ms": 200}
    entry = {
        "NAME": "alerce_stream.streams.AlerceAlertStream",
        "LABEL": "test",
        "OPTIONS": {
            "USERNAME": "",
            "BOOTSTRAP_SERVERS": broker.bootstrap_servers,
            "GROUP_ID": group_id,
            "TOPIC_HANDLERS": {"lc_classifier": topic, "stamp_classifier": topic},
            "CONFIG": config,
            **options,
        },
        "DELIVERY": {"START": start},
    }
    made = get_alert_streams([entry])[0]
    assert isinstance(made, AlerceAlertStream)
    return made


def publish(broker: ScriptedBroker, night: SimulatedNight, *topics: str) -> int:
    for topic in topics or night.topics:
        broker.create_topic(topic)
    return night.publish(broker, topics or None)


@contextmanager
def running(stream: AlerceAlertStream) -> Iterator[Status]:
    """The stream in a thread of its own, until the block ends."""
    control, status = Control(), Status(stream.settings.label)
    failures: list[BaseException] = []

    def deliver() -> None:
        try:
            stream.deliver(control, status)
        except BaseException as error:  # noqa: BLE001  (told below, in the thread of the test)
            failures.append(error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=deliver, name="alertstream-test", daemon=True)
    thread.start()
    try:
        yield status
    finally:
        control.stopping.set()
        thread.join(20)
    assert not thread.is_alive()
    assert not failures


def until(condition: Callable[[], object], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.02)


def supernovae(night: SimulatedNight) -> set[str]:
    return {item.oid for item in night.objects if item.class_name in ("SNIa", "SNII")}


def names() -> set[str]:
    return set(Target.objects.values_list("name", flat=True))


def test_two_days_of_both_classifiers(
    own_broker: ScriptedBroker, group_id: str, night: SimulatedNight, api: StubApi
) -> None:
    sent = publish(own_broker, night)
    # Of another schema, and not asked for: lc_classifier is no beginning of this name.
    own_broker.create_topic("lc_classifier_ztf_20261231")
    own_broker.produce("lc_classifier_ztf_20261231", b"\x93something else")
    own_broker.flush()
    run_once(make(own_broker, group_id, API_URL=api.url))
    assert names() == supernovae(night)
    assert {t.name: Position(t.ra, t.dec) for t in Target.objects.all()} == {
        name: night.positions[name] for name in supernovae(night)
    }
    assert sum(counts().values()) == sent
    assert set(counts()) == {"done", "rejected:class"}
    assert not DeadLetter.objects.exists()
    # One for each message about a Target; the copy of one that both days' topics hold is the same message.
    told = {message.value for message in night.messages if message.oid in supernovae(night)}
    assert TargetAlert.objects.count() == len(told)
    assert Classification.objects.filter(ranking=1).count() == TargetAlert.objects.count()
    assert set(Classification.objects.values_list("classifier", flat=True)) == {"lc_classifier", "stamp_classifier"}
    # Objects that rules refuse, and those that are known, were never looked up.
    assert {name for asked in api.requests for name in asked} == supernovae(night)
    before = (Target.objects.count(), TargetAlert.objects.count(), Classification.objects.count())
    run_once(make(own_broker, f"{group_id}-again", API_URL=api.url))
    assert (Target.objects.count(), TargetAlert.objects.count(), Classification.objects.count()) == before


@pytest.mark.parametrize("start", ["earliest", "latest"])
def test_a_topic_that_appears_later_is_found_and_read_from_its_beginning(
    own_broker: ScriptedBroker, group_id: str, night: SimulatedNight, api: StubApi, start: str
) -> None:
    """``latest`` skips what is there at the first start, and no message of a later day."""
    first, second = ([topic for topic in night.topics if topic.endswith(day)] for day in DAYS)
    publish(own_broker, night, *first)
    with running(make(own_broker, group_id, start=start, API_URL=api.url)) as status:
        until(
            lambda: status.connected and StreamPartition.objects.filter(topic__in=first, next_offset__gt=0).count() == 2
        )
        sent = publish(own_broker, night, *second)
        until(
            lambda: sum(StreamPartition.objects.filter(topic__in=second).values_list("next_offset", flat=True)) == sent
        )
    read = [message for message in night.messages if start == "earliest" or message.topic in second]
    assert names() == supernovae(night) & {message.oid for message in read}
    assert sum(counts().values()) == len(read)


def test_an_api_that_is_down_makes_the_stream_wait(
    own_broker: ScriptedBroker, group_id: str, night: SimulatedNight, api: StubApi
) -> None:
    sent = publish(own_broker, night)
    api.fail(503)
    with running(make(own_broker, group_id, API_URL=api.url)) as status:
        until(lambda: "503" in status.reason and len(api.requests) > 2)
        assert status.state.value == "waiting"
        assert not Target.objects.exists()
        assert not DeadLetter.objects.exists()
        api.recover()
        until(lambda: sum(counts().values()) == sent)
    assert names() == supernovae(night)
    assert not DeadLetter.objects.exists()


def test_an_object_that_the_api_does_not_know_yet_waits(
    own_broker: ScriptedBroker, group_id: str, night: SimulatedNight, api: StubApi
) -> None:
    unknown = night.objects[0]
    del api.positions[unknown.oid]
    publish(own_broker, night)
    run_once(make(own_broker, group_id, API_URL=api.url))
    assert names() == supernovae(night) - {unknown.oid}
    waiting = DeadLetter.objects.all()
    assert {letter.state for letter in waiting} == {"waiting"}
    assert len(waiting) == sum(message.oid == unknown.oid for message in night.messages)
    for letter in waiting:
        assert letter.next_attempt_at is not None
        assert timedelta(minutes=9) < letter.next_attempt_at - timezone.now() <= timedelta(minutes=10)
    api.positions[unknown.oid] = unknown.position
    DeadLetter.objects.update(next_attempt_at=timezone.now())
    run_once(make(own_broker, group_id, API_URL=api.url))
    assert names() == supernovae(night)
    assert not DeadLetter.objects.filter(state="waiting").exists()


def test_an_object_that_never_gets_a_position_is_a_dead_letter_after_two_days(
    own_broker: ScriptedBroker, group_id: str, night: SimulatedNight, api: StubApi
) -> None:
    unknown = night.objects[0]
    del api.positions[unknown.oid]
    publish(own_broker, night)
    run_once(make(own_broker, group_id, API_URL=api.url))
    waiting = DeadLetter.objects.count()
    for hours, state in ((47, "waiting"), (48, "open")):
        DeadLetter.objects.update(
            next_attempt_at=timezone.now(), first_failed_at=timezone.now() - timedelta(hours=hours)
        )
        run_once(make(own_broker, group_id, API_URL=api.url))
        assert set(DeadLetter.objects.values_list("state", flat=True)) == {state}
    reason = f"{api.url} knows no position of {unknown.oid}"
    assert set(DeadLetter.objects.values_list("error", "error_class")) == {(reason, "RetryLater")}
    assert counts()["dead"] == waiting > 0
    assert names() == supernovae(night) - {unknown.oid}


def test_an_api_that_is_down_spends_no_attempt_of_what_waits(
    own_broker: ScriptedBroker, group_id: str, night: SimulatedNight, api: StubApi
) -> None:
    unknown = night.objects[0]
    del api.positions[unknown.oid]
    publish(own_broker, night)
    run_once(make(own_broker, group_id, API_URL=api.url))
    api.fail(503)
    DeadLetter.objects.update(next_attempt_at=timezone.now())
    with running(make(own_broker, group_id, API_URL=api.url)) as status:
        until(lambda: "503" in status.reason)
        assert set(DeadLetter.objects.values_list("state", "attempts")) == {("waiting", 1)}
        api.recover()
        api.positions[unknown.oid] = unknown.position
        until(lambda: not DeadLetter.objects.filter(state="waiting").exists(), timeout_s=60)
    assert names() == supernovae(night)


def test_a_look_up_that_takes_longer_than_one_try_goes_on_where_it_was(
    own_broker: ScriptedBroker,
    group_id: str,
    api: StubApi,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One request for three objects, ten requests a second, 0.25 s for each try: more than nine objects need several."""
    monkeypatch.setattr("alerce_stream.resolver.IDS_PER_REQUEST", 3)
    monkeypatch.setattr("alerce_stream.resolver.PATIENCE_S", 0.25)
    night = SimulatedNight(objects=150, days=DAYS)
    api.positions = dict(night.positions)
    sent = publish(own_broker, night)
    with running(make(own_broker, group_id, API_URL=api.url, RATE=10)):
        until(lambda: sum(counts().values()) == sent, timeout_s=60)
    assert names() == supernovae(night)
    assert not DeadLetter.objects.exists()
    assert "the turn comes too late" in caplog.text or "too slow" in caplog.text
    # What was found in a try that was cut off is not asked for again.
    asked = [name for names in api.requests for name in names]
    assert sorted(asked) == sorted(supernovae(night))


def test_a_resolver_of_ones_own(own_broker: ScriptedBroker, group_id: str, night: SimulatedNight) -> None:
    publish(own_broker, night)
    run_once(make(own_broker, group_id, RESOLVER=f"{__name__}.positions_from_elsewhere"))
    # All at one place, so one Target by position and the others' names its aliases.
    target = Target.objects.get()
    assert (target.ra, target.dec) == (12.5, -4.5)
    assert {target.name, *(alias.name for alias in target.aliases.all())} == supernovae(night)


def test_without_rules_nothing_is_created_and_known_targets_are_updated(
    own_broker: ScriptedBroker, group_id: str, night: SimulatedNight, api: StubApi
) -> None:
    known = next(item for item in night.objects if item.class_name == "QSO")
    target = Target.objects.create(name=known.oid, type="SIDEREAL", ra=known.position.ra, dec=known.position.dec)
    publish(own_broker, night)
    run_once(make(own_broker, group_id, rules={}, API_URL=api.url))
    assert names() == {known.oid}
    assert set(Classification.objects.values_list("target", flat=True)) == {target.pk}
    assert set(counts()) == {"done", "rejected:no_rule"}
    assert api.requests == []


def test_broken_messages_are_kept_and_the_rest_goes_through(own_broker: ScriptedBroker, group_id: str) -> None:
    night = SimulatedNight(objects=10, days=DAYS, broken=True)
    publish(own_broker, night)
    with StubApi(night.positions) as api:
        run_once(make(own_broker, group_id, API_URL=api.url))
    assert names() == supernovae(night)
    assert {bytes(letter.raw or b"") for letter in DeadLetter.objects.all()} == {m.value for m in night.messages[-3:-1]}
    assert counts()["rejected:unsupported"] == 1
    assert counts()["dead"] == 2
