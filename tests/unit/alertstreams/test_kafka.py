"""The stream of any Kafka broker: the envelope of a message, and what its handlers are."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME, TIMESTAMP_NOT_AVAILABLE, Message

from tests.streams import make
from tom_alertstreams.alertstreams.kafka import KafkaAlertStream
from tom_alertstreams.exceptions import ConfigurationError


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


def in_place_of_it(alert: Any) -> None:
    """What the class below calls."""


class CallsItsOwn(KafkaAlertStream):
    """As a subclass of 1.x may do."""

    def _process_topic_handlers(self) -> dict[str, Callable[..., Any]]:
        return dict.fromkeys(super()._process_topic_handlers(), in_place_of_it)


def test_functions_that_a_subclass_has_put_in_are_called() -> None:
    handlers = {"a": "tom_alertstreams.alertstreams.alertstream.alert_logger"}
    stream = CallsItsOwn(BOOTSTRAP_SERVERS="127.0.0.1:1", TOPIC_HANDLERS=handlers)
    stream.verify()
    assert stream.bindings["a"].handler.function is in_place_of_it


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"partition.assignment.strategy": "cooperative-sticky"}, "strategy in CONFIG is 'cooperative-sticky'.*range"),
        ({"group.protocol": "Consumer"}, "group.protocol in CONFIG is 'Consumer'.*classic"),
    ],
)
def test_a_group_that_gives_partitions_one_by_one_is_refused(config: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        make("127.0.0.1:1", "group", {"topic": "each"}, CONFIG=config)


def test_other_ways_to_share_partitions_are_taken() -> None:
    ways = {"partition.assignment.strategy": "roundrobin", "group.protocol": "classic"}
    make("127.0.0.1:1", "group", {"topic": "each"}, CONFIG=ways)


@pytest.mark.parametrize("path", ["os.path", "os.sep"])
def test_what_is_no_function_handles_nothing(path: str) -> None:
    with pytest.raises(ConfigurationError, match="is not a function"):
        KafkaAlertStream(BOOTSTRAP_SERVERS="127.0.0.1:1", TOPIC_HANDLERS={"a": path})


@pytest.mark.parametrize(
    "given", [{"GROUP_ID": 5}, {"GROUP_ID": "x" * 256}, {"GROUP_ID": "a\0b"}, {"CONFIG": {"group.id": "x" * 256}}]
)
def test_a_group_that_the_tables_cannot_hold_is_told_at_the_start(given: dict[str, Any]) -> None:
    handlers = {"a": "tom_alertstreams.alertstreams.alertstream.alert_logger"}
    stream = KafkaAlertStream(BOOTSTRAP_SERVERS="127.0.0.1:1", TOPIC_HANDLERS=handlers, **given)
    with pytest.raises(ConfigurationError, match=r"GROUP_ID is|group\.id in CONFIG is"):
        stream.verify()
