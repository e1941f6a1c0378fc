"""A handler that is slow is named while it is at work; a stream that is stuck is shown, with what every thread does."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.brokers import ScriptedBroker
from tests.effects import handlers
from tests.marks import CORE_TABLES
from tests.processes import wait_until
from tests.streams import effects, make, publish
from tom_alertstreams.delivery import watchdog
from tom_alertstreams.delivery.source import Control
from tom_alertstreams.delivery.supervisor import Supervisor
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


class TestSlowHandler:
    @pytest.fixture
    def running(
        self, broker: ScriptedBroker, topic: str, group_id: str, gate: threading.Event
    ) -> Iterator[threading.Thread]:
        """The supervisor of a stream whose handler may take 0.05 s, in a thread; stuck is then what lasts over 0.2 s."""
        publish(broker, topic, 3)
        config = {"max.poll.interval.ms": 60_000}
        delivery = {"HANDLER_TIMEOUT_S": 0.05, "BATCH_SECONDS": 0.05}
        # Outside: inside it holds SQLite's lock, and nobody could write that it is stuck.
        handler = {"HANDLER": "tests.effects.handlers.one", "ATOMIC": False}
        stream = make(broker.bootstrap_servers, group_id, {topic: handler}, delivery=delivery, CONFIG=config)
        thread = threading.Thread(target=Supervisor([stream], Control(max_alerts=3), shutdown_s=30).run)
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
        wait_until(lambda: StreamRun.objects.filter(state="stuck").exists(), "the stream to be stuck")
        assert len(told()) == 1
        assert f"tests.effects.handlers.one with {topic}[0]@1" in told()[0]

    def test_a_stuck_stream_is_shown_until_it_goes_on(
        self, running: threading.Thread, topic: str, gate: threading.Event, caplog: pytest.LogCaptureFixture
    ) -> None:
        run: Any = wait_until(lambda: StreamRun.objects.filter(state="stuck").first(), "the stream to be stuck")
        assert f"{topic}[0]@1" in run.reason
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
