"""Topics that are made while a consumer runs: read from their beginning, whatever ``auto.offset.reset`` says."""

from __future__ import annotations

from typing import Any, Final

from confluent_kafka import OFFSET_BEGINNING, KafkaException

_TIMEOUT_S: Final = 10


class NewTopics:
    """Which topics were there at the first assignment. ``latest`` is meant for those: of a new one nothing is old."""

    def __init__(self) -> None:
        self._known: set[str] | None = None

    def place(self, consumer: Any, partitions: list[Any]) -> bool:
        """Say where to begin with partitions of new topics; whether there are any."""
        if self._known is None:
            self._known = _on_the_broker(consumer)
            return False
        new = [one for one in partitions if one.topic not in self._known]
        begun = _begun(consumer, new) if new else set()
        for one in new:
            if (one.topic, one.partition) not in begun:
                one.offset = OFFSET_BEGINNING
        return bool(new)


def _on_the_broker(consumer: Any) -> set[str] | None:
    try:
        return set(consumer.list_topics(timeout=_TIMEOUT_S).topics)
    except KafkaException:  # asked again at the next assignment
        return None


def _begun(consumer: Any, partitions: list[Any]) -> set[tuple[str, int]]:
    """Those of which the group has committed something. Not to know is to read again what it may have read."""
    try:
        committed = consumer.committed(partitions, timeout=_TIMEOUT_S)
    except KafkaException:
        return set()
    return {(one.topic, one.partition) for one in committed if one.offset >= 0}
