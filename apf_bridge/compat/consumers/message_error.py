"""A message that a step's consumer cannot read, and where it is."""

from __future__ import annotations

from typing import Any


class MessageError(ValueError):
    """A message of Kafka that cannot be read."""

    def __init__(self, message: Any, reason: str) -> None:
        """
        :param message: confluent_kafka's.
        """
        self.topic: str = message.topic()
        self.partition: int = message.partition()
        self.offset: int = message.offset()
        self.key: bytes | None = message.key()
        self.reason = reason
        key = f" with key {self.key!r}" if self.key is not None else ""
        super().__init__(
            f"The message {self.topic}[{self.partition}]@{self.offset}{key} cannot be read: {reason} What came before it "
            f"is done; to pass over it set the group's offset for that partition to {self.offset + 1}."
        )
