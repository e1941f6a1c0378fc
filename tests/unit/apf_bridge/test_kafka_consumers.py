"""What a step reads from Kafka, and what it commits."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import fastavro
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from apf_bridge.compat.consumers import (
    KafkaConsumer,
    KafkaJsonConsumer,
    KafkaSchemalessConsumer,
    KafkaSchemalessRegistryConsumer,
)
from apf_bridge.compat.consumers import kafka as module
from apf_bridge.compat.consumers.message_error import MessageError
from apf_bridge.compat.core import topic_management
from tests.brokers import ScriptedBroker

SCHEMA = {"type": "record", "name": "alert", "fields": [{"name": "n", "type": "long"}]}
MakeConfig = Callable[..., dict[str, Any]]


def container(*numbers: int) -> bytes:
    out = io.BytesIO()
    fastavro.writer(out, SCHEMA, [{"n": n} for n in numbers])
    return out.getvalue()


def message(value: bytes | None, offset: int = 0, partition: int = 0, topic: str = "alerts") -> Message:
    return Message(topic=topic, partition=partition, offset=offset, key=b"ZTF1", value=value, timestamp=(1, 1700))


def params(**more: Any) -> dict[str, Any]:
    return {"TOPICS": ["alerts"], "PARAMS": {"bootstrap.servers": "127.0.0.1:1", "group.id": "g"}, "TIMEOUT": 1, **more}


@pytest.fixture
def client() -> Iterator[mock.MagicMock]:
    """Patched as steps' own tests do."""
    with mock.patch("apf.consumers.kafka.Consumer") as made:
        yield made.return_value


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "sleep", lambda seconds: None)


def committed(client: mock.MagicMock) -> list[tuple[str, int, int]]:
    offsets = client.commit.call_args.kwargs["offsets"]
    return sorted((one.topic, one.partition, one.offset) for one in offsets)


class Turning(KafkaJsonConsumer):
    """Ends after three polls, whatever they have brought."""

    turns = 0

    def _decoded(self, messages: list[Any], *, one_by_one: bool) -> Iterator[Any]:
        self.turns += 1
        self.stopping = self.turns == 3
        return super()._decoded(messages, one_by_one=one_by_one)


