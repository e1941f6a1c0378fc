"""``apf.producers.kafka``."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import fastavro
from confluent_kafka import KafkaError, KafkaException, Producer

from apf_bridge.compat.core import get_class
from apf_bridge.compat.core.config_keys import ConfigKeys
from apf_bridge.compat.core.topic_management import topics_to_produce

from .generic import GenericProducer


class KafkaProducer(GenericProducer):
    """Avro containers to Kafka, one for each message, to every topic of TOPIC.

    Keys of the config: PARAMS (librdkafka's), SCHEMA (a dict) or SCHEMA_PATH (.avsc), TOPIC (a name or a list) or
    TOPIC_STRATEGY, STRICT (fields that the schema does not have are an error; False), FLUSH_TIMEOUT (s; for as long
    as librdkafka's ``message.timeout.ms``). A step may set ``topic``, a list, before each message: TOPIC is ``[]`` then.
    """

    config_keys = ConfigKeys(
        required=("PARAMS",),
        one_of=(("SCHEMA", "SCHEMA_PATH"), ("TOPIC", "TOPIC_STRATEGY")),
        optional=("STRICT", "FLUSH_TIMEOUT"),
        params=("bootstrap.servers",),
        set_by_step=("TOPIC",),
    )
    strict = False

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        self.schema = self._load_schema(config)
        self.strict = config.get("STRICT", type(self).strict)
        self._failures: list[KafkaError] = []
        self.topic: list[str] = []
        self.dynamic_topic = not config.get("TOPIC") and bool(config.get("TOPIC_STRATEGY"))
        if self.dynamic_topic:
            strategy = config["TOPIC_STRATEGY"]
            self.topic_strategy = get_class(strategy["CLASS"])(**strategy.get("PARAMS", {}))
            self.topic = topics_to_produce(self.topic_strategy)
        elif config.get("TOPIC"):
            self.topic = [config["TOPIC"]] if isinstance(config["TOPIC"], str) else list(config["TOPIC"])
        self.producer = Producer(dict(config["PARAMS"]))
        self.logger.info("Producing to %s", self.topic)

    def __del__(self) -> None:
        if "producer" in self.__dict__:  # absent where the constructor failed
            try:
                self.flush()
            except KafkaException as error:
                self.logger.error("Not delivered: %s", error)
                self._failures.append(error.args[0])  # a step may call this in tear_down: the flush after it fails

    def _load_schema(self, config: dict[str, Any]) -> Any:
        if config.get("SCHEMA"):
            return fastavro.parse_schema(config["SCHEMA"])
        if config.get("SCHEMA_PATH"):
            return fastavro.schema.load_schema(config["SCHEMA_PATH"])
        raise KeyError("PRODUCER_CONFIG needs SCHEMA, a dict, or SCHEMA_PATH, the path of an .avsc file.")

    def _serialize_message(self, message: Any) -> bytes:
        out = io.BytesIO()
        fastavro.writer(out, self.schema, [message], strict=self.strict)
        return out.getvalue()

    def produce(self, message: Any = None, **kwargs: Any) -> None:
        """Hand a message to librdkafka, which delivers it in its own time: :meth:`flush` waits.

        :param message: a dict that fits the schema.
        :param kwargs: ``key``, where no key field or function is set; ``flush=True``; the rest as for
            ``confluent_kafka.Producer.produce``, ``callback`` or ``on_delivery`` too.
        :raises KafkaException: an earlier message was not delivered.
        :raises ValueError: the message does not fit the schema, or there is no topic.
        """
        if message is None:
            raise TypeError("There is no message to produce: None was given.")
        flush = kwargs.pop("flush", False)
        key = self.key_of(message, kwargs.pop("key", None))
        try:
            value = self._serialize_message(message)
        except Exception:
            self.logger.error("Error serializing message: %s", message)
            raise
        if self.dynamic_topic:
            self.topic = topics_to_produce(self.topic_strategy)
        if not self.topic:
            raise ValueError("PRODUCER_CONFIG has neither TOPIC nor TOPIC_STRATEGY.")
        given = [kwargs.pop(name, None) for name in ("callback", "on_delivery")]
        kwargs["callback"] = self._reporting_to([callback for callback in given if callback is not None])
        for topic in self.topic:
            self._produce(topic, value, key, kwargs)
        self.producer.poll(0)
        self._raise_failures()
        if flush:
            self.flush()

    def _produce(self, topic: str, value: bytes, key: str | bytes | None, options: dict[str, Any]) -> None:
        while True:
            try:
                self.producer.produce(topic, value=value, key=key, **options)
            except BufferError:
                self.producer.poll(1)  # the queue empties as messages are delivered, or given up
            else:
                return

    def _delivered(self, error: KafkaError | None, message: Any) -> None:
        if error is not None:
            self._failures.append(KafkaError(error.code(), f"{message.topic()}: {error.str()}"))

    def _reporting_to(self, callbacks: list[Callable[..., Any]]) -> Callable[..., None]:
        """Tells those that a step gave as well."""

        def delivered(error: KafkaError | None, message: Any) -> None:
            self._delivered(error, message)
            for callback in callbacks:
                callback(error, message)

        return delivered

    def flush(self) -> None:
        """
        :raises KafkaException: a message was not delivered, or not within FLUSH_TIMEOUT.
        """
        timeout = self.config.get("FLUSH_TIMEOUT")
        left = self.producer.flush() if timeout is None else self.producer.flush(float(timeout))
        self._raise_failures()
        if isinstance(left, int) and left > 0:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{left} messages not delivered in {timeout} s"))

    def _raise_failures(self) -> None:
        failures, self._failures = self._failures, []
        if failures:
            self.logger.error("%d messages were not delivered", len(failures))
            raise KafkaException(failures[0])


class KafkaSchemalessProducer(KafkaProducer):
    """Bare Avro to Kafka. STRICT is True."""

    config_keys = KafkaProducer.config_keys
    strict = True

    def _serialize_message(self, message: Any) -> bytes:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, self.schema, message, strict=self.strict)
        return out.getvalue()
