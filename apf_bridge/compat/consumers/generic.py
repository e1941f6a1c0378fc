"""``apf.consumers.generic``."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from apf_bridge.compat.core.config_keys import BATCH_KEYS


class GenericConsumer:
    """Where a step's messages come from. By itself it has one empty message, for the tests of steps."""

    def __init__(self, config: Any = None) -> None:
        self.logger = logging.getLogger(f"alerce.{type(self).__name__}")
        self.logger.info("Creating %s", type(self).__name__)
        self.config = config
        self.stopping = False

    def consume(self) -> Iterator[Any]:
        """Yields messages: dicts, or lists of them."""
        yield {}

    def commit(self) -> None:
        """What was yielded last is done with."""

    def stop(self) -> None:
        """Let :meth:`consume` end when it can."""
        self.stopping = True

    def close(self) -> None:
        """Let go of what is open."""

    def teardown(self) -> None:
        """The same: steps call it in ``tear_down``."""
        self.close()

    def __del__(self) -> None:
        """Nothing: steps call this too in ``tear_down``, of whatever consumer they have."""


def batch_size(config: Mapping[str, Any], default: int = 1) -> int:
    """How many messages a batch has.

    :raises ValueError: it is no number above 0.
    """
    size = int(next((config[key] for key in BATCH_KEYS if key in config), default))
    if size < 1:
        raise ValueError(f"consume.messages is {size}; it is a number above 0.")
    return size


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
