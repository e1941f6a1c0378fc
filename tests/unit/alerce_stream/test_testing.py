"""The simulator makes what ALeRCE would send."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from alerce_stream.messages import parse
from alerce_stream.testing import SimulatedNight
from tests.unit.alerce_stream.samples import alert
from tom_alertstreams.exceptions import DecodeError, RejectAlert


def test_the_same_arguments_make_the_same_bytes() -> None:
    first, again, other = (SimulatedNight(15, seed, ["20261101", "20261102"]) for seed in (5, 5, 6))
    assert first.messages == again.messages
    assert first.messages != other.messages


def test_both_classifiers_of_two_days() -> None:
    night = SimulatedNight(20, days=["20261231", "20270101"])
    assert set(night.topics) == {
        f"{prefix}_classifier_{day}" for prefix in ("lc", "stamp") for day in ("20261231", "20270101")
    }
    kinds = {item.oid: item.class_name for item in night.objects}
    for message in night.messages:
        report = parse(alert(message.value, message.topic))
        assert report.object_id == message.oid
        if message.topic.startswith("lc"):
            assert report.classifications[0].class_name == kinds[message.oid]
    assert {message.value[:4] == b"Obj\x01" for message in night.messages} == {True, False}


def test_one_light_curve_is_in_the_topics_of_both_days() -> None:
    night = SimulatedNight(10)
    values = [message.value for message in night.messages]
    assert len(values) == len(set(values)) + 1


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
        parse(alert(bad[2].value, bad[2].topic))
