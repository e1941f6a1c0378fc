"""ALeRCE's topics come and go by day: which are read, from where, and by which key, whatever the clock says."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from confluent_kafka import KafkaError

from alerce_stream.streams import AlerceAlertStream
from tests.brokers import ScriptedBroker
from tests.contract.test_alerce import make, running, until
from tests.effects import handlers
from tests.effects.models import Effect
from tests.marks import CORE_TABLES
from tests.streams import effects, run_once
from tom_alertstreams.models import DeadLetter, StreamPartition

pytestmark = [CORE_TABLES, pytest.mark.both_databases, pytest.mark.usefixtures("fresh_handlers")]

LAST_DAY, NEW_YEAR = "20261231", "20270101"


def stream(
    broker: ScriptedBroker, group_id: str, keys: Iterable[str] = ("lc_classifier",), start: str = "earliest"
) -> AlerceAlertStream:
    topics = dict.fromkeys(keys, "tests.effects.handlers.each")
    return make(broker, group_id, start=start, TOPIC_HANDLERS=topics)


def publish(broker: ScriptedBroker, count: int, *topics: str) -> None:
    """So many messages to the end of each of these topics, which are there."""
    for topic in topics:
        for number in range(count):
            broker.produce(topic, handlers.content(n=number), partition=0)
    broker.flush()


def appear(broker: ScriptedBroker, count: int, *topics: str) -> None:
    """The first data of a day make its topics."""
    for topic in topics:
        broker.create_topic(topic)
    publish(broker, count, *topics)


def read() -> dict[str, list[int]]:
    """Topic → offsets of what was handled, in order."""
    topics = set(Effect.objects.values_list("topic", flat=True))
    return {topic: effects(topic) for topic in topics}


def whole(**counts: int) -> dict[str, list[int]]:
    return {topic: list(range(count)) for topic, count in counts.items()}


@pytest.mark.parametrize("day", [LAST_DAY, NEW_YEAR])
def test_every_public_topic_and_no_other(own_broker: ScriptedBroker, group_id: str, day: str) -> None:
    """Names that contain one another are of different contents: a key takes its own day by day, and no longer name."""
    keys = (
        "stamp_classifier", "lc_classifier", "lc_classifier_ztf", "stamp_classifier_ztf", "stamp_classifier_atlas",
        "rubin_stamp_classifier", "sn_candidates", "our_filter",
    )  # fmt: skip
    ours = [f"{key}_{day}" for key in keys[:5]] + ["rubin_stamp_classifier", "sn_candidates", f"our_filter_{day}"]
    others = [
        f"lc_classifier_balto_{day}", f"lc_classifier_{day[:-1]}", f"lc_classifier_{day}0", f"x_lc_classifier_{day}",
        "rubin_stamp_classifier_beta", "lc_classifier_ztf_beta", f"our_filter_two_{day}",
    ]  # fmt: skip
    appear(own_broker, 2, *ours, *others)
    run_once(stream(own_broker, group_id, keys))
    assert read() == whole(**dict.fromkeys(ours, 2))
    assert not DeadLetter.objects.exists()
    assert set(StreamPartition.objects.values_list("topic", flat=True)) == set(ours)


@pytest.mark.parametrize("start", ["earliest", "latest"])
def test_through_midnight_and_into_a_new_year(own_broker: ScriptedBroker, group_id: str, start: str) -> None:
    """Tomorrow's topic appears at 23:00, and today's is written on; then nothing comes for hours; then the other's topic
    appears. Nothing of a topic that appears later is passed over, with ``latest`` neither."""
    lc, stamp = (f"{key}_classifier_{LAST_DAY}" for key in ("lc", "stamp"))
    lc_new, stamp_new = (f"{key}_classifier_{NEW_YEAR}" for key in ("lc", "stamp"))
    appear(own_broker, 3, lc, stamp)
    skipped = 0 if start == "earliest" else 3
    with running(stream(own_broker, group_id, ("lc_classifier", "stamp_classifier"), start)) as status:
        until(lambda: status.connected and StreamPartition.objects.filter(next_offset=3).count() == 2)
        appear(own_broker, 2, lc_new)
        publish(own_broker, 2, lc)
        until(lambda: Effect.objects.filter(topic=lc_new).count() == 2 and 4 in effects(lc))
        publish(own_broker, 1, lc_new)
        appear(own_broker, 4, stamp_new)
        until(lambda: Effect.objects.filter(topic=stamp_new).count() == 4 and 2 in effects(lc_new))
    expected = whole(**{lc: 5, stamp: 3, lc_new: 3, stamp_new: 4})
    for topic in (lc, stamp):
        expected[topic] = expected[topic][skipped:]
    assert read() == {topic: offsets for topic, offsets in expected.items() if offsets}


@pytest.mark.parametrize("start", ["earliest", "latest"])
def test_a_restart_after_midnight_finishes_yesterday(own_broker: ScriptedBroker, group_id: str, start: str) -> None:
    """Stopped at 22:50, started at 00:05: the rest of yesterday's topic and the whole of today's, each message once."""
    yesterday, today = f"lc_classifier_{LAST_DAY}", f"lc_classifier_{NEW_YEAR}"
    appear(own_broker, 3, yesterday)
    run_once(stream(own_broker, group_id))
    publish(own_broker, 4, yesterday)
    appear(own_broker, 2, today)
    run_once(stream(own_broker, group_id, start=start))
    assert read() == whole(**{yesterday: 7, today: 2})
    assert sorted(handlers.calls) == sorted([*range(7), *range(2)])


@pytest.mark.parametrize("error", [KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.LEADER_NOT_AVAILABLE])
def test_names_of_dead_topics_that_stay_listed(own_broker: ScriptedBroker, group_id: str, error: int) -> None:
    """They stop nobody, and are no alert; one that comes to life after all is read from its beginning."""
    dead, today = f"lc_classifier_{LAST_DAY}", f"lc_classifier_{NEW_YEAR}"
    appear(own_broker, 2, dead)
    own_broker.set_topic_error(dead, error)
    with running(stream(own_broker, group_id)) as status:
        appear(own_broker, 3, today)
        until(lambda: len(effects(today)) == 3)
        assert status.connected
        own_broker.set_topic_error(dead, 0)
        until(lambda: len(effects(dead)) == 2)
    assert read() == whole(**{dead: 2, today: 3})
    assert not DeadLetter.objects.exists()


@pytest.fixture(params=["Pacific/Kiritimati", "Pacific/Pago_Pago"])
def far_away(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A machine whose date is not that of UTC, for most of the day."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("far_away")
def test_the_clock_of_this_machine_does_not_matter(own_broker: ScriptedBroker, group_id: str) -> None:
    now = datetime.now(timezone.utc)
    days = [f"lc_classifier_{now + timedelta(days=days):%Y%m%d}" for days in (-2, -1, 0, 1)]
    appear(own_broker, 2, *days)
    run_once(stream(own_broker, group_id))
    assert read() == whole(**dict.fromkeys(days, 2))
