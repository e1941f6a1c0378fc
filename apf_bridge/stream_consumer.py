"""In place of a step's consumer: the delivery loop reads and commits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from confluent_kafka import Message

from tom_alertstreams.alerts import Alert

from .compat.consumers import GenericConsumer
from .own_consumer import message_of


class StreamConsumer(GenericConsumer):  # type: ignore[misc,unused-ignore]
    """Yields nothing, and its commit does nothing: offsets move in the transaction of the batch."""

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        super().__init__(dict(config or {}))
        #: Those of the call in hand.
        self.alerts: Sequence[Alert] = ()

    @property
    def messages(self) -> list[Message]:
        """The alerts of the call in hand, as KafkaConsumer has them: topic, partition, offset, key, headers, time."""
        return [message_of(alert) for alert in self.alerts]

    @property
    def topics(self) -> list[str]:
        """TOPICS of CONSUMER_CONFIG; else those of the call in hand."""
        given = self.config.get("TOPICS") or dict.fromkeys(alert.topic for alert in self.alerts)
        return [given] if isinstance(given, str) else list(given)

    def consume(self) -> Iterator[Any]:
        """Nothing: messages come with the batch."""
        return iter(())

    def commit(self) -> None:
        """Not needed."""
