"""Partitions are taken away: what is held of them is dropped and never told to Kafka, and nobody's alerts count twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, TopicPartition

from tests.brokers import ScriptedBroker
from tests.effects import handlers
from tests.effects.models import Effect
from tests.faults import gated
from tests.marks import CORE_TABLES
from tests.processes import wait_until
from tests.streams import counts, effects, make, next_offset, run_once, send
from tom_alertstreams.alerts import Alert
from tom_alertstreams.delivery import intake as intake_module
from tom_alertstreams.delivery import loop
from tom_alertstreams.delivery.intake import Intake
from tom_alertstreams.delivery.loop import DeliveryLoop
from tom_alertstreams.delivery.runs import State
from tom_alertstreams.delivery.source import Control
from tom_alertstreams.delivery.supervisor import StreamThread
from tom_alertstreams.models import StreamPartition

pytestmark = [CORE_TABLES, pytest.mark.usefixtures("fresh_handlers")]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_MIRROR_EVERY_S", 0.0)


@contextmanager
def started(stream: Any) -> Iterator[StreamThread]:
    """A stream in a thread, as the supervisor runs it, until the block ends."""
    thread = StreamThread(stream, Control())
    thread.start()
    try:
        yield thread
    finally:
        thread.control.stopping.set()
        thread.join(30)
    assert not thread.is_alive()


class TestHeld:
    @pytest.fixture
    def told(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
        """Every offset that Kafka is told, and the one that the database has then."""
        told: list[tuple[int, int]] = []

        class Telling(Consumer):
            def commit(self, *, offsets: list[TopicPartition], **options: Any) -> Any:
                told.extend((tp.offset, StreamPartition.objects.get(topic=tp.topic).next_offset) for tp in offsets)
                return super().commit(offsets=offsets, **options)

        monkeypatch.setattr(intake_module, "Consumer", Telling)
        return told

    @pytest.mark.parametrize(
        "code", [KafkaError.REBALANCE_IN_PROGRESS, KafkaError.UNKNOWN_MEMBER_ID], ids=["revoked", "lost"]
    )
    def test_is_dropped(
        self,
        own_broker: ScriptedBroker,
        topic: str,
        group_id: str,
        told: list[tuple[int, int]],
        code: int,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Of ten alerts four are handled when the partition is revoked, or lost; then it is given to us again."""
        on_revoke, work = Intake._on_revoke, DeliveryLoop._work
        held: list[tuple[int, int]] = []
        told_until_then: list[int] = []

        def note_revoke(intake: Intake, consumer: Any, partitions: list[TopicPartition]) -> None:
            before = sum(map(len, intake.held.values()))
            on_revoke(intake, consumer, partitions)
            held.append((before, sum(map(len, intake.held.values()))))
            told_until_then.append(len(told))

        def work_or_wait(delivery: DeliveryLoop) -> None:
            """Rests after four alerts, until the partition is gone."""
            if len(handlers.calls) != 4 or held:
                work(delivery)

        def take_away(alert: Alert) -> None:
            if alert.offset == 3:
                own_broker.push_errors(own_broker.HEARTBEAT, code)

        monkeypatch.setattr(Intake, "_on_revoke", note_revoke)
        monkeypatch.setattr(DeliveryLoop, "_work", work_or_wait)
        handlers.trouble.append(take_away)
        own_broker.create_topic(topic)
        send(own_broker, topic, range(10))
        # A turn of the loop handles one alert.
        stream = make(own_broker.bootstrap_servers, group_id, {topic: "one"}, delivery={"BATCH_SECONDS": 1e-6})
        run_once(stream)
        assert held[0] == (6, 0)
        assert handlers.calls == effects(topic) == list(range(10))
        assert counts() == {"done": 10}
        assert all(offset == stored for offset, stored in told)
        assert 4 in [offset for offset, _stored in told[: told_until_then[0]]]
        assert told[-1] == (10, 10)


class TestExpelled:
    """A look-up takes longer than max.poll.interval.ms: the group gives the partition to another process."""

    @pytest.fixture
    def gate(self) -> Iterator[tuple[threading.Event, threading.Event]]:
        """Set when the look-up of the slow stream is at work; and it ends when the second is set."""
        at_work, go_on = threading.Event(), threading.Event()

        def hold(alerts: list[Alert]) -> None:
            if alerts[0].stream == "slow":
                at_work.set()
                go_on.wait(60)

        gated.looking_up.append(hold)
        yield at_work, go_on
        go_on.set()
        gated.looking_up.clear()

    def test_writes_nothing_twice_and_comes_back(
        self,
        own_broker: ScriptedBroker,
        topic: str,
        group_id: str,
        gate: tuple[threading.Event, threading.Event],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        def stream(label: str, **config: Any) -> Any:
            handler = {topic: "tests.faults.gated.looked_up"}
            return make(own_broker.bootstrap_servers, group_id, handler, label=label, CONFIG=config)

        at_work, go_on = gate
        own_broker.create_topic(topic)
        send(own_broker, topic, range(5))
        with ExitStack() as stack:
            slow = stack.enter_context(started(stream("slow", **{"max.poll.interval.ms": 2000})))
            assert at_work.wait(20)
            silent_since = time.monotonic()
            with started(stream("other")):
                wait_until(lambda: len(effects(topic)) == 5, "the other to handle them")
                # The client looks every 0.5 s whether it is polled. It tells of it when it is, not before.
                wait_until(lambda: time.monotonic() - silent_since > 3.5, "the slow one's client to have looked")
                go_on.set()
                wait_until(lambda: "Another consumer has moved" in caplog.text, "the slow one to notice")
            send(own_broker, topic, range(5, 8))
            wait_until(lambda: len(effects(topic)) >= 8, "the slow one to come back")
            assert slow.status.state is State.RUNNING
        notes = list(Effect.objects.order_by("offset").values_list("note", flat=True))
        assert notes == ["other"] * 5 + ["slow"] * 3
        assert effects(topic) == list(range(8))
        assert (counts("other"), counts("slow")) == ({"done": 5}, {"done": 3})
        assert next_offset(group_id, topic) == 8
        assert caplog.text.count("_MAX_POLL_EXCEEDED") == 1
