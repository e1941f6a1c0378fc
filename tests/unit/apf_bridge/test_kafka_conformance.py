"""What APF's own tests of its Kafka consumers look at, on a broker; and where it went wrong."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from confluent_kafka import Message

from apf_bridge.compat.consumers import KafkaConsumer, KafkaJsonConsumer, KafkaSchemalessConsumer
from apf_bridge.compat.consumers.message_error import MessageError
from apf_bridge.compat.core.config_keys import examine
from apf_bridge.compat.core.step import GenericStep
from apf_bridge.compat.producers import KafkaProducer
from tests.brokers import ScriptedBroker

MakeConfig = Callable[..., dict[str, Any]]


@pytest.fixture
def config(broker: ScriptedBroker, topic: str, group_id: str) -> MakeConfig:
    def make(**more: Any) -> dict[str, Any]:
        own = {"bootstrap.servers": broker.bootstrap_servers, "group.id": group_id, **broker.CONSUMER_CONFIG}
        own |= {"auto.offset.reset": "earliest", "enable.partition.eof": True}
        return {"PARAMS": own, "TOPICS": [topic], "TIMEOUT": 0.5, **more}

    return make


def fill(broker: ScriptedBroker, topic: str, count: int) -> None:
    broker.create_topic(topic)
    for n in range(count):
        broker.produce(topic, json.dumps({"n": n}))
    broker.flush()


def all_of(config: dict[str, Any], commit: bool = True) -> list[dict[str, Any]]:
    consumer = KafkaJsonConsumer(config)
    found = []
    for message in consumer.consume():
        found += message if isinstance(message, list) else [message]
        if commit:
            consumer.commit()
    consumer.close()
    return found


class TestOnABroker:
    def test_two_topics(self, broker: ScriptedBroker, topic: str, config: MakeConfig) -> None:
        topics = [topic, f"{topic}-2"]
        for name in topics:
            fill(broker, name, 4)
        assert len(all_of(config())) == 4
        both = config(TOPICS=topics, ADD_TOPIC=True, NUM_MESSAGES=3)
        both["PARAMS"]["group.id"] += "-both"
        assert sorted(message["topic"] for message in all_of(both)) == [topics[0]] * 4 + [topics[1]] * 4
        assert all_of(both) == []

    def test_a_regular_expression(self, broker: ScriptedBroker, topic: str, config: MakeConfig) -> None:
        for name in (f"{topic}_1", f"{topic}_2", f"x{topic}_3"):
            fill(broker, name, 2)
        assert len(all_of(config(TOPICS=[f"^{topic}_[0-9]$"]))) == 4

    def test_what_was_not_committed_comes_again(self, broker: ScriptedBroker, topic: str, config: MakeConfig) -> None:
        fill(broker, topic, 5)
        assert len(all_of(config(), commit=False)) == 5
        assert len(all_of(config())) == 5
        assert all_of(config()) == []

    def test_a_day_without_a_topic_costs_nothing(self, broker: ScriptedBroker, topic: str, config: MakeConfig) -> None:
        fill(broker, f"{topic}_0", 3)
        strategy = {"CLASS": "tests.unit.apf_bridge.test_kafka_conformance.Two", "PARAMS": {"name": topic}}
        assert len(all_of(config(TOPICS=None, TOPIC_STRATEGY=strategy))) == 3


class Two:
    """A strategy of a step's own: one topic is there, the other is not."""

    def __init__(self, name: str) -> None:
        self.name = name

    def get_topics(self) -> list[str]:
        return [f"{self.name}_0", f"{self.name}_1"]


@pytest.fixture
def client() -> Any:
    with mock.patch("apf.consumers.kafka.Consumer") as made:
        yield made


def offline(**more: Any) -> dict[str, Any]:
    return {"TOPICS": ["a"], "PARAMS": {"bootstrap.servers": "127.0.0.1:1", "group.id": "g"}, "TIMEOUT": 1, **more}


def message(value: bytes) -> Message:
    return Message(topic="a", partition=0, offset=0, value=value, timestamp=(1, 1700))


class Raw(KafkaConsumer):
    """Yields Kafka's messages, as steps that mirror topics do."""

    def _deserialize_message(self, message: Any) -> Any:
        return message

    def _post_process(self, parsed: Any, original_message: Any) -> Any:
        return parsed


class RawProducer(KafkaProducer):
    def __init__(self, config: dict[str, Any]) -> None:
        config.setdefault("SCHEMA", {"name": "dummy", "type": "record", "fields": []})
        super().__init__(config)

    def _serialize_message(self, message: Any) -> bytes:
        value: bytes = message.value()
        return value


class Mirror(GenericStep):
    """6.x: sets topic and time of each message."""

    def __init__(self, config: dict[str, Any], level: int = 20) -> None:
        super().__init__(config=config, level=level)

    def execute(self, messages: Any) -> Any:
        return messages

    def produce(self, result: Any) -> None:
        for n, message in enumerate(result, 1):
            self.producer.topic = [message.topic()]
            self.producer.produce(message, timestamp=message.timestamp()[1], flush=n == len(result))


