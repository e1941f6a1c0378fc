"""The broker is away, slow, cut off, or refuses what it is told: nothing is lost, nothing is double, the log stays short."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, TopicPartition

from tests.brokers import ScriptedBroker
from tests.brokers.cluster import ScriptedCluster
from tests.effects import handlers
from tests.effects.models import Effect
from tests.marks import CORE_TABLES
from tests.processes import wait_until
from tests.streams import counts, effects, make, send
from tom_alertstreams.alerts import Alert
from tom_alertstreams.delivery import loop
from tom_alertstreams.delivery.intake import Intake
from tom_alertstreams.delivery.runs import State
from tom_alertstreams.delivery.source import Control
from tom_alertstreams.delivery.supervisor import StreamThread

pytestmark = [CORE_TABLES, pytest.mark.usefixtures("fresh_handlers")]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_LONGEST_PAUSE_S", 0.1)
    monkeypatch.setattr(loop, "_PROBE_EVERY_S", 0.1)
    monkeypatch.setattr(loop, "_MIRROR_EVERY_S", 0.02)


@contextmanager
def started(*streams: Any) -> Iterator[list[StreamThread]]:
    """Streams in threads, as the supervisor runs them, until the block ends."""
    control = Control()
    threads = [StreamThread(stream, control) for stream in streams]
    for thread in threads:
        thread.start()
    try:
        yield threads
    finally:
        control.stopping.set()
        for thread in threads:
            thread.join(30)
    assert not [thread for thread in threads if thread.is_alive()]


def told(caplog: pytest.LogCaptureFixture, label: str) -> list[str]:
    """What the log says of a stream."""
    return [text for record in caplog.records if (text := record.getMessage()).startswith(label)]


def test_away_at_the_start(
    broker: ScriptedBroker,
    own_broker: ScriptedBroker,
    topic: str,
    group_id: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The stream says so, waits without a word, and goes on; another one is not held up by it."""
    tries: list[int] = []

    def ask_shortly(intake: Intake) -> str:
        tries.append(1)
        return str(intake.consumer.list_topics(timeout=0.05).cluster_id)

    for each in (broker, own_broker):
        each.create_topic(topic)
        send(each, topic, range(3))
    own_broker.broker_down()
    monkeypatch.setattr(Intake, "cluster_id", ask_shortly)
    away = make(own_broker.bootstrap_servers, group_id, {topic: "one"}, label="away")
    sound = make(broker.bootstrap_servers, group_id, {topic: "one"}, label="sound")
    with started(away, sound) as (waiting, running):
        wait_until(lambda: counts("sound") == {"done": 3}, "the alerts of the sound stream")
        wait_until(lambda: len(tries) > 30, "many tries")
        assert waiting.status.state is State.WAITING
        assert running.status.state is State.RUNNING
        lines = told(caplog, "away")
        assert any("waiting for the broker" in line for line in lines)
        assert len(lines) <= 5, lines
        own_broker.broker_up()
        wait_until(lambda: counts("away") == {"done": 3}, "the alerts of the one that waited")
    assert len(effects(topic)) == 6


def test_one_of_three_dies(topic: str, group_id: str) -> None:
    """The coordinator of the group, which has a partition as well. Then another one takes over."""
    with ScriptedCluster() as cluster, ExitStack() as stack:
        cluster.create_topic(topic, 3)
        for partition in range(3):
            cluster.lead(topic, partition, partition + 1)
            send(cluster, topic, range(5), partition)
        cluster.coordinate(group_id, 2)
        (thread,) = stack.enter_context(started(make(cluster.bootstrap_servers, group_id, {topic: "one"})))
        wait_until(lambda: Effect.objects.count() == 15, "the first alerts")
        cluster.broker_down(2)
        for partition in (0, 2):
            send(cluster, topic, range(5, 8), partition)
        cluster.coordinate(group_id, 3)
        cluster.lead(topic, 1, 3)
        send(cluster, topic, range(5, 8), 1)
        wait_until(lambda: Effect.objects.count() >= 24, "the alerts of all partitions")
        wait_until(lambda: thread.status.state is State.RUNNING, "the stream to run")
    found = Counter(Effect.objects.values_list("partition", "offset"))
    assert found == Counter((partition, offset) for partition in range(3) for offset in range(8))
    assert counts() == {"done": 24}
    assert len(handlers.calls) == 24


