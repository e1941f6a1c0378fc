"""Steps as ALeRCE's groups have written them for the three generations of APF."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import fastavro
from confluent_kafka import Consumer, TopicPartition

from tests.processes import wait_until


@dataclass(frozen=True)
class Consumed:
    """A message as whoever reads the output of a step sees it."""

    key: bytes | None
    id: str
    content: Any
    partition: int
    timestamp_ms: int


def consumed(broker: Any, topic: str, count: int, timeout_s: float = 20) -> list[Consumed]:
    """So many messages of a topic and what else is there at once, each partition in its order."""
    found: list[Consumed] = []
    consumer = Consumer({"bootstrap.servers": broker.bootstrap_servers, "group.id": "reader", "fetch.wait.max.ms": 10})
    try:
        partitions = wait_until(lambda: consumer.list_topics(topic, 5).topics[topic].partitions, topic)
        consumer.assign([TopicPartition(topic, number, 0) for number in partitions])

        def enough() -> bool:
            message = consumer.poll(0.3)
            if message is None:
                return len(found) >= count
            assert message.error() is None, message.error()
            headers = dict(message.headers() or [])
            content = next(fastavro.reader(io.BytesIO(message.value())))
            place = message.partition(), message.timestamp()[1]
            found.append(Consumed(message.key(), headers["id"].decode(), content, *place))
            return False

        wait_until(enough, f"{count} messages of {topic}, {len(found)} are there", timeout_s)
    finally:
        consumer.close()
    return found