class TestWithoutOne:
    def test_a_step_that_mirrors_topics(self, client: mock.MagicMock) -> None:
        """Neither its messages are dicts, nor has its producer a TOPIC or a SCHEMA."""
        here = __name__
        client.return_value.consume.return_value = [message(b"any"), message(b"bytes")]
        own = {
            "CONSUMER_CONFIG": offline(CLASS=f"{here}.Raw", NUM_MESSAGES=2, exit_on_consume=True),
            "PRODUCER_CONFIG": {"CLASS": f"{here}.RawProducer", "PARAMS": {"bootstrap.servers": "x"}, "TOPIC": None},
        }
        assert examine(own).problems == ()
        with mock.patch("apf.producers.kafka.Producer") as made:
            made.return_value.flush.return_value = 0
            Mirror(own).start()
        sent = [(*call.args, call.kwargs["value"], call.kwargs["timestamp"]) for call in made().produce.call_args_list]
        assert sent == [("a", b"any", 1700), ("a", b"bytes", 1700)]
        assert client.return_value.commit.called

    def test_the_size_of_a_batch_may_be_an_argument(self, client: mock.MagicMock) -> None:
        client.return_value.consume.side_effect = [[message(b"{}")]] + [[]] * 100_000
        assert len(next(KafkaJsonConsumer({**offline(), "TIMEOUT": 0.05}).consume(num_messages=10, timeout=60))) == 1
        client.return_value.consume.side_effect = [[message(b"{}")] * 3]
        assert len(next(KafkaJsonConsumer(offline(NUM_MESSAGES=3)).consume(num_messages=10))) == 3

    def test_a_batch_of_nothing_is_refused(self, client: mock.MagicMock) -> None:
        with pytest.raises(ValueError, match=r"consume\.messages is 0"):
            next(KafkaJsonConsumer(offline(NUM_MESSAGES=0)).consume())

    def test_one_member_joins_the_group(self, client: mock.MagicMock) -> None:
        schema = Path(__file__).parents[2] / "steps" / "output.avsc"
        KafkaSchemalessConsumer(offline(SCHEMA_PATH=str(schema)))
        assert client.call_count == 1

    def test_it_leaves_the_group_under_both_names(self, client: mock.MagicMock) -> None:
        for leave in ("close", "teardown"):
            client.return_value.close.reset_mock()
            getattr(KafkaConsumer(offline()), leave)()
            client.return_value.close.assert_called_once_with()

    @pytest.mark.parametrize("config", [{}, offline(TOPICS=[]), offline(PARAMS=None)])
    def test_one_that_could_not_be_made_goes_without_a_word(self, config: dict[str, Any]) -> None:
        """What ``__del__`` raises fails this test."""
        with pytest.raises(Exception):  # noqa: B017, PT011  (APF raises Exception itself)
            KafkaSchemalessConsumer(config)
        with pytest.raises(Exception):  # noqa: B017, PT011
            KafkaConsumer(config)
        gc.collect()

    @pytest.mark.parametrize(
        "raw",
        [b"\x02a", b"", b"\xff" * 4, b"Obj\x01", b"\x00\x00\x00\x02\xc0\x02a\x02", b'{"oid": "a"}'],
        ids=["cut", "empty", "no-length", "container", "confluent", "json"],
    )
    def test_what_was_written_with_another_schema_is_one_error(self, client: mock.MagicMock, raw: bytes) -> None:
        """fastavro raises IndexError, EOFError, UnicodeDecodeError… or reads garbage."""
        schema = Path(__file__).parents[2] / "steps" / "output.avsc"
        client.return_value.consume.return_value = [message(raw)]
        with pytest.raises(MessageError, match=r"a\[0\]@0 cannot be read"):
            next(KafkaSchemalessConsumer(offline(SCHEMA_PATH=str(schema))).consume())

    @pytest.mark.parametrize("raw", [b"\x00\x00\x00\x02\xc0\x02a", b"{}", b"Obj\x01cut"])
    def test_what_is_no_container_is_one_error(self, client: mock.MagicMock, raw: bytes) -> None:
        client.return_value.consume.return_value = [message(raw)]
        with pytest.raises(MessageError, match=r"a\[0\]@0 cannot be read"):
            next(KafkaConsumer(offline()).consume())

    @pytest.mark.parametrize("raw", [b"7", b"[1]", b"nonsense", b"null"])
    def test_what_is_no_record_of_json_is_one_error(self, client: mock.MagicMock, raw: bytes) -> None:
        client.return_value.consume.return_value = [message(raw)]
        with pytest.raises(MessageError, match=r"a\[0\]@0 cannot be read"):
            next(KafkaJsonConsumer(offline()).consume())