def test_slow_and_cut_off_again_and_again(
    own_broker: ScriptedBroker,
    topic: str,
    group_id: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Half a second for every answer, and three times all connections are closed."""

    def cut(alert: Alert) -> None:
        if alert.offset in (2, 7, 12):
            own_broker.broker_down()
            own_broker.broker_up()

    handlers.trouble.append(cut)
    own_broker.create_topic(topic)
    send(own_broker, topic, range(2))
    # Each change of metadata (asked for every second by the tests' settings, and by each probe) joins the group anew,
    # for which this broker takes a session: with answers this slow that may come again and again.
    config = {
        "reconnect.backoff.max.ms": 500, "session.timeout.ms": 6000, "topic.metadata.refresh.interval.ms": 60_000,
    }  # fmt: skip
    monkeypatch.setattr(loop, "_PROBE_EVERY_S", 5)
    with started(make(own_broker.bootstrap_servers, group_id, {topic: "one"}, CONFIG=config)):
        wait_until(lambda: len(effects(topic)) >= 2, "the first alerts")
        own_broker.rtt(500)
        send(own_broker, topic, range(2, 10))
        wait_until(lambda: len(effects(topic)) >= 10, "the first slow alerts")
        send(own_broker, topic, range(10, 20))
        wait_until(lambda: len(effects(topic)) >= 20, "the alerts after them")
        lines = told(caplog, "test")
        own_broker.rtt(0)
    assert effects(topic) == list(range(20))
    assert handlers.calls == list(range(20))
    assert counts() == {"done": 20}
    assert len(lines) <= 15, lines


@pytest.mark.parametrize(
    "code",
    [
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
    ],
    ids=lambda code: KafkaError(code).name(),
)
def test_offsets_that_the_broker_does_not_take(
    own_broker: ScriptedBroker, topic: str, group_id: str, code: int
) -> None:
    """They are a mirror, which is right again when the broker takes them, though no new alert has come."""
    own_broker.create_topic(topic)
    send(own_broker, topic, range(3))
    consumer = Consumer({"bootstrap.servers": own_broker.bootstrap_servers, "group.id": group_id})

    def mirrored() -> int:
        return int(consumer.committed([TopicPartition(topic, 0)], timeout=10)[0].offset)

    def refuse(alert: Alert) -> None:
        if alert.offset == 2:
            own_broker.push_errors(own_broker.OFFSET_COMMIT, code)

    handlers.trouble.append(refuse)
    try:
        with started(make(own_broker.bootstrap_servers, group_id, {topic: "one"})):
            wait_until(lambda: mirrored() == 3, "Kafka to be told", 20)
            send(own_broker, topic, range(3, 6))
            wait_until(lambda: len(effects(topic)) >= 6, "the alerts after it")
            wait_until(lambda: mirrored() == 6, "Kafka to be told", 20)
    finally:
        consumer.close()
    assert effects(topic) == list(range(6))
    assert handlers.calls == list(range(6))
    assert counts() == {"done": 6}


def test_topics_that_are_absent_or_refused(
    own_broker: ScriptedBroker, topic: str, group_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each is told once; the other topics go on, and these are read from their beginning when they are there."""
    sound, absent, refused = names = [f"{topic}-{name}" for name in ("sound", "absent", "refused")]
    own_broker.create_topic(sound)
    own_broker.create_topic(refused)
    for name in (sound, refused):
        send(own_broker, name, range(3))
    own_broker.set_topic_error(refused, KafkaError.TOPIC_AUTHORIZATION_FAILED)
    config = {"topic.metadata.refresh.interval.ms": 100}
    with started(make(own_broker.bootstrap_servers, group_id, dict.fromkeys(names, "one"), CONFIG=config)):
        for number in range(3, 8):  # and for some refreshes of the metadata
            wait_until(lambda: len(effects(sound)) >= number, "the alerts of the sound topic")  # noqa: B023
            send(own_broker, sound, range(number, number + 1))
        own_broker.set_topic_error(refused, 0)
        own_broker.create_topic(absent)
        send(own_broker, absent, range(3))
        for name in (absent, refused):
            wait_until(lambda: len(effects(name)) >= 3, f"the alerts of {name}")  # noqa: B023
    assert effects(absent) == effects(refused) == [0, 1, 2]
    assert effects(sound) == list(range(8))
    for name in (absent, refused):
        assert len([line for line in told(caplog, "test") if line.startswith(f"test: {name}: ")]) == 1
