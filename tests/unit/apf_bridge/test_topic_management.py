"""Daily topics by a clock of this test's own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from apf_bridge.compat.core import topic_management
from apf_bridge.compat.core.topic_management import DailyTopicStrategy, GenericTopicStrategy, topics_to_produce

Clock = Callable[..., None]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Sets the day of November 2026, the hour and the minute."""

    def set_to(day: int, hour: int, minute: int = 0) -> None:
        now = datetime(2026, 11, 1, tzinfo=timezone.utc) + timedelta(days=day - 1, hours=hour, minutes=minute)
        monkeypatch.setattr(topic_management, "utc_now", lambda: now)

    return set_to


def strategy(*names: str, change_hour: int = 23, retention_days: int = 2) -> DailyTopicStrategy:
    return DailyTopicStrategy([f"{name}_%s" for name in names], "%d", change_hour, retention_days)


def test_today_and_from_the_change_hour_on_tomorrow(clock: Clock) -> None:
    daily = strategy("a", retention_days=1)
    clock(15, 22, 59)
    assert daily.get_topics() == ["a_15"]
    clock(15, 23)
    assert daily.get_topics() == ["a_15", "a_16"]


def test_as_many_days_as_retained_and_no_more(clock: Clock) -> None:
    clock(15, 10)
    daily = strategy("a")
    clock(16, 23)
    assert daily.get_topics() == ["a_15", "a_16", "a_17"]
    clock(17, 0)  # and not at the hour of the process's start
    assert daily.get_topics() == ["a_16", "a_17"]


@pytest.mark.parametrize("names", [("stamp", "lc"), ("a", "b", "c")])
def test_days_are_counted_and_not_entries(clock: Clock, names: tuple[str, ...]) -> None:
    clock(15, 10)
    daily = strategy(*names)
    for day in (15, 16):
        clock(day, 23)
        daily.get_topics()
    clock(17, 10)
    assert daily.get_topics() == [f"{name}_{day}" for day in (16, 17) for name in names]


def test_the_list_changes_once_and_does_not_flap(clock: Clock) -> None:
    clock(15, 10)
    daily = strategy("stamp", "lc", retention_days=1)
    seen = []
    for minute in range(24 * 60 * 2):
        clock(15, 10, minute)
        if not seen or seen[-1] != daily.get_topics():
            seen.append(daily.get_topics())
    both = [["stamp_15", "lc_15"], ["stamp_16", "lc_16"], ["stamp_17", "lc_17"]]
    assert seen == [both[0], both[0] + both[1], both[1], both[1] + both[2], both[2]]


def test_what_is_not_read_yet_is_kept_at_the_change_hour(clock: Clock) -> None:
    clock(15, 23)
    daily = strategy("a", retention_days=1)
    assert daily.get_topics() == daily.get_topics() == ["a_15", "a_16"]


def test_a_restart_after_midnight_catches_up(clock: Clock) -> None:
    clock(16, 0, 5)
    assert strategy("a").get_topics() == ["a_15", "a_16"]


@pytest.mark.parametrize("change_hour", [24, 23])
def test_a_process_that_slept_through_the_change_hour(clock: Clock, change_hour: int) -> None:
    clock(15, 10)
    daily = strategy("a", change_hour=change_hour)
    clock(18, 9)
    assert daily.get_topics() == ["a_17", "a_18"]


def test_the_clock_is_that_of_utc() -> None:
    assert topic_management.utc_now().utcoffset() == timedelta(0)


def test_the_end_of_a_month(clock: Clock) -> None:
    clock(30, 23)
    assert DailyTopicStrategy("x_%s", "%Y%m%d", 23, 1).get_topics() == ["x_20261130", "x_20261201"]


def test_what_is_produced_goes_to_one_day(clock: Clock) -> None:
    daily = strategy("a", "b", retention_days=8)
    clock(15, 10)
    assert topics_to_produce(daily) == ["a_15", "b_15"]
    clock(15, 23)
    assert topics_to_produce(daily) == ["a_16", "b_16"]


def test_strategies_of_steps_have_one_list() -> None:
    class Own(GenericTopicStrategy):
        def get_topics(self) -> list[str]:
            return ["own"]

    assert topics_to_produce(Own()) == ["own"]
    assert GenericTopicStrategy().get_topics() == []


class OfTheNight(DailyTopicStrategy):
    def get_topics(self) -> list[str]:
        return ["of_the_night"]


class OfAList(DailyTopicStrategy):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.topics = ["one", "two"]


@pytest.mark.parametrize(("own", "names"), [(OfTheNight, ["of_the_night"]), (OfAList, ["one", "two"])])
def test_daily_ones_that_name_their_topics_by_themselves(own: Any, names: list[str]) -> None:
    daily = own("a_%s")
    assert (daily.get_topics(), topics_to_produce(daily), daily.patterns()) == (names, names, [])


def test_what_cannot_be_a_strategy() -> None:
    with pytest.raises(ValueError, match="one %s"):
        DailyTopicStrategy("ztf")
    with pytest.raises(ValueError, match="today alone is 1"):
        DailyTopicStrategy(retention_days=0)
