"""In place of a step's consumer: the delivery loop reads and commits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .compat.consumers import GenericConsumer


class StreamConsumer(GenericConsumer):  # type: ignore[misc,unused-ignore]
    """Yields nothing, and its commit does nothing: offsets move in the transaction of the batch."""

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        super().__init__(dict(config or {}))

    def consume(self) -> Iterator[Any]:
        """Nothing: messages come with the batch."""
        return iter(())

    def commit(self) -> None:
        """Not needed."""
