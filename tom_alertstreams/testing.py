"""For tests and demos of a TOM: alerts to call a handler with, and a Kafka broker inside the process.

Neither Django nor its settings are needed to import this module.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar

from confluent_kafka import KafkaException, Producer

from .alerts import Alert

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["EmbeddedBroker", "Publisher", "make_alert"]

Headers = Mapping[str, bytes | str] | Sequence[tuple[str, bytes | str]]


def make_alert(
    content: Any = None,
    *,
    raw: bytes | None = None,
    topic: str = "test",
    stream: str = "test",
    offset: int = 0,
    key: bytes | None = None,
    headers: Headers = (),
    timestamp: datetime | None = None,
) -> Alert:
    """An alert as a handler gets it, without a broker and without settings.

    :param content: what the alert says; its bytes are then this as JSON, as far as it can be.
    :param raw: the bytes of a real alert instead, decoded as by a stream without a DECODER.
    :param stream: LABEL of the stream that it shall have come from.
    :raises TypeError: both are given, or neither.
    """
    if (content is None) == (raw is None):
        raise TypeError("make_alert takes either content or raw.")

    def decode(alert: Alert) -> Any:
        if content is not None:
            return copy.deepcopy(content)  # the alert is the same again for whoever tries it again
        from .decoders import decode_auto  # here, because it needs Django

        return decode_auto(alert.raw)

    value = raw if raw is not None else json.dumps(content, default=str).encode()
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    named = tuple((name, text.encode() if isinstance(text, str) else text) for name, text in pairs)
    return Alert(stream, topic, 0, offset, key, named, timestamp, value, decode)


class Publisher:
    """Sends messages to one Kafka cluster, in the order given, and tells when one was not taken."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """:param config: librdkafka's keys; ``bootstrap.servers`` at least."""
        # Logs are off because a broker that a test stops is not worth a line a second on the terminal.
        self._producer = Producer({"log_level": 0, "linger.ms": 5, "message.max.bytes": 10 * 2**20, **config})
        self._refused: list[str] = []
        self._closed = False

    def produce(
        self,
        topic: str,
        value: bytes | str | None,
        key: bytes | str | None = None,
        headers: Headers | None = None,
        partition: int = 0,
        timestamp: int | None = None,
    ) -> None:
        """Queue one message; :meth:`flush` waits until the broker has it.

        :param value: None makes a tombstone.
        :param partition: the first by default, so that messages keep their order; -1 lets librdkafka choose.
        :param timestamp: milliseconds since 1970; now, where none is given.
        """
        options: dict[str, Any] = {"key": key, "partition": partition, "on_delivery": self._delivered}
        if headers is not None:
            options["headers"] = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
        if timestamp is not None:
            options["timestamp"] = timestamp
        while True:
            try:
                self._producer.produce(topic, value, **options)
            except BufferError:  # the local queue is full: make room
                self._producer.poll(0.1)
            else:
                break
        self._producer.poll(0)

    def flush(self, timeout_s: float = 30) -> None:
        """Wait until the broker has everything.

        :raises RuntimeError: a message was refused, or is still waiting after ``timeout_s``.
        """
        waiting = self._producer.flush(timeout_s)
        refused, self._refused = self._refused, []
        if refused:
            raise RuntimeError(f"{len(refused)} messages were refused: {refused[0]}")
        if waiting:
            raise RuntimeError(f"{waiting} messages were not delivered in {timeout_s} s")

    def close(self) -> None:
        """Send what is queued and let go of the connections. May be called twice."""
        if not self._closed:
            self._closed = True
            self._producer.flush(10)
            self._producer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _delivered(self, error: Any, message: Any) -> None:
        if error is not None:
            self._refused.append(f"{message.topic()}[{message.partition()}]: {error}")


class EmbeddedBroker(Publisher):
    """A Kafka broker that lives in this process and is reached like any other, on a free port of 127.0.0.1.

    ::

        with EmbeddedBroker() as broker:
            broker.produce("alerts", b"...")
            broker.flush()
            consumer = Consumer({"bootstrap.servers": broker.bootstrap_servers, **broker.CONSUMER_CONFIG, ...})

    It is the mock cluster of librdkafka, which comes inside the ``confluent-kafka`` wheel; other processes can connect
    to it as well. It is gone with the process: do not fork while one is open. What it cannot do:

    - Every topic has 4 partitions. It appears when it is first written to or with :meth:`create_topic`; the
      administration requests of Kafka (create, delete, describe) time out.
    - A partition keeps its last 4 MB (100,000 batches at most). Older messages are dropped in silence, and so is a
      single one larger than that.
    - No authentication, no TLS, no access lists.
    - The first member of a consumer group waits 3 s to be let in, so a session has to be longer than that. Each later
      change of the members waits ``session.timeout.ms`` less 1 s, 44 s by default. ``CONSUMER_CONFIG`` makes
      that 2.5 s.
    - Starting at a date does not work: the offset of every date is the end of the partition.
    """

    #: Settings for a consumer of this broker: short waits, within what it can do.
    CONSUMER_CONFIG: ClassVar[Mapping[str, Any]] = {
        "session.timeout.ms": 3500,
        "heartbeat.interval.ms": 500,
        "fetch.wait.max.ms": 10,  # an empty fetch sleeps for all of it
        "topic.metadata.refresh.interval.ms": 1000,
        "allow.auto.create.topics": False,
    }

    def __init__(self, start_timeout_s: float = 10) -> None:
        """:raises RuntimeError: it does not answer after ``start_timeout_s``."""
        super().__init__({"test.mock.num.brokers": 1})
        try:
            brokers = self._producer.list_topics(timeout=start_timeout_s).brokers.values()
        except KafkaException as error:
            raise RuntimeError("the embedded broker did not start") from error
        self.bootstrap_servers = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)

    def create_topic(self, topic: str, timeout_s: float = 10) -> None:
        """Make an empty topic of 4 partitions; nothing happens where it exists."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = self._producer.list_topics(topic=topic, timeout=timeout_s).topics[topic]
            if found.error is None and found.partitions:
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"the embedded broker did not create {topic}: {found.error}")
            time.sleep(0.02)
