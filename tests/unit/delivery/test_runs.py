"""The row that says that a stream is alive is written rarely, and at once where there is news."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tom_alertstreams.conf import DeliverySettings, StreamSettings
from tom_alertstreams.delivery import runs
from tom_alertstreams.delivery.runs import HEARTBEAT_S, RunRecord, State, Status
from tom_alertstreams.models import StreamRun

pytestmark = pytest.mark.django_db


class Clock:
    """A monotonic clock that a test puts on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    clock = Clock()
    monkeypatch.setattr(runs, "time", clock)
    return clock


@pytest.fixture
def status() -> Status:
    return Status("ztf", state=State.RUNNING)


@pytest.fixture
def record(clock: Clock, status: Status) -> RunRecord:
    return RunRecord(StreamSettings("ztf", "a.Class", {}, DeliverySettings(), ()), "group", status)


def test_every_ten_seconds_at_most(record: RunRecord, clock: Clock, status: Status) -> None:
    assert HEARTBEAT_S == 10
    with CaptureQueriesContext(
        connection,
    ) as queries:
        for _ in range(60_000):  # turns of the loop in a minute
            status.tally["received"] += 500
            status.lags = {("t", 0): status.tally["received"] % 1000}
            record.beat()
            clock.now += 0.001
    writes = [query["sql"] for query in queries if query["sql"].startswith(("INSERT", "UPDATE"))]
    assert len(writes) == 6
    assert StreamRun.objects.get().received > 0


def test_news_at_once(record: RunRecord, clock: Clock, status: Status) -> None:
    record.beat()
    clock.now += 0.1
    status.say(State.WAITING, "waiting for the broker")
    record.beat()
    assert StreamRun.objects.get().state == "waiting"


def test_another_error_of_the_same_kind_is_news(status: Status) -> None:
    for error, is_news in (("terminated", True), ("read-only", True), ("read-only", False)):
        assert status.say(State.WAITING, "the database cannot be used.", error) is is_news


def test_how_old_the_heartbeat_is_counts_what_was_written(
    record: RunRecord, clock: Clock, status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    record.beat()
    assert status.beat_at == clock.now

    def away(*_args: Any, **_more: Any) -> None:
        raise runs.db.OperationalError("away")

    monkeypatch.setattr(StreamRun, "save", away)
    written = clock.now
    clock.now += 60
    record.beat()
    assert status.beat_at == written
