"""A stream that ends of a bug is started again, after longer and longer waits, and disturbs no other."""

from __future__ import annotations

import asyncio
import sys
import threading
from itertools import pairwise

import pytest
from confluent_kafka import Consumer

from tests.brokers import ScriptedBroker
from tests.effects import handlers
from tests.marks import CORE_TABLES
from tests.processes import wait_until
from tests.streams import effects, make, run_once
from tom_alertstreams.conf import DeliverySettings, StreamSettings
from tom_alertstreams.delivery import supervisor as supervisor_module
from tom_alertstreams.delivery.intake import Intake
from tom_alertstreams.delivery.runs import State, Status
from tom_alertstreams.delivery.source import Control
from tom_alertstreams.delivery.supervisor import StreamThread, Supervisor
from tom_alertstreams.models import StreamRun


class Crashing:
    """A stream that ends of a bug, and asks to stop when it has lived so many times."""

    stops_when_asked = True

    def __init__(self, lives: int | None = None, error: BaseException | None = None) -> None:
        self.settings = StreamSettings("crashing", "", {}, DeliverySettings(), ())
        self.lives = 0
        self._last = lives
        self._error = error or ZeroDivisionError("a bug")

    def deliver(self, control: Control, status: Status) -> None:
        self.lives += 1
        if self.lives == self._last:
            control.stopping.set()
        raise self._error


class Speechless(BaseException):
    """Its text cannot be made."""

    def __str__(self) -> str:
        raise SystemExit("no text")


class InACallback(Crashing):
    """A stream whose Kafka client raises in a callback of its own; of Python 3.11 that is what is no exception."""

    def __init__(self, lives: int, bootstrap_servers: str, topic: str) -> None:
        super().__init__(lives)
        self._servers, self._topic = bootstrap_servers, topic

    def deliver(self, control: Control, status: Status) -> None:
        self.lives += 1
        if self.lives == self._last:
            control.stopping.set()
        consumer = Consumer(
            {
                **ScriptedBroker.CONSUMER_CONFIG,
                "bootstrap.servers": self._servers,
                "group.id": "any",
                "partition.assignment.strategy": "cooperative-sticky",
                "log_level": 0,
            }
        )
        try:
            # Such an assignment may only be changed, not set.
            consumer.subscribe([self._topic], on_assign=lambda consumer, partitions: consumer.assign([]))
            while True:
                consumer.poll(0.1)
        finally:
            consumer.close()


class Waits(threading.Event):
    """Notes how long it is waited for, and lets nobody wait."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.noted.append(timeout or 0.0)
        return self.is_set()


def test_waits_grow_up_to_a_limit(caplog: pytest.LogCaptureFixture) -> None:
    """From 1 s to 5 minutes, each a little different, so that streams do not all come back at once."""
    waits, stream = Waits(), Crashing(lives=14)
    StreamThread(stream, Control(stopping=waits)).run()
    assert stream.lives == 14
    expected = [min(2.0**n, 300.0) for n in range(14)]
    assert all(0.8 * wait <= noted <= 1.2 * wait for noted, wait in zip(waits.noted, expected, strict=True))
    assert len(set(waits.noted)) == 14
    told = [record.getMessage() for record in caplog.records if "is down" in record.getMessage()]
    assert told == ["crashing is down: ZeroDivisionError: a bug"] * 14


def lived(stream: Crashing) -> StreamThread:
    """All lives of a stream, in a thread: what ends that is not to end the tests."""
    thread = StreamThread(stream, Control(stopping=Waits()))
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    return thread


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (SystemExit(2), "crashing is down: SystemExit: 2"),
        (asyncio.CancelledError(), "crashing is down: CancelledError:"),
        (KeyboardInterrupt(), "crashing is down: KeyboardInterrupt:"),
    ],
)
def test_nothing_that_is_raised_ends_a_stream(
    error: BaseException, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    stream = Crashing(lives=3, error=error)
    thread = lived(stream)
    assert stream.lives == 3
    assert [r.getMessage().strip() for r in caplog.records if "is down" in r.getMessage()] == [told] * 3
    assert thread.status.state is State.DOWN


def test_nor_does_an_error_that_cannot_be_told() -> None:
    stream = Crashing(lives=3, error=Speechless())
    thread = lived(stream)
    assert (stream.lives, thread.status.state, thread.status.reason) == (3, State.DOWN, "Speechless")


def test_nor_does_what_is_no_exception_at_all(broker: ScriptedBroker, topic: str) -> None:
    broker.create_topic(topic)
    stream = InACallback(2, broker.bootstrap_servers, topic)
    thread = lived(stream)
    assert (stream.lives, thread.status.state) == (2, State.DOWN)
    assert "Failed to set assignment" in thread.status.whole


@CORE_TABLES
@pytest.mark.usefixtures("fresh_handlers")
def test_the_row_of_a_life_says_how_it_ended(
    broker: ScriptedBroker, topic: str, group_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where what ends it is made to end a program."""
    monkeypatch.setattr(Intake, "place", lambda intake: sys.exit("a library of somebody's"))
    broker.create_topic(topic)
    with pytest.raises(SystemExit):
        run_once(make(broker.bootstrap_servers, group_id, {topic: "one"}))
    life = StreamRun.objects.get()
    assert (life.state, life.reason, life.ended is not None) == (State.DOWN, "SystemExit", True)
    assert life.last_error == "SystemExit: a library of somebody's"


def test_after_a_good_life_the_wait_is_short_again(monkeypatch: pytest.MonkeyPatch) -> None:
    waits, stream = Waits(), Crashing(lives=8)
    now = [0.0]

    class Clock:
        @staticmethod
        def monotonic() -> float:
            now[0] += 100.0 if stream.lives == 5 else 0.0  # while it lives for the fifth time
            return now[0]

    monkeypatch.setattr(supervisor_module, "time", Clock)
    StreamThread(stream, Control(stopping=waits)).run()
    assert waits.noted[3] > 6.0
    assert all(before < after for before, after in pairwise(waits.noted[4:]))
    assert waits.noted[4] < 1.5


@CORE_TABLES
@pytest.mark.usefixtures("fresh_handlers")
def test_the_others_run_on(broker: ScriptedBroker, topic: str, group_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the exit code is theirs."""
    monkeypatch.setattr(supervisor_module, "_FIRST_RESTART_S", 0.01)
    broker.create_topic(topic)
    crashing, sound = Crashing(), make(broker.bootstrap_servers, group_id, {topic: "one"})
    control = Control()
    supervisor = Supervisor([crashing, sound], control, shutdown_s=30)  # type: ignore[list-item]
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(supervisor.run()))
    thread.start()
    try:
        for number in range(3):
            lives = crashing.lives
            wait_until(lambda: crashing.lives > lives, "another life of the stream that crashes")  # noqa: B023
            broker.produce(topic, handlers.content(n=number))
            broker.flush()
            wait_until(lambda: len(effects(topic)) > number, "the alert of the sound stream")  # noqa: B023
        assert supervisor.threads[0].status.state is State.DOWN
        assert supervisor.threads[1].status.state is State.RUNNING
    finally:
        control.stopping.set()
        thread.join(30)
    assert codes == [0]
    assert effects(topic) == [0, 1, 2]