class TestBatches:
    def test_one_message_is_a_dict(self, client: mock.MagicMock) -> None:
        client.consume.return_value = [message(container(1))]
        assert next(KafkaConsumer(params()).consume()) == {"n": 1, "timestamp": 1700}

    @pytest.mark.parametrize("key", ["consume.messages", "NUM_MESSAGES"])
    def test_several_are_a_list(self, client: mock.MagicMock, key: str) -> None:
        client.consume.side_effect = lambda num_messages, timeout: [message(container(1))] * num_messages
        assert len(next(KafkaConsumer(params(**{key: 10})).consume())) == 10

    @pytest.mark.parametrize("key", ["consume.timeout", "TIMEOUT"])
    def test_fewer_within_the_time_out_are_a_list_too(self, client: mock.MagicMock, key: str) -> None:
        client.consume.side_effect = [[message(container(1))]] + [[]] * 100_000
        config = params(**{"NUM_MESSAGES": 10})
        del config["TIMEOUT"]
        began = time.monotonic()
        assert len(next(KafkaConsumer({**config, key: 0.05}).consume(timeout=60))) == 1
        assert time.monotonic() - began < 5

    def test_a_time_out_of_0_takes_what_is_there(self, client: mock.MagicMock) -> None:
        """And waits a moment where there is nothing, so that it does not spin."""
        arriving = [[message(b'{"n": 1}'), message(b'{"n": 2}', 1)], [], [message(b'{"n": 3}', 2)]]
        client.consume.side_effect = lambda num_messages, timeout: arriving.pop(0) if arriving else []
        found = list(Turning(params(**{"consume.messages": 10, "consume.timeout": 0})).consume())
        assert [record["n"] for batch in found for record in batch] == [1, 2, 3]
        assert min(call.kwargs["timeout"] for call in client.consume.call_args_list[:3]) > 0.01

    def test_a_time_out_below_0_is_none(self, client: mock.MagicMock) -> None:
        arriving = [[message(b'{"n": 1}')], [], [], [message(b'{"n": 2}', 1)]]
        client.consume.side_effect = lambda num_messages, timeout: arriving.pop(0)
        messages = Turning(params(**{"consume.messages": 2, "consume.timeout": -1})).consume()
        assert [record["n"] for record in next(messages)] == [1, 2]
        assert {call.kwargs["timeout"] for call in client.consume.call_args_list} == {module.SLICE_S}

    def test_every_record_of_a_container(self, client: mock.MagicMock) -> None:
        client.consume.side_effect = [[message(container(1, 2), 4)], [message(container(3), 5)]]
        consumer = KafkaConsumer(params())
        messages = consumer.consume()
        assert next(messages)["n"] == 1
        assert [next(messages)["n"], consumer.messages[0].offset()] == [2, 4]
        consumer.commit()
        assert committed(client) == [("alerts", 0, 5)]
        assert next(messages)["n"] == 3

    def test_the_time_of_kafka_does_not_hide_the_payloads(self, client: mock.MagicMock) -> None:
        client.consume.return_value = [message(b'{"timestamp": "of the alert"}')]
        assert next(KafkaJsonConsumer(params()).consume()) == {"timestamp": "of the alert"}

    def test_add_topic(self, client: mock.MagicMock) -> None:
        client.consume.return_value = [message(b"{}")]
        assert next(KafkaJsonConsumer(params(ADD_TOPIC=True)).consume())["topic"] == "alerts"

    def test_what_a_steps_own_consumer_overrides(self, client: mock.MagicMock) -> None:
        class Own(KafkaConsumer):
            def _deserialize_message(self, message: Any) -> Any:
                return {"own": message.value()}

            def _post_process(self, parsed: Any, original_message: Any) -> Any:
                return {**parsed, "offset": original_message.offset()}

        client.consume.return_value = [message(b"x", 7)]
        assert next(Own(params()).consume()) == {"own": b"x", "offset": 7}

    @pytest.mark.parametrize("several", [False, True])
    def test_a_message_that_a_steps_own_consumer_leaves_as_it_is(self, client: mock.MagicMock, several: bool) -> None:
        class Raw(KafkaConsumer):
            def _deserialize_message(self, message: Any) -> Any:
                return message

        arrived = message(b"x", 7)
        client.consume.side_effect = [[arrived]] + [[]] * 100_000
        yielded = next(Raw(params(ADD_TOPIC=True, TIMEOUT=0.05, NUM_MESSAGES=2 if several else 1)).consume())
        assert yielded == [arrived] if several else yielded is arrived

    def test_the_end_is_that_of_all_partitions(self, client: mock.MagicMock) -> None:
        """What was read before the end of the first one is yielded, and the others are read on."""
        ends = [
            mock.Mock(
                error=lambda: KafkaError(KafkaError._PARTITION_EOF), topic=lambda: "alerts", partition=lambda n=n: n
            )
            for n in range(2)
        ]
        client.consume.side_effect = [
            [message(b'{"n": 1}'), ends[0]],
            [message(b'{"n": 2}', partition=1)],
            [message(b'{"n": 3}', 1, partition=1), ends[1]],
        ]
        consumer = KafkaJsonConsumer(params(NUM_MESSAGES=2))
        consumer._on_assign(client, [TopicPartition("alerts", n) for n in range(2)])
        assert [[record["n"] for record in batch] for batch in consumer.consume()] == [[1, 2], [3]]

    def test_stop(self, client: mock.MagicMock) -> None:
        client.consume.return_value = [message(b"{}")]
        consumer = KafkaJsonConsumer(params())
        messages = consumer.consume()
        next(messages)
        consumer.stop()
        assert list(messages) == []

    def test_exit_on_consume(self, client: mock.MagicMock) -> None:
        client.consume.return_value = [message(b"{}")]
        assert len(list(KafkaJsonConsumer(params(exit_on_consume=True)).consume())) == 1


