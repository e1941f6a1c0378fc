"""A consumer class of a group's own, on a stream: the stream reads, and the class makes records of what was read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_NOT_AVAILABLE, Message

from tom_alertstreams.alerts import Alert
from tom_alertstreams.exceptions import DecodeError

from .compat.consumers.kafka import KafkaConsumer
from .compat.consumers.message_error import MessageError


class Nobody:
    """In place of the class's Kafka client: it subscribes to nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None


class OwnDecoding:
    """``_deserialize_message`` and ``_post_process`` of a subclass of KafkaConsumer, for alerts.

    :param config: its CONSUMER_CONFIG.
    """

    def __init__(self, consumer_class: type[KafkaConsumer], config: Mapping[str, Any]) -> None:
        self.name = consumer_class.__name__
        unconnected = type(self.name, (consumer_class,), {"_make_client": lambda consumer, params: Nobody()})
        self._consumer: KafkaConsumer = unconnected(dict(config))

    def __call__(self, alert: Alert) -> Any:
        """
        :raises DecodeError: whatever the class raised.
        """
        try:
            records = self._consumer._records(message_of(alert))
        except MessageError as error:
            raise DecodeError(f"{self.name} cannot read it: {error.reason}") from error
        return records[0] if len(records) == 1 else records


def message_of(alert: Alert) -> Message:
    """The alert as confluent_kafka would give it."""
    sent = (TIMESTAMP_NOT_AVAILABLE, -1)
    if alert.timestamp is not None:
        sent = (TIMESTAMP_CREATE_TIME, round(alert.timestamp.timestamp() * 1000))
    return Message(
        topic=alert.topic, partition=alert.partition, offset=alert.offset, key=alert.key, value=alert.raw,
        headers=list(alert.headers) or None, timestamp=sent,
    )  # fmt: skip
