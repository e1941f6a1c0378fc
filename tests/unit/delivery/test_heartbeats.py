"""A stream whose handler takes its time is heard of, though its own thread writes nothing."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django import db
from django.utils import timezone

from tests.marks import CORE_TABLES
from tests.processes import wait_until
from tests.unit.delivery.test_runs import Clock
from tom_alertstreams.conf import DeliverySettings, StreamSettings
from tom_alertstreams.delivery import heartbeats, watchdog
from tom_alertstreams.delivery.heartbeats import Heartbeats
from tom_alertstreams.delivery.runs import InHand, State, Status
from tom_alertstreams.models import StreamRun

pytestmark = [CORE_TABLES, pytest.mark.both_databases]

LONG_AGO = timezone.now() - timedelta(hours=1)


class InAHandler:
    """A stream's thread that went round last at 1000 s."""

    def __init__(self) -> None:
        self.row = StreamRun.objects.create(
            stream="ztf", host="reader", pid=7, version="1", state=State.RUNNING, heartbeat=LONG_AGO
        )
        self.status = Status("ztf", State.RUNNING, run_id=self.row.pk, beat_at=1000.0, moved_at=1000.0)
        self.settings = StreamSettings("ztf", "a.Class", {}, DeliverySettings(), ())
        self.alive = True

    def is_alive(self) -> bool:
        return self.alive

    def written(self) -> bool:
        """Whether the row was written since this was asked last."""
        self.row.refresh_from_db()
        heartbeat, self.row.heartbeat = self.row.heartbeat, LONG_AGO
        StreamRun.objects.update(heartbeat=LONG_AGO)
        return heartbeat > LONG_AGO


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(heartbeats, "time", clock)
    return clock


@pytest.fixture
def thread() -> InAHandler:
    return InAHandler()


@pytest.fixture
def beats(thread: InAHandler, clock: Clock) -> Heartbeats:
    return Heartbeats([thread])


def test_a_slow_handler_is_heard_of_every_ten_seconds(beats: Heartbeats, thread: InAHandler, clock: Clock) -> None:
    at = []
    for second in range(60):
        clock.now = 1000.0 + second
        beats.look()
        if thread.written():
            at.append(second)
    assert at == [21, 31, 41, 51]
    assert thread.row.state == State.RUNNING


def test_a_handler_that_takes_too_long_is_named_and_brings_nothing(
    beats: Heartbeats, thread: InAHandler, clock: Clock
) -> None:
    delivery = SimpleNamespace(handler_timeout_s=300.0)
    binding: Any = SimpleNamespace(handler=SimpleNamespace(path="my.handler"), topic=SimpleNamespace(delivery=delivery))
    alert: Any = SimpleNamespace(coordinates="ztf[0]@7")
    thread.status.in_hand = InHand(binding, [alert], 1000.0)
    StreamRun.objects.update(rate=84.0)
    for second, reason in (
        (290, ""),
        (310, "my.handler with ztf[0]@7: at work for 310 s, longer than HANDLER_TIMEOUT_S"),
    ):
        clock.now = 1000.0 + second
        beats.look()
        assert thread.written()
        assert (thread.row.state, thread.row.rate, thread.row.reason) == (State.RUNNING, 0.0, reason)


def test_nothing_is_written_beside_a_stream_that_writes(beats: Heartbeats, thread: InAHandler, clock: Clock) -> None:
    for second in range(0, 60, 10):
        clock.now = thread.status.beat_at = 1000.0 + second
        clock.now += 9
        beats.look()
    assert not thread.written()


@pytest.mark.parametrize("way", ["ended", "dead", "not begun"])
def test_no_other_life_is_kept_alive(beats: Heartbeats, thread: InAHandler, clock: Clock, way: str) -> None:
    clock.now = 1100.0
    if way == "ended":
        StreamRun.objects.update(ended=LONG_AGO)
    elif way == "dead":
        thread.alive = False
    else:
        thread.status.moved_at = None
    beats.look()
    assert not thread.written()


def test_stuck_is_said_at_once_and_until_it_goes_on(beats: Heartbeats, thread: InAHandler, clock: Clock) -> None:
    thread.status.stuck = "has not moved for 600 s"
    beats.look()
    assert thread.written()
    assert (thread.row.state, thread.row.reason) == (State.STUCK, "has not moved for 600 s")
    StreamRun.objects.update(state=State.RUNNING)
    clock.now += 9
    beats.look()
    assert not thread.written()
    clock.now += 1
    beats.look()
    assert thread.written()
    assert thread.row.state == State.STUCK
    thread.status.stuck = ""
    thread.status.beat_at = clock.now
    clock.now += 11
    beats.look()
    assert not thread.written()


def test_a_lock_is_tried_again_and_told_once(
    beats: Heartbeats, thread: InAHandler, clock: Clock, monkeypatch: Any, caplog: Any
) -> None:
    def locked(*_: Any, **__: Any) -> None:
        raise db.OperationalError("database is locked")

    thread.status.stuck = "has not moved"
    with monkeypatch.context() as patch:
        patch.setattr(heartbeats.StreamRun.objects, "filter", locked)
        for _ in range(3):
            beats.look()
            clock.now += 10
    assert [r.getMessage() for r in caplog.records] == [
        "ztf: that it is stuck could not be written: database is locked"
    ]
    beats.look()
    assert thread.written()


def test_a_database_that_hangs_holds_up_neither_the_watchdog_nor_the_stop(
    thread: InAHandler, monkeypatch: Any, tmp_path: Path
) -> None:
    asked, answers = threading.Event(), threading.Event()

    def hangs(*_: Any, **__: Any) -> Any:
        asked.set()
        answers.wait(30)
        raise db.OperationalError("no answer")

    monkeypatch.setattr(watchdog, "_LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(heartbeats, "_LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(heartbeats.StreamRun.objects, "filter", hangs)
    thread.status.beat_at = thread.status.moved_at = time.monotonic() - 60
    alive = tmp_path / "alive"
    try:
        with watchdog.Watchdog([thread], alive):
            assert asked.wait(10)
            before = alive.stat().st_mtime_ns
            wait_until(lambda: alive.stat().st_mtime_ns > before, "a touch")
            left = time.monotonic()
        assert time.monotonic() - left < 5
    finally:
        answers.set()
