"""Whatever the C libraries do, a process that is asked to stop ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition

from tests.brokers import ScriptedBroker
from tests.processes import ROOT, wait_until
from tests.streams import make
from tom_alertstreams.conf import DeliverySettings, StreamSettings
from tom_alertstreams.delivery import intake as intake_module
from tom_alertstreams.delivery.broker_errors import ErrorMemory
from tom_alertstreams.delivery.intake import Intake
from tom_alertstreams.delivery.offsets import Offsets
from tom_alertstreams.delivery.runs import Status
from tom_alertstreams.delivery.source import Control, Stopping
from tom_alertstreams.delivery.supervisor import Supervisor


class Told:
    """A consumer that tells when it is closed."""

    def __init__(self, consumer: Any, events: list[str]) -> None:
        self._consumer = consumer
        self._events = events

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)

    def close(self) -> None:
        self._events.append("closing")
        self._consumer.close()


def test_a_rebalance_is_heard_before_the_client_is_closed(
    broker: ScriptedBroker, topic: str, group_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Heard inside close() it may hang there for good (librdkafka issues 4041 and 4884)."""
    events: list[str] = []
    monkeypatch.setattr(Intake, "_on_revoke", lambda self, consumer, partitions: events.append("revoked"))
    broker.create_topic(topic)
    status = Status("test")
    intake = Intake(
        make(broker.bootstrap_servers, group_id, {topic: "one"}), ErrorMemory(status), status, note_ends=False
    )
    intake.consumer = Told(intake.consumer, events)
    intake.subscribe(Offsets("cluster", group_id), "installation")
    wait_until(lambda: intake.poll(0.1, fetch=True) or intake.has_assignment, "an assignment")
    intake.close()
    assert events == ["revoked", "closing"]


def test_a_commit_without_an_answer_holds_nobody_up(
    own_broker: ScriptedBroker, topic: str, group_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client waits for that for as long as a session. It is left to a thread, which ends when it hears."""
    monkeypatch.setattr(intake_module, "_LEAVING_S", 0.05)
    own_broker.create_topic(topic)
    status = Status("test")
    stream: Any = make(own_broker.bootstrap_servers, group_id, {topic: "one"}, CONFIG={"session.timeout.ms": 60_000})
    intake = Intake(stream, ErrorMemory(status), status, note_ends=False)
    intake.subscribe(Offsets("cluster", group_id), "installation")
    wait_until(lambda: intake.poll(0.1, fetch=True) or intake.has_assignment, "an assignment")
    own_broker.broker_down()
    intake._commit([TopicPartition(topic, 0, 3)])
    intake.close()
    assert "alertstream-test-leaves" in [thread.name for thread in threading.enumerate()]
    own_broker.broker_up()
    wait_until(lambda: "alertstream-test-leaves" not in [thread.name for thread in threading.enumerate()], "its end")


_KEEPS_THE_LOCK = """
import ctypes, sys
import django
django.setup()
from tom_alertstreams.conf import DeliverySettings, StreamSettings
from tom_alertstreams.delivery import supervisor
from tom_alertstreams.delivery.source import Control

class KeepsTheLock:
    stops_when_asked = True
    settings = StreamSettings("keeps", "", {}, DeliverySettings(), ())

    def deliver(self, control, status):
        print("at work", flush=True)
        control.stopping.wait()
        ctypes.PyDLL(None).sleep(60)  # as a C library that waits with Python's lock in hand

supervisor._GRACE_S = 0.3
sys.exit(supervisor.Supervisor([KeepsTheLock()], Control(), shutdown_s=0.3).run())
"""


def test_a_c_library_that_keeps_pythons_lock_is_not_waited_for(tmp_path: Path) -> None:
    environment = {"DJANGO_SETTINGS_MODULE": "tests.settings_core", "EXAMPLE_TOM_RUN_DIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", _KEEPS_THE_LOCK],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "at work\n"
            process.terminate()
            assert process.wait(20) == 1
            assert "in deliver" in process.stdout.read()
        finally:
            process.kill()


class SignalledWhileItIsLocked(Stopping):
    """The signal comes in a moment in which the thread that it interrupts holds the lock that ``set`` wants."""

    signalled = False

    def is_set(self) -> bool:
        if threading.current_thread() is threading.main_thread() and not self.signalled:
            self.signalled = True
            with self._cond:  # type: ignore[attr-defined]
                signal.raise_signal(signal.SIGTERM)
        return super().is_set()


class Patient:
    """A stream that runs until it is asked to stop."""

    stops_when_asked = True
    settings = StreamSettings("patient", "", {}, DeliverySettings(), ())

    def deliver(self, control: Control, status: Status) -> None:
        control.stopping.wait()


@pytest.mark.timeout(20)
def test_a_signal_in_the_wrong_moment_is_heard() -> None:
    assert threading.current_thread() is threading.main_thread(), "only there are signals handled"
    assert Supervisor([Patient()], Control(stopping=SignalledWhileItIsLocked()), shutdown_s=5).run() == 0
