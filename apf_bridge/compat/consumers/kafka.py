"""``apf.consumers.kafka``."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from math import inf
from time import monotonic, sleep, time
from typing import Any, Final

import fastavro
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from apf_bridge.compat.core import get_class
from apf_bridge.compat.core.config_keys import ConfigKeys

from .generic import GenericConsumer, batch_size
from .kafka_errors import LOST, is_fatal
from .message_error import MessageError
from .new_topics import NewTopics

#: How long one call of librdkafka may take: the longest that a stop or a new topic waits.
SLICE_S: Final = 1.0
#: What librdkafka is given to bring what it has, also where the config says 0. Shorter, the loop would spin.
_LEAST_S: Final = 0.1
#: librdkafka counts milliseconds: what is less is none, and would spin too.
_TICK_S: Final = 0.001
#: How soon a new topic is found, unless PARAMS says otherwise: as in the streams of a TOM.
_REFRESH_MS: Final = 20_000


class KafkaConsumer(GenericConsumer):
    """Avro containers from Kafka, every record of them.

    Keys of the config: PARAMS (librdkafka's), TOPICS (names, or regular expressions that begin with ``^``) or
    TOPIC_STRATEGY, ``consume.messages`` or NUM_MESSAGES (1), ``consume.timeout`` or TIMEOUT (60 s; 0: what is there;
    below 0: until there are so many), COMMIT_RETRY (5), ADD_TOPIC, ``offsets`` (``start``, ``end`` in ms since 1970),
    ``exit_on_consume``.
    Daily topics are those that the broker has; they and what a regular expression means are found also while it runs.

    ``messages`` has the messages of the last batch as Kafka sent them: topic, partition, offset, key, headers, time.
    ``origins`` has for each record of it its message, and whether it is the only record of that.
    """

    config_keys = ConfigKeys(
        required=("PARAMS",),
        one_of=(("TOPICS", "TOPIC_STRATEGY"),),
        optional=(
            *("consume.messages", "NUM_MESSAGES", "consume.timeout", "TIMEOUT"),
            *("COMMIT_RETRY", "ADD_TOPIC", "offsets", "exit_on_consume"),
        ),
        params=("bootstrap.servers", "group.id"),
    )

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        self.max_retries = int(config.get("COMMIT_RETRY", 5))
        self.messages: list[Any] = []
        self.origins: list[tuple[Any, bool]] = []
        self.dynamic_topic = not config.get("TOPICS")
        self._done: dict[tuple[str, int], int] = {}
        self._has_yielded = False
        self._held: list[Any] = []
        self._assigned: set[tuple[str, int]] = set()
        self._at_end: set[tuple[str, int]] = set()
        self._heard: KafkaError | None = None
        self._warned: set[str] = set()
        if self.dynamic_topic:
            if not config.get("TOPIC_STRATEGY"):
                raise Exception("No topics o topic strategy set. ")  # as APF: steps' tests look for it
            strategy = config["TOPIC_STRATEGY"]
            self.topic_strategy = get_class(strategy["CLASS"])(**strategy.get("PARAMS", {}))
            self.topics = self.topic_strategy.get_topics()
        else:
            self.topics = config["TOPICS"]
            if isinstance(self.topics, str):
                self.topics = [self.topics]
        self._subscribed: list[str] = []
        self._new_topics = NewTopics()
        self.consumer = self._make_client(self._params(config))
        self._subscribe()

    def _make_client(self, params: dict[str, Any]) -> Any:
        return Consumer(params)

    def _params(self, config: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {"topic.metadata.refresh.interval.ms": _REFRESH_MS} if self._finds_topics else {}
        if self.dynamic_topic:
            found["auto.offset.reset"] = "earliest"
        ours = {
            "enable.auto.commit": False,
            "enable.auto.offset.store": self._polls_by_itself,
            "error_cb": self._on_error,
        }
        params = {**found, **config["PARAMS"], **ours}
        if "end" in config.get("offsets", {}):
            params["enable.partition.eof"] = True
        return params

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Leave the group."""
        consumer = self.__dict__.pop("consumer", None)  # absent where the constructor failed
        if consumer is not None:
            self.logger.info("Shutting down Consumer")
            consumer.close()

    teardown = close

    # --- what steps override -----------------------------------------------------------------------------------------

    def _deserialize_message(self, message: Any) -> Any:
        """A record; a list where the container has several."""
        records = list(fastavro.reader(io.BytesIO(message.value())))
        if not records:
            raise ValueError("The Avro container has no record.")
        return records[0] if len(records) == 1 else records

    def _post_process(self, parsed: Any, original_message: Any) -> Any:
        """Adds Kafka's time in ms as ``timestamp``, unless the record has a field of that name.

        What a class that decodes by itself makes of a message may be no dict, and is left as it is.
        """
        if not isinstance(parsed, dict) and type(self)._deserialize_message.__module__ != __name__:
            return parsed
        parsed.setdefault("timestamp", original_message.timestamp()[1])
        if self.config.get("ADD_TOPIC"):
            parsed["topic"] = original_message.topic()
        return parsed

    # --- topics and partitions ---------------------------------------------------------------------------------------

    def _subscription(self) -> list[str]:
        """Names, and regular expressions for what is found on the broker."""
        patterns = (
            self.topic_strategy.patterns() if self.dynamic_topic and hasattr(self.topic_strategy, "patterns") else []
        )
        topics = [str(topic) for topic in patterns or self.topics]
        return [topic.replace(r"\d", "[0-9]") if topic.startswith("^") else topic for topic in topics]

    @property
    def _finds_topics(self) -> bool:
        return any(topic.startswith("^") for topic in self._subscription())

    def _subscribe(self) -> None:
        wanted = self._subscription()
        if wanted == self._subscribed:
            return
        self.logger.info("Subscribing to %s", wanted)
        self.consumer.subscribe(wanted, on_assign=self._on_assign, on_revoke=self._on_revoke)
        self._subscribed = wanted

    def _check_topics(self) -> bool:
        """There are other topics than those subscribed to."""
        return bool(self.topic_strategy.get_topics() != self.topics)

    def _subscribe_to_new_topics(self) -> None:
        self.topics = self.topic_strategy.get_topics()
        self._subscribe()

    def _on_assign(self, consumer: Any, partitions: list[Any]) -> None:
        self._assigned |= {(one.topic, one.partition) for one in partitions}
        start = self.config.get("offsets", {}).get("start")
        if start:
            at = [TopicPartition(one.topic, one.partition, int(start)) for one in partitions]
            self._assign(consumer, consumer.offsets_for_times(at))
        elif self._finds_topics and self._new_topics.place(consumer, partitions):
            self._assign(consumer, partitions)

    def _assign(self, consumer: Any, partitions: list[Any]) -> None:
        cooperative = "cooperative" in str(self.config["PARAMS"].get("partition.assignment.strategy", ""))
        (consumer.incremental_assign if cooperative else consumer.assign)(partitions)

    def _on_revoke(self, consumer: Any, partitions: list[Any]) -> None:
        """What is held of a lost partition is left to its new owner; so is its offset."""
        lost = {(one.topic, one.partition) for one in partitions}
        self._assigned -= lost
        self._at_end -= lost
        self._held = [message for message in self._held if _place(message) not in lost]
        self._done = {place: offset for place, offset in self._done.items() if place not in lost}

    def _on_error(self, error: KafkaError) -> None:
        """librdkafka tells of logins that fail here, and nowhere else."""
        if is_fatal(error):
            self._heard = error
        if "error_cb" in self.config["PARAMS"]:
            self.config["PARAMS"]["error_cb"](error)

    # --- messages ----------------------------------------------------------------------------------------------------

    def set_basic_config(self, num_messages: int, timeout: float) -> tuple[int, float]:
        """The config goes before the arguments."""
        timeout = float(self.config.get("consume.timeout", self.config.get("TIMEOUT", timeout)))
        return batch_size(self.config, num_messages), timeout

    def consume(self, num_messages: int = 1, timeout: float = 60) -> Iterator[Any]:
        """Yields a dict for ``num_messages`` 1, else a list of what came within ``timeout`` seconds.

        :raises KafkaException: the broker refuses the login, the topic or the group.
        :raises MessageError: a message cannot be read; those before it have been yielded.
        """
        num_messages, timeout = self.set_basic_config(num_messages, timeout)
        while not self.stopping:
            self._poll(num_messages, timeout)
            messages, self._held = self._held, []
            for batch in self._decoded(messages, one_by_one=num_messages == 1):
                yield batch
                if self.config.get("exit_on_consume"):
                    return
            if self._assigned and self._assigned <= self._at_end:
                self.logger.info("PARTITION_EOF: No more messages")
                return

    def _poll(self, num_messages: int, timeout: float) -> None:
        until = monotonic() + max(timeout, _LEAST_S) if timeout >= 0 else inf
        while len(self._held) < num_messages and (left := until - monotonic()) > _TICK_S and not self.stopping:
            if self.dynamic_topic and self._check_topics():
                self._subscribe_to_new_topics()
            wanted = num_messages - len(self._held)
            for message in self.consumer.consume(num_messages=wanted, timeout=min(left, SLICE_S)):
                if message.error():
                    self._take_error(message, message.error())
                elif not self._is_past_the_end(message):
                    self._held.append(message)
            if self._heard is not None:
                raise KafkaException(self._heard)
            if self._assigned and self._assigned <= self._at_end:
                return

    def _take_error(self, message: Any, error: KafkaError) -> None:
        if error.code() == KafkaError._PARTITION_EOF:
            end = self.config.get("offsets", {}).get("end")
            if end is None or time() * 1000 >= end:
                self._at_end.add(_place(message))
        elif is_fatal(error):
            raise KafkaException(error)
        elif str(error) not in self._warned:
            self._warned.add(str(error))
            self.logger.warning("Error in kafka stream, told once: %s", error)

    def _is_past_the_end(self, message: Any) -> bool:
        end = self.config.get("offsets", {}).get("end")
        if end is not None and message.timestamp()[1] >= end:
            self._at_end.add(_place(message))
            return True
        if end is None:
            self._at_end.discard(_place(message))
        return False

    def _decoded(self, messages: list[Any], *, one_by_one: bool) -> Iterator[Any]:
        """What is yielded counts as done at the next commit: a message only when its last record is."""
        batch: list[Any] = []
        taken: list[Any] = []
        origins: list[tuple[Any, bool]] = []
        failed: MessageError | None = None
        for message in messages:
            try:
                records = self._records(message)
            except MessageError as error:
                failed = error
                break
            if one_by_one:
                self.messages, self.origins = [message], [(message, len(records) == 1)]
                yield from records[:-1]
                self._count_as_done([message])
                yield records[-1]
            else:
                batch.extend(records)
                taken.append(message)
                origins += [(message, len(records) == 1)] * len(records)
        if batch:
            self.messages, self.origins = taken, origins
            self._count_as_done(taken)
            yield batch
        if failed is not None:
            raise failed

    def _records(self, message: Any) -> list[Any]:
        if message.value() is None:
            raise MessageError(message, "it has no value (a tombstone).")
        try:
            parsed = self._deserialize_message(message)
            records = parsed if isinstance(parsed, list) and parsed else [parsed]
            return [self._post_process(record, message) for record in records]
        except Exception as error:
            raise MessageError(message, f"{type(error).__name__}: {error}.") from error

    # --- offsets -----------------------------------------------------------------------------------------------------

    def _count_as_done(self, messages: list[Any]) -> None:
        self._has_yielded = True
        for message in messages:
            self._done[_place(message)] = message.offset() + 1

    def commit(self) -> None:
        """Commit what was yielded, and nothing else.

        :raises KafkaException: it failed COMMIT_RETRY times, with growing waits between.
        """
        offsets = [TopicPartition(topic, partition, offset) for (topic, partition), offset in self._done.items()]
        if not offsets and (self._has_yielded or not self._polls_by_itself):
            return  # librdkafka's own position is past what is in hand
        tries = 0
        while True:
            try:
                self._commit(offsets)
            except KafkaException as error:
                tries += 1
                code = error.args[0].code() if error.args and isinstance(error.args[0], KafkaError) else None
                if code in LOST:
                    self.logger.warning("Not committed, since the group has changed; it comes again: %s", error)
                    break
                if tries >= self.max_retries:
                    raise
                sleep(min(0.05 * 2**tries, 5))
            else:
                break
        self._done.clear()

    @property
    def _polls_by_itself(self) -> bool:
        """A class whose ``consume`` is not ours knows librdkafka's positions only, as in APF."""
        return type(self).consume is not KafkaConsumer.consume

    def _commit(self, offsets: list[Any]) -> None:
        if not offsets:
            self.consumer.commit(asynchronous=False)
            return
        committed = self.consumer.commit(offsets=offsets, asynchronous=False)
        for one in committed if isinstance(committed, list) else ():
            if one.error is not None:
                raise KafkaException(one.error)


class KafkaJsonConsumer(KafkaConsumer):
    """JSON from Kafka."""

    config_keys = KafkaConsumer.config_keys

    def _deserialize_message(self, message: Any) -> Any:
        return json.loads(message.value())


class KafkaSchemalessConsumer(KafkaConsumer):
    """Bare Avro from Kafka. SCHEMA_PATH of the config is the .avsc file that it was written with."""

    config_keys = replace(KafkaConsumer.config_keys, required=("PARAMS", "SCHEMA_PATH"))

    def __init__(self, config: dict[str, Any]) -> None:
        if not config.get("SCHEMA_PATH"):
            raise Exception("No Schema path provided")  # as APF: steps' tests look for it
        self.schema = fastavro.schema.load_schema(config["SCHEMA_PATH"])
        super().__init__(config)

    def _deserialize_message(self, message: Any) -> Any:
        return self._bare(message.value())

    def _bare(self, raw: bytes) -> Any:
        data = io.BytesIO(raw)
        record = fastavro.schemaless_reader(data, self.schema)
        if left := len(raw) - data.tell():
            raise ValueError(f"{left} bytes are left over: it was written with another schema than SCHEMA_PATH.")
        return record


class KafkaSchemalessRegistryConsumer(KafkaSchemalessConsumer):
    """Bare Avro behind the five bytes of a schema registry. SCHEMA_ID of the config refuses any other schema."""

    config_keys = replace(
        KafkaSchemalessConsumer.config_keys, optional=(*KafkaConsumer.config_keys.optional, "SCHEMA_ID")
    )

    def _deserialize_message(self, message: Any) -> Any:
        raw = message.value()
        if raw[:1] != b"\0" or len(raw) < 5:
            raise ValueError("It does not begin with the zero byte and the id of a schema registry.")
        schema_id, expected = int.from_bytes(raw[1:5], "big"), self.config.get("SCHEMA_ID")
        if expected is not None and schema_id != int(expected):
            raise ValueError(f"It was written with schema {schema_id}, and SCHEMA_ID is {expected}.")
        return self._bare(raw[5:])


def _place(message: Any) -> tuple[str, int]:
    return message.topic(), message.partition()
