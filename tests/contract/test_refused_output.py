"""A broker refuses a message of a step for good, and with it the whole request: only the message at fault is given up."""

from __future__ import annotations

import time
from typing import Any

from apf_bridge.models import OutboxMessage
from apf_bridge.outbox import Output, store
from apf_bridge.publisher import Publisher
from tests.brokers import RunningKafka, ScriptedBroker
from tests.brokers.scripted import read
from tests.contract.running_steps import pending, until
from tests.marks import CORE_AND_STEPS

pytestmark = CORE_AND_STEPS

#: Kafka's numbers of answers.
TOO_LARGE, NO_SUCH_TIME = 10, 32


def that_puts_out(broker: Any, outputs: list[Output]) -> Publisher:
    ours = Publisher("test: own.Step", {"P#1": {"bootstrap.servers": broker.bootstrap_servers}})
    store(ours.outlet(), outputs, [])
    return ours


def send_all(ours: Publisher) -> None:
    def is_empty() -> bool:
        ours.turn()
        return pending() == 0

    try:
        until(is_empty)
    finally:
        ours._forget()
        ours.end()


def refused() -> list[bytes]:
    return [bytes(row.value or b"")[:3] for row in OutboxMessage.objects.filter(state="refused").order_by("pk")]


def delivered(broker: Any, topic: str, count: int) -> list[bytes]:
    """Each once, in the order in which they came first."""
    return list(dict.fromkeys((message.value() or b"")[:3] for message in read(broker.bootstrap_servers, topic, count)))


def test_what_was_sent_together_is_not_given_up_together(own_broker: ScriptedBroker, topic: str) -> None:
    own_broker.create_topic(topic)
    ours = that_puts_out(own_broker, [Output("P#1", topic, b"k", b"%03d" % n) for n in range(20)])
    own_broker.push_errors(ScriptedBroker.PRODUCE, TOO_LARGE, TOO_LARGE)
    send_all(ours)
    assert refused() == []
    assert delivered(own_broker, topic, 20) == [b"%03d" % n for n in range(20)]


def test_what_is_refused_alone_is_given_up(own_broker: ScriptedBroker, topic: str) -> None:
    own_broker.create_topic(topic)
    ours = that_puts_out(own_broker, [Output("P#1", topic, b"k", b"%03d" % n) for n in range(2)])
    own_broker.push_errors(ScriptedBroker.PRODUCE, NO_SUCH_TIME, NO_SUCH_TIME)
    send_all(ours)
    assert refused() == [b"000"]
    assert delivered(own_broker, topic, 1) == [b"001"]


def test_a_real_kafka_gets_all_but_those_at_fault(real_kafka: RunningKafka, topic: str) -> None:
    """One is too large for the topic, one has a time in microseconds."""
    real_kafka.create_topic(topic, 1, {"max.message.bytes": "20000"})
    wrong = round(time.time() * 1e6)
    outputs = [
        Output("P#1", topic, b"k", (b"%03d" % n) * (20_000 if n == 5 else 1), timestamp=wrong if n == 30 else None)
        for n in range(60)
    ]
    send_all(that_puts_out(real_kafka, outputs))
    assert refused() == [b"005", b"030"]
    assert delivered(real_kafka, topic, 58) == [b"%03d" % n for n in range(60) if n not in (5, 30)]
