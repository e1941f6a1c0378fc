"""``apf.consumers.generic``."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any


class GenericConsumer(ABC):
    """Where a step's messages come from."""

    def __init__(self, config: Any = None) -> None:
        self.logger = logging.getLogger(f"alerce.{type(self).__name__}")
        self.logger.info("Creating %s", type(self).__name__)
        self.config = config
        self.stopping = False

    @abstractmethod
    def consume(self) -> Iterator[Any]:
        """Yields messages: dicts, or lists of them."""
        yield {}

    def commit(self) -> None:  # noqa: B027  most have nothing to do
        """What was yielded last is done with."""

    def stop(self) -> None:
        """Let :meth:`consume` end when it can."""
        self.stopping = True

    def close(self) -> None:  # noqa: B027
        """Let go of what is open."""


def batch_size(config: dict[str, Any], default: int = 1) -> int:
    """How many messages a batch has. ``consume.messages`` goes before NUM_MESSAGES."""
    return int(config.get("consume.messages", config.get("NUM_MESSAGES", default)))


def batches(records: Iterator[Any], size: int) -> Iterator[Any]:
    """Records one by one for a size of 1, else lists of them; the last may be shorter."""
    if size == 1:
        yield from records
        return
    batch = []
    for record in records:
        batch.append(record)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
