"""Librdkafka's mock cluster under remote control: the broker of the fast tests."""

from __future__ import annotations

import ctypes
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import confluent_kafka
from confluent_kafka import Consumer, KafkaException

from tom_alertstreams.testing import EmbeddedBroker, Publisher


def read(
    bootstrap_servers: str, topic: str, count: int, config: Mapping[str, Any] | None = None, timeout_s: float = 20
) -> list[confluent_kafka.Message]:
    """The first ``count`` messages of a topic, through a consumer group of its own.

    :param config: further keys for librdkafka, as those of a login.
    :raises TimeoutError: fewer came; what the client reported meanwhile is in the message.
    """
    errors: list[str] = []
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": f"read-{uuid.uuid4().hex}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "log_level": 0,
            "error_cb": lambda error: errors.append(str(error)),
            **EmbeddedBroker.CONSUMER_CONFIG,
            **(config or {}),
        }
    )
    messages: list[confluent_kafka.Message] = []
    try:
        consumer.subscribe([topic])
        deadline = time.monotonic() + timeout_s
        while len(messages) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(messages)} of {count} messages of {topic} after {timeout_s} s; {errors}")
            message = consumer.poll(0.1)
            if message is not None and message.error() is None:
                messages.append(message)
    finally:
        consumer.close()
    return messages


class ScriptedBroker(Publisher):
    """The mock cluster driven through ctypes: a group is joined at once, topics have the partitions asked for, and
    brokers go down and requests fail on command. It keeps 5 MB a partition and knows no authentication.
    """

    #: As for the embedded broker, but a session may be shorter than its 3 s for joining. Every second consumer joins twice
    #: (its first metadata are without racks), and waits for as long as a session is longer than 1 s.
    CONSUMER_CONFIG: ClassVar[Mapping[str, Any]] = {
        **EmbeddedBroker.CONSUMER_CONFIG,
        "session.timeout.ms": 1300,
        "heartbeat.interval.ms": 300,
    }
    # Kafka's numbers of requests, for push_errors.
    PRODUCE, FETCH, METADATA, OFFSET_COMMIT, OFFSET_FETCH, JOIN_GROUP, HEARTBEAT = 0, 1, 3, 8, 9, 11, 12

    def __init__(self, brokers: int = 1) -> None:
        path = _librdkafka()
        if path is None:
            raise RuntimeError("this confluent-kafka carries no librdkafka of its own")
        lib = self._lib = ctypes.CDLL(str(path))
        pointer, number, text, size = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t
        codes = ctypes.POINTER(number)
        signatures: dict[str, tuple[Any, list[Any]]] = {
            "conf_new": (pointer, []),
            "conf_set": (number, [pointer, text, text, text, size]),
            "new": (pointer, [number, pointer, text, size]),
            "destroy": (None, [pointer]),
            "mock_cluster_new": (pointer, [pointer, number]),
            "mock_cluster_destroy": (None, [pointer]),
            "mock_cluster_bootstraps": (text, [pointer]),
            "mock_group_initial_rebalance_delay_ms": (None, [pointer, ctypes.c_int32]),
            "mock_topic_create": (number, [pointer, text, number, number]),
            "mock_topic_set_error": (None, [pointer, text, number]),
            "mock_broker_set_down": (number, [pointer, ctypes.c_int32]),
            "mock_broker_set_up": (number, [pointer, ctypes.c_int32]),
            "mock_broker_set_rtt": (number, [pointer, ctypes.c_int32, number]),
            "mock_push_request_errors_array": (None, [pointer, ctypes.c_int16, size, codes]),
            "mock_partition_delete_records": (number, [pointer, text, ctypes.c_int32, ctypes.c_int64]),
        }
        for name, (result, arguments) in signatures.items():
            function = getattr(lib, f"rd_kafka_{name}")
            function.restype, function.argtypes = result, arguments
        error = ctypes.create_string_buffer(512)
        config = lib.rd_kafka_conf_new()
        lib.rd_kafka_conf_set(config, b"log_level", b"0", error, 512)
        self._client = lib.rd_kafka_new(0, config, error, 512)
        if not self._client:
            raise RuntimeError(error.value.decode())
        self._cluster = lib.rd_kafka_mock_cluster_new(self._client, brokers)
        lib.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)
        self.bootstrap_servers: str = lib.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        super().__init__({"bootstrap.servers": self.bootstrap_servers, "reconnect.backoff.max.ms": 500})

    @staticmethod
    def available() -> bool:
        """Whether the installed confluent-kafka is a wheel with librdkafka in it."""
        return _librdkafka() is not None

    def create_topic(self, topic: str, partitions: int = 1) -> None:
        """Make an empty topic."""
        self._check(self._lib.rd_kafka_mock_topic_create(self._cluster, topic.encode(), partitions, 1))

    def set_topic_error(self, topic: str, code: int) -> None:
        """Answer requests for this topic with a Kafka error code; 0 ends it."""
        self._lib.rd_kafka_mock_topic_set_error(self._cluster, topic.encode(), code)

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        """Forget the messages before an offset, as retention does."""
        self._check(self._lib.rd_kafka_mock_partition_delete_records(self._cluster, topic.encode(), partition, before))

    def broker_down(self, broker: int = 1) -> None:
        """Close a broker's connections and refuse new ones. Brokers count from 1."""
        self._check(self._lib.rd_kafka_mock_broker_set_down(self._cluster, broker))

    def broker_up(self, broker: int = 1) -> None:
        """End :meth:`broker_down`."""
        self._check(self._lib.rd_kafka_mock_broker_set_up(self._cluster, broker))

    def rtt(self, milliseconds: int, broker: int = -1) -> None:
        """Delay the answers of one broker, or of all (-1)."""
        self._check(self._lib.rd_kafka_mock_broker_set_rtt(self._cluster, broker, milliseconds))

    def push_errors(self, request: int, *codes: int) -> None:
        """Let the next requests of a kind fail, one with each code (Kafka's, as ``KafkaError.NOT_COORDINATOR``)."""
        array = (ctypes.c_int * len(codes))(*codes)
        self._lib.rd_kafka_mock_push_request_errors_array(self._cluster, request, len(codes), array)

    def close(self) -> None:
        """End the cluster. May be called twice."""
        super().close()
        if self._cluster:
            self._lib.rd_kafka_mock_cluster_destroy(self._cluster)
            self._lib.rd_kafka_destroy(self._client)
            self._cluster = self._client = None

    @staticmethod
    def _check(code: int) -> None:
        if code:
            raise KafkaException(confluent_kafka.KafkaError(code))


def _librdkafka() -> Path | None:
    package = Path(confluent_kafka.__file__).parent
    for folder, pattern in (
        (package.parent / "confluent_kafka.libs", "librdkafka*.so*"),
        (package / ".dylibs", "librdkafka*.dylib"),
    ):
        if found := sorted(folder.glob(pattern)):
            return found[0]
    return None
