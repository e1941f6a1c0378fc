"""The envelope of a Kafka message."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME, TIMESTAMP_NOT_AVAILABLE, Message

from tests.streams import make


@pytest.mark.parametrize(
    ("timestamp", "sent"),
    [
        ((TIMESTAMP_CREATE_TIME, 1_790_000_000_123), datetime(2026, 9, 21, 14, 13, 20, 123_000, timezone.utc)),
        ((TIMESTAMP_LOG_APPEND_TIME, 0), datetime(1970, 1, 1, tzinfo=timezone.utc)),
        ((TIMESTAMP_NOT_AVAILABLE, 5), None),
        ((TIMESTAMP_CREATE_TIME, -1), None),
        ((TIMESTAMP_CREATE_TIME, 1_790_000_000_000_000), None),  # microseconds
        ((TIMESTAMP_CREATE_TIME, 2**63 - 1), None),
    ],
)
def test_a_producer_may_write_any_time(timestamp: tuple[int, int], sent: datetime | None) -> None:
    stream: Any = make("127.0.0.1:1", "group", {"topic": "each"})
    message = Message(topic="topic", partition=3, offset=7, key=b"k", value=b"{}", timestamp=timestamp)
    alert = stream.open_alert(message)
    assert (alert.timestamp, alert.coordinates, alert.key, alert.raw) == (sent, "topic[3]@7", b"k", b"{}")
    assert (alert.headers, alert.stream, alert.content) == ((), "test", {})