class TestConfig:
    def test_no_topic(self, client: mock.MagicMock) -> None:
        with pytest.raises(Exception, match="No topics o topic strategy set"):
            KafkaConsumer({"PARAMS": {}})

    def test_librdkafkas_own_commits_are_off_and_the_config_is_left_as_it_is(self) -> None:
        config = params()
        with mock.patch("apf.consumers.kafka.Consumer") as made:
            KafkaConsumer(config)
        assert made.call_args.args[0]["enable.auto.commit"] is False
        assert "enable.auto.commit" not in config["PARAMS"]

    def test_a_topic_as_text(self, client: mock.MagicMock) -> None:
        KafkaConsumer(params(TOPICS="alerts"))
        assert client.subscribe.call_args.args == (["alerts"],)

    def test_a_new_topic_of_a_strategy_while_it_consumes(
        self, client: mock.MagicMock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = topic_management.datetime(2026, 11, 15, 22, tzinfo=topic_management.timezone.utc)
        monkeypatch.setattr(topic_management, "utc_now", lambda: now)
        own = {"topic_format": "a_%s", "date_format": "%d", "change_hour": 23, "retention_days": 1}
        strategy = {"CLASS": "apf.core.topic_management.DailyTopicStrategy", "PARAMS": own}
        consumer = KafkaJsonConsumer(params(TOPICS=None, TOPIC_STRATEGY=strategy))
        assert (consumer.dynamic_topic, consumer.topics) == (True, ["a_15"])
        assert isinstance(consumer.topic_strategy, topic_management.DailyTopicStrategy)
        client.consume.return_value = [message(b"{}")]
        messages = consumer.consume()
        next(messages)
        assert client.subscribe.call_count == 1
        now = now.replace(hour=23)
        next(messages)
        assert consumer.topics == ["a_15", "a_16"]
        assert client.subscribe.call_args.args == (
            ["^a_[0-9][0-9]$"],
        )  # the broker finds them, without a rebalance here
        assert client.subscribe.call_count == 1


class TestCommit:
    @pytest.fixture
    def consumer(self, client: mock.MagicMock) -> KafkaConsumer:
        client.consume.side_effect = [[message(b"{}", 3), message(b"{}", 8, partition=1), message(b"{}", 4)]]
        consumer = KafkaJsonConsumer(params(NUM_MESSAGES=3))
        next(consumer.consume())
        return consumer

    def test_what_was_yielded(self, client: mock.MagicMock, consumer: KafkaConsumer) -> None:
        consumer.commit()
        assert committed(client) == [("alerts", 0, 5), ("alerts", 1, 9)]
        assert client.commit.call_args.kwargs["asynchronous"] is False

    def test_four_failures_and_then_well(self, client: mock.MagicMock, consumer: KafkaConsumer) -> None:
        client.commit.side_effect = [KafkaException(KafkaError(KafkaError._TRANSPORT))] * 4 + [[]]
        consumer.commit()
        assert client.commit.call_count == 5

    def test_five_failures(self, client: mock.MagicMock, consumer: KafkaConsumer) -> None:
        client.commit.side_effect = KafkaException(KafkaError(KafkaError._TRANSPORT))
        with pytest.raises(KafkaException):
            consumer.commit()
        assert client.commit.call_count == 5

    def test_no_retries_are_no_endless_loop(self, client: mock.MagicMock) -> None:
        client.commit.side_effect = KafkaException()
        client.consume.return_value = [message(b"{}")]
        consumer = KafkaJsonConsumer(params(COMMIT_RETRY=0))
        next(consumer.consume())
        with pytest.raises(KafkaException):
            consumer.commit()

    def test_a_partition_that_fails_is_a_failure(self, client: mock.MagicMock, consumer: KafkaConsumer) -> None:
        failed = mock.Mock(error=KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
        client.commit.return_value = [failed]
        with pytest.raises(KafkaException):
            consumer.commit()

    def test_a_partition_that_another_has_by_now_is_not_worth_dying(
        self, client: mock.MagicMock, consumer: KafkaConsumer, caplog: pytest.LogCaptureFixture
    ) -> None:
        client.commit.side_effect = KafkaException(KafkaError(KafkaError.ILLEGAL_GENERATION))
        consumer.commit()
        assert "it comes again" in caplog.text

    def test_what_was_lost_is_neither_yielded_nor_committed(self, client: mock.MagicMock) -> None:
        consumer = KafkaJsonConsumer(params(NUM_MESSAGES=3))

        def consume(num_messages: int, timeout: float) -> list[Any]:
            if num_messages == 3:
                return [message(b'{"n": 1}', 3), message(b'{"n": 2}', 8, partition=1)]
            consumer._on_revoke(client, [TopicPartition("alerts", 0)])
            return [message(b'{"n": 3}', 9, partition=1)] * num_messages

        client.consume.side_effect = consume
        assert [record["n"] for record in next(consumer.consume())] == [2, 3, 3]
        consumer.commit()
        assert committed(client) == [("alerts", 1, 10)]


class TestPoison:
    @pytest.mark.parametrize(("value", "reason"), [(None, "tombstone"), (b"poison", "cannot read header"), (b"", "")])
    def test_it_is_named_with_its_place(self, client: mock.MagicMock, value: bytes | None, reason: str) -> None:
        client.consume.return_value = [message(value, 42, partition=3)]
        with pytest.raises(MessageError, match=rf"alerts\[3\]@42 with key b'ZTF1'.*{reason}.*to 43\.") as caught:
            next(KafkaConsumer(params()).consume())
        error = caught.value
        assert (error.topic, error.partition, error.offset, error.key) == ("alerts", 3, 42, b"ZTF1")

    def test_what_came_before_it_is_handled_and_committed(self, client: mock.MagicMock) -> None:
        client.consume.return_value = [message(container(1), 1), message(b"poison", 2), message(container(3), 3)]
        consumer = KafkaConsumer(params(NUM_MESSAGES=3))
        messages = consumer.consume()
        assert [record["n"] for record in next(messages)] == [1]
        consumer.commit()
        assert committed(client) == [("alerts", 0, 2)]
        with pytest.raises(MessageError, match="@2"):
            next(messages)

    def test_an_empty_container(self, client: mock.MagicMock) -> None:
        client.consume.return_value = [message(container())]
        with pytest.raises(MessageError, match="no record"):
            next(KafkaConsumer(params()).consume())


class TestBrokerErrors:
    CODES = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED, KafkaError._AUTHENTICATION)

    @pytest.mark.parametrize("code", CODES)
    def test_what_a_person_has_to_mend_is_raised(self, client: mock.MagicMock, code: int) -> None:
        client.consume.side_effect = [[mock.Mock(error=lambda: KafkaError(code))], AssertionError("it went on")]
        with pytest.raises(KafkaException) as caught:
            next(KafkaConsumer(params()).consume())
        assert caught.value.args[0].code() == code

    def test_a_login_that_fails_is_heard_of_elsewhere(self, client: mock.MagicMock) -> None:
        heard: list[Any] = []
        config = params()
        config["PARAMS"]["error_cb"] = heard.append
        with mock.patch("apf.consumers.kafka.Consumer") as made:
            consumer = KafkaConsumer(config)
            error = KafkaError(KafkaError._AUTHENTICATION)

            def consume(num_messages: int, timeout: float) -> list[Any]:
                made.call_args.args[0]["error_cb"](error)
                return []

            made.return_value.consume.side_effect = consume
            with pytest.raises(KafkaException):
                next(consumer.consume())
        assert heard == [error]

    def test_what_passes_is_told_once(self, client: mock.MagicMock, caplog: pytest.LogCaptureFixture) -> None:
        away = mock.Mock(error=lambda: KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
        client.consume.side_effect = [[away], [away], [message(b"{}")]]
        next(KafkaJsonConsumer(params()).consume())
        assert caplog.text.count("Error in kafka stream") == 1


class TestSchemaless:
    @pytest.fixture
    def schema(self, tmp_path: Path) -> str:
        fields = [{"name": "key", "type": "string"}, {"name": "value", "type": "int"}]
        (tmp_path / "own.avsc").write_text(json.dumps({"type": "record", "name": "own", "fields": fields}))
        return str(tmp_path / "own.avsc")

    def test_without_or_with_a_bad_schema(self, tmp_path: Path, client: mock.MagicMock) -> None:
        with pytest.raises(Exception, match="No Schema path provided"):
            KafkaSchemalessConsumer(params())
        (tmp_path / "bad.avsc").write_text('{"type": "record"}')
        with pytest.raises(Exception, match="name"):
            KafkaSchemalessConsumer(params(SCHEMA_PATH=str(tmp_path / "bad.avsc")))

    def test_read(self, client: mock.MagicMock, schema: str) -> None:
        consumer = KafkaSchemalessConsumer(params(SCHEMA_PATH=schema))
        assert consumer._deserialize_message(message(b"\nllave\x02")) == {"key": "llave", "value": 1}

    @pytest.mark.parametrize(("raw", "says"), [(b"\nlla", "EOFError"), (b"\nllave\x02\x00", "1 bytes are left over")])
    def test_what_does_not_fit(self, client: mock.MagicMock, schema: str, raw: bytes, says: str) -> None:
        client.consume.return_value = [message(raw)]
        with pytest.raises(MessageError, match=says):
            next(KafkaSchemalessConsumer(params(SCHEMA_PATH=schema)).consume())

    def test_behind_a_registrys_bytes(self, client: mock.MagicMock, schema: str) -> None:
        consumer = KafkaSchemalessRegistryConsumer(params(SCHEMA_PATH=schema, SCHEMA_ID=704))
        framed = b"\x00\x00\x00\x02\xc0\nllave\x02"
        assert consumer._deserialize_message(message(framed)) == {"key": "llave", "value": 1}
        with pytest.raises(ValueError, match="schema 705, and SCHEMA_ID is 704"):
            consumer._deserialize_message(message(framed.replace(b"\xc0", b"\xc1")))
        with pytest.raises(ValueError, match="does not begin"):
            consumer._deserialize_message(message(b"\nllave\x02"))


class TestOnABroker:
    @pytest.fixture
    def config(self, broker: ScriptedBroker, topic: str, group_id: str) -> MakeConfig:
        broker.create_topic(topic, 4)

        def make(**more: Any) -> dict[str, Any]:
            own = {"bootstrap.servers": broker.bootstrap_servers, "group.id": group_id, **broker.CONSUMER_CONFIG}
            own |= {"auto.offset.reset": "earliest", "enable.partition.eof": True}
            return {"PARAMS": own, "TOPICS": [topic], "TIMEOUT": 0.5, **more}

        return make

    def fill(self, broker: ScriptedBroker, topic: str, count: int) -> None:
        for n in range(count):
            broker.produce(topic, json.dumps({"n": n}), partition=n % 4)
        broker.flush()

    def test_the_end_is_that_of_all_partitions_and_nothing_is_dropped(
        self, broker: ScriptedBroker, topic: str, config: MakeConfig
    ) -> None:
        self.fill(broker, topic, 9)
        consumer = KafkaJsonConsumer(config(NUM_MESSAGES=4))
        found = sorted(record["n"] for batch in consumer.consume() for record in batch)
        consumer.close()
        assert found == list(range(9))

    def test_what_is_committed_is_not_read_again_and_what_is_not_is(
        self, broker: ScriptedBroker, topic: str, config: MakeConfig
    ) -> None:
        self.fill(broker, topic, 8)
        first = KafkaJsonConsumer(config())
        done = []
        for record in first.consume():
            if len(done) == 5:
                break  # this one is in hand and not committed
            done.append(record["n"])
            first.commit()
        first.close()
        second = KafkaJsonConsumer(config())
        rest = [record["n"] for record in second.consume()]
        second.close()
        assert sorted(done + rest) == list(range(8))

    def test_a_container_is_committed_with_its_last_record(
        self, broker: ScriptedBroker, topic: str, config: MakeConfig
    ) -> None:
        broker.produce(topic, container(1, 2, 3), partition=0)
        broker.flush()
        for taken, rest in ((1, [1, 2, 3]), (2, [1, 2, 3]), (3, [])):
            first = KafkaConsumer(config())
            messages = first.consume()
            for _ in range(taken):
                next(messages)
                first.commit()
            first.close()  # as after a crash
            second = KafkaConsumer(config())
            assert [record["n"] for record in second.consume()] == rest
            second.close()

    def test_a_second_commit_takes_nothing_more(self, broker: ScriptedBroker, topic: str, config: MakeConfig) -> None:
        """Such as a step's own in post_produce: the message in hand behind it cannot be read."""
        broker.produce(topic, container(1), partition=0)
        broker.produce(topic, b"poison", partition=0)
        broker.flush()
        first = KafkaConsumer(config(NUM_MESSAGES=2))
        assert [record["n"] for record in next(first.consume())] == [1]
        first.commit()
        first.commit()
        first.close()
        second = KafkaConsumer(config(NUM_MESSAGES=2))
        with pytest.raises(MessageError, match="@1"):
            next(second.consume())
        second.close()

    def test_a_class_that_polls_by_itself_commits_its_positions(
        self, broker: ScriptedBroker, topic: str, config: MakeConfig
    ) -> None:
        class Polls(KafkaJsonConsumer):
            """Keeps what it has polled, as APF's own does."""

            def consume(self) -> Iterator[Any]:  # type: ignore[override]
                while True:
                    polled = self.consumer.poll(0.5)
                    if polled is not None and not polled.error():
                        self.messages = [polled]
                        yield json.loads(polled.value())

        for n in range(3):
            broker.produce(topic, json.dumps({"n": n}), partition=0)
        broker.flush()
        first = Polls(config())
        messages = first.consume()
        assert [next(messages)["n"], next(messages)["n"]] == [0, 1]
        first.commit()
        first.close()
        second = KafkaJsonConsumer(config())
        assert [record["n"] for record in second.consume()] == [2]
        second.close()

    def test_a_topic_that_may_not_be_read(
        self, own_broker: ScriptedBroker, topic: str, group_id: str, config: MakeConfig
    ) -> None:
        own_broker.create_topic(topic)
        own_broker.set_topic_error(topic, KafkaError.TOPIC_AUTHORIZATION_FAILED)
        own = {**config()["PARAMS"], "bootstrap.servers": own_broker.bootstrap_servers}
        consumer = KafkaJsonConsumer(config(PARAMS=own))
        with pytest.raises(KafkaException) as caught:
            next(consumer.consume())
        consumer.close()
        assert caught.value.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED

    def test_a_window_of_time_ends_by_itself(self, broker: ScriptedBroker, topic: str, config: MakeConfig) -> None:
        for n in range(4):
            broker.produce(topic, json.dumps({"n": n}), timestamp=1000 * (n + 1), partition=n % 2)
        broker.flush()
        consumer = KafkaJsonConsumer(config(offsets={"end": 3000}))  # the mock cluster finds no start by time
        assert sorted(record["n"] for record in consumer.consume()) == [0, 1]
        consumer.close()

    def test_a_start_in_time_is_looked_up(self, client: mock.MagicMock) -> None:
        consumer = KafkaConsumer(params(offsets={"start": 1234}))
        consumer._on_assign(client, [TopicPartition("alerts", 2)])
        [asked] = client.offsets_for_times.call_args.args[0]
        assert (asked.topic, asked.partition, asked.offset) == ("alerts", 2, 1234)
        client.assign.assert_called_once_with(client.offsets_for_times.return_value)

    def test_it_can_be_stopped_while_it_waits(self, config: MakeConfig) -> None:
        own = config(TIMEOUT=60)
        own["PARAMS"]["enable.partition.eof"] = False
        consumer = KafkaJsonConsumer(own)
        waiting = threading.Thread(target=lambda: list(consumer.consume()))
        waiting.start()
        consumer.stop()
        waiting.join(10)
        assert not waiting.is_alive()
        consumer.close()

    def test_the_real_consumer_is_used(self, config: MakeConfig) -> None:
        consumer = KafkaJsonConsumer(config())
        assert isinstance(consumer.consumer, Consumer)
        consumer.close()
        consumer.close()
