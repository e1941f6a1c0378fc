"""The thread that looks after alarms holds nobody up, and says once what is wrong with itself."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from django import db
from django.utils import timezone

from tests.listeners import WebListener
from tests.marks import CORE_TABLES
from tests.processes import wait_until
from tests.unit.test_status import STREAM, State, run
from tom_alertstreams.alarms import watch
from tom_alertstreams.alarms.book import Book
from tom_alertstreams.alarms.notifier import Notice, Notifier
from tom_alertstreams.alarms.options import AlarmSettings
from tom_alertstreams.alarms.watch import Watch
from tom_alertstreams.alarms.webhook import WebhookNotifier
from tom_alertstreams.delivery.source import Control
from tom_alertstreams.delivery.supervisor import Supervisor
from tom_alertstreams.models import Alarm

pytestmark = CORE_TABLES


@dataclass(frozen=True)
class Slate(Notifier):
    """Keeps what it is told."""

    told: list[Notice] = field(default_factory=list)

    def tell(self, notice: Notice) -> None:
        self.told.append(notice)


@pytest.fixture(autouse=True)
def _quick(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.ALERT_STREAMS = [STREAM]
    monkeypatch.setattr(watch, "_FIRST_LOOK_S", 0.01)
    monkeypatch.setattr(watch, "_LOOK_EVERY_S", 0.02)


@pytest.fixture
def web() -> Iterator[WebListener]:
    with WebListener() as listener:
        listener.answers.clear()
        yield listener


def test_a_notifier_that_hangs_does_not_delay_the_stop(web: WebListener) -> None:
    run(state=State.FUSE)
    looks = Watch(AlarmSettings((WebhookNotifier(web.url, timeout_s=20),)))
    # A stream that ends at once when it is asked to.
    supervisor = Supervisor([], Control(), shutdown_s=30)
    with looks:
        wait_until(web.asked.is_set, "the notifier to be asked")
        supervisor.run()
        before = time.monotonic()
    assert time.monotonic() - before < 2
    web.answers.set()
    wait_until(lambda: not looks._thread.is_alive(), "the end of the thread")


@pytest.mark.parametrize("killed", [False, True])
def test_the_last_look_tells_what_has_ended_the_process(killed: bool) -> None:
    if killed:  # the process before
        run(heard_s=9)
    run(state=State.FUSE, began_s=5, ended=timezone.now())
    slate = Slate()
    Watch(AlarmSettings((slate,))).last_look(20)
    assert [notice.subject for notice in slate.told] == ["ztf: stopped by its fuse"]


def test_the_last_look_is_not_waited_for_for_ever(web: WebListener) -> None:
    run(state=State.FUSE, ended=timezone.now())
    before = time.monotonic()
    Watch(AlarmSettings((WebhookNotifier(web.url, timeout_s=20),))).last_look(1)
    assert web.asked.is_set()
    assert time.monotonic() - before < 5
    web.answers.set()
    wait_until(lambda: Alarm.objects.filter(told__gt=timezone.now() - timedelta(minutes=1)).exists(), "the answer")


def test_trouble_of_its_own_is_told_once_and_it_looks_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looked: list[int] = []

    def look(self: Book) -> bool:
        looked.append(1)
        if len(looked) < 5:
            raise db.OperationalError("the server is away")
        return True

    monkeypatch.setattr(Book, "look", look)
    with Watch(AlarmSettings((Slate(),))):
        wait_until(lambda: len(looked) > 6, "looks")
    told = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.getMessage() for record in told] == [
        "alarms cannot be looked after: OperationalError: the server is away"
    ]


@dataclass(frozen=True)
class Leaves(Slate):
    """Ends the program, as far as it can."""

    def tell(self, notice: Notice) -> None:
        super().tell(notice)
        raise SystemExit("no such pager")


def test_a_notifier_that_ends_programs_ends_no_watch(caplog: pytest.LogCaptureFixture) -> None:
    run(state=State.FUSE)
    leaves = Leaves()
    with Watch(AlarmSettings((leaves,))):
        wait_until(lambda: len(leaves.told) > 1, "a second look")
    assert "alarm not told by Leaves: SystemExit: no such pager" in caplog.messages


def test_no_session_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db import connections

    closed = threading.Event()
    close_all = connections.close_all

    def note() -> None:
        close_all()
        if threading.current_thread().name == "alertstream-alarms":
            closed.set()

    monkeypatch.setattr(connections, "close_all", note)
    with Watch(AlarmSettings((Slate(),))):
        wait_until(closed.is_set, "the session to be closed")
