"""A handler that is slow is named while it is at work; a stream that is stuck is shown, with what every thread does."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db.models import QuerySet

from tests.brokers import ScriptedBroker
from tests.effects import handlers
from tests.marks import CORE_TABLES
from tests.processes import wait_until
from tests.streams import effects, make, publish
from tom_alertstreams.conf import DeliverySettings, StreamSettings
from tom_alertstreams.delivery import heartbeats, watchdog
from tom_alertstreams.delivery.runs import Status
from tom_alertstreams.delivery.source import Control
from tom_alertstreams.delivery.supervisor import StreamThread, Supervisor
from tom_alertstreams.models import StreamRun

pytestmark = [CORE_TABLES, pytest.mark.usefixtures("fresh_handlers")]


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Alert 1 is at work until it is set."""
    monkeypatch.setattr(watchdog, "_LOOK_EVERY_S", 0.02)
    gate = threading.Event()
    handlers.trouble.append(lambda alert: alert.offset == 1 and gate.wait(60))
    yield gate
    gate.set()


def stuck_in(topic: str) -> QuerySet[StreamRun]:
    """The stream, once it is stuck in alert 1. So short a limit a poll without alerts may reach as well."""
    return StreamRun.objects.filter(state="stuck", reason__contains=f"{topic}[0]@1")


class TestSlowHandler:
    @pytest.fixture
    def running(
        self, broker: ScriptedBroker, topic: str, group_id: str, gate: threading.Event, tmp_path: Path
    ) -> Iterator[threading.Thread]:
        """The supervisor of a stream whose handler may take 0.05 s, in a thread; stuck is then what lasts over 0.3 s."""
        publish(broker, topic, 3)
        config = {"max.poll.interval.ms": 60_000}
        delivery = dict.fromkeys(("HANDLER_TIMEOUT_S", "PREPARE_TIMEOUT_S", "BATCH_SECONDS"), 0.05)
        # Outside: inside it holds SQLite's lock, and nobody could write that it is stuck.
        handler = {"HANDLER": "tests.effects.handlers.one", "ATOMIC": False}
        stream = make(broker.bootstrap_servers, group_id, {topic: handler}, delivery=delivery, CONFIG=config)
        supervisor = Supervisor([stream], Control(max_alerts=3), shutdown_s=30, liveness_file=tmp_path / "alive")
        thread = threading.Thread(target=supervisor.run)
        thread.start()
        try:
            yield thread
        finally:
            gate.set()
            thread.join(30)
        assert not thread.is_alive()

    def test_is_named_once_with_its_alert(
        self, running: threading.Thread, topic: str, gate: threading.Event, caplog: pytest.LogCaptureFixture
    ) -> None:
        def told() -> list[str]:
            return [r.getMessage() for r in caplog.records if "HANDLER_TIMEOUT_S" in r.getMessage()]

        wait_until(told, "the warning")
        wait_until(stuck_in(topic).exists, "the stream to be stuck")
        assert len(told()) == 1
        assert f"tests.effects.handlers.one with {topic}[0]@1" in told()[0]

    def test_a_stuck_stream_is_shown_until_it_goes_on(
        self, running: threading.Thread, topic: str, gate: threading.Event, caplog: pytest.LogCaptureFixture
    ) -> None:
        run: Any = wait_until(lambda: stuck_in(topic).first(), "the stream to be stuck")
        assert "restart readstreams" in run.reason
        log = "\n".join(record.getMessage() for record in caplog.records if record.levelno == logging.ERROR)
        assert "Thread alertstream-test:" in log
        assert "gate.wait(60)" in log  # the line it hangs in
        gate.set()
        wait_until(lambda: effects(topic) == [0, 1, 2], "the rest")
        running.join(30)
        run.refresh_from_db()
        assert run.state == "stopped"
        assert any("goes on" in record.getMessage() for record in caplog.records)

    def test_a_stuck_stream_stays_stuck_and_is_never_taken_for_gone(
        self, running: threading.Thread, topic: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(heartbeats, "_LOOK_EVERY_S", 0.02)
        monkeypatch.setattr(heartbeats, "HEARTBEAT_S", 0.1)
        run: Any = wait_until(lambda: stuck_in(topic).first(), "the stream to be stuck")
        wait_until(stuck_in(topic).filter(heartbeat__gt=run.heartbeat).exists, "its next heartbeat")

    def test_the_liveness_file_is_touched_while_no_stream_is_stuck(
        self, running: threading.Thread, topic: str, gate: threading.Event, tmp_path: Path
    ) -> None:
        alive = tmp_path / "alive"
        wait_until(stuck_in(topic).exists, "the stream to be stuck")
        before = alive.stat().st_mtime_ns
        time.sleep(0.5)  # 25 looks
        assert alive.stat().st_mtime_ns == before
        gate.set()
        running.join(30)
        assert not alive.exists()


def test_a_life_that_has_not_begun_is_not_stuck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a life that has failed: its broker is away, and nobody knows when the loop goes round again."""
    monkeypatch.setattr(watchdog, "_LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(watchdog, "longest_silence_s", lambda settings: 0.1)
    stream = FailsThenWaits()
    thread = StreamThread(stream, stream.control)
    with watchdog.Watchdog([thread], tmp_path / "alive"):
        thread.start()
        wait_until(stream.second_life.is_set, "the second life")
        time.sleep(0.5)
        assert thread.status.moved_at is None
        before = (tmp_path / "alive").stat().st_mtime_ns
        wait_until(lambda: (tmp_path / "alive").stat().st_mtime_ns > before, "a touch")
        stream.control.stopping.set()
        thread.join(10)


class FailsThenWaits:
    """A stream whose first life fails after a turn, and whose second one waits for its broker."""

    stops_when_asked = True

    def __init__(self) -> None:
        self.control = Control()
        self.second_life = threading.Event()
        self.settings = StreamSettings("test", "no.Class", {}, DeliverySettings(), ())
        self._lives = 0

    def deliver(self, control: Control, status: Status) -> None:
        self._lives += 1
        if self._lives == 1:
            status.moved_at = time.monotonic()
            raise OSError("the first life")
        self.second_life.set()
        control.stopping.wait(30)
