"""Simulated messages, and how they get to a broker."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol


class Said(NamedTuple):
    """What one message says of its object: its most probable class."""

    class_name: str
    probability: float


@dataclass(frozen=True)
class SimulatedMessage:
    """One message as ALeRCE's producers send it."""

    topic: str
    key: bytes | None
    value: bytes
    #: What it is about; "" where it is broken on purpose, or names a simulated alert and no object.
    oid: str
    #: When ALeRCE sends it (UTC).
    sent: datetime
    #: Whose word it is, as Classification names it.
    classifier: str = ""
    #: None where it classifies nothing.
    said: Said | None = None


class Producer(Protocol):
    """What messages are published with: :class:`tom_alertstreams.testing.Publisher`, or confluent_kafka's Producer."""

    def produce(self, topic: str, value: bytes, key: bytes | None = None, **options: Any) -> None:
        """Queue one message. Options: ``partition``, ``timestamp`` (milliseconds since 1970)."""

    def flush(self) -> Any:
        """Wait until the broker has everything."""


def send(producer: Producer, messages: Iterable[SimulatedMessage], *, times: bool = False, spread: bool = False) -> int:
    """Send these messages in order; the broker has them when this returns.

    :param times: with the times of the simulation in place of now. Kafka refuses those that lie in the future, and
        deletes what is older than it keeps.
    :param spread: over all partitions: those with a key by it, others by chance. Else each producer does as it is used to.
    :returns: how many messages that were.
    """
    count = 0
    for message in messages:
        options: dict[str, Any] = {"partition": -1} if spread else {}
        if times:
            options["timestamp"] = int(message.sent.timestamp() * 1000)
        producer.produce(message.topic, message.value, key=message.key, **options)
        count += 1
    producer.flush()
    return count
