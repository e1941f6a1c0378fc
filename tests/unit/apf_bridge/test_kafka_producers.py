"""What a step writes to Kafka: formats, keys, topics, and what was not delivered."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from unittest import mock

import fastavro
import pytest
from confluent_kafka import KafkaError, KafkaException

from apf_bridge.compat.core import life_cycle, topic_management
from apf_bridge.compat.core.parts import make_step
from apf_bridge.compat.metrics import KafkaMetricsProducer
from apf_bridge.compat.producers import KafkaProducer, KafkaSchemalessProducer
from tests.brokers import ScriptedBroker
from tests.brokers.scripted import read

from .parts import CALLS, Step2
from .parts import config as step_config

SCHEMA = {
    "type": "record",
    "name": "out",
    "fields": [{"name": "name", "type": "string"}, {"name": "id", "type": ["null", "long"]}],
}


def config(**more: Any) -> dict[str, Any]:
    return {"PARAMS": {"bootstrap.servers": "127.0.0.1:1"}, "TOPIC": "out", "SCHEMA": SCHEMA, **more}


@pytest.fixture
def client() -> Iterator[mock.MagicMock]:
    """Patched as steps' own tests do."""
    with mock.patch("apf.producers.kafka.Producer") as made:
        made.return_value.flush.return_value = 0
        yield made.return_value


def sent(client: mock.MagicMock) -> list[tuple[str, Any]]:
    return [(call.args[0], call.kwargs["key"]) for call in client.produce.call_args_list]


class TestFormats:
    def test_a_container(self, client: mock.MagicMock) -> None:
        KafkaProducer(config()).produce({"name": "a", "id": 2454460970015010006, "more": 1})
        value = client.produce.call_args.kwargs["value"]
        assert list(fastavro.reader(io.BytesIO(value))) == [{"name": "a", "id": 2454460970015010006}]

    def test_a_schema_file(self, client: mock.MagicMock, tmp_path: Path) -> None:
        (tmp_path / "out.avsc").write_text(json.dumps(SCHEMA))
        own = config(SCHEMA=None, SCHEMA_PATH=str(tmp_path / "out.avsc"))
        KafkaProducer(own).produce({"name": "a"})
        assert b"Obj\x01" in client.produce.call_args.kwargs["value"]
        with pytest.raises(KeyError, match="SCHEMA_PATH"):
            KafkaProducer(config(SCHEMA=None))

    def test_bare(self, client: mock.MagicMock) -> None:
        KafkaSchemalessProducer(config()).produce({"name": "test", "id": None})
        assert client.produce.call_args.kwargs["value"] == b"\x08test\x00"

    @pytest.mark.parametrize("message", [{"id": 1}, {"name": 1, "id": 1}, {"name": "a", "id": 1, "extra": 1}])
    def test_what_does_not_fit_bare(self, client: mock.MagicMock, message: dict[str, Any]) -> None:
        with pytest.raises((ValueError, TypeError, AttributeError)):
            KafkaSchemalessProducer(config()).produce(message)
        assert not client.produce.called

    @pytest.mark.parametrize(
        ("message", "said"), [({"id": 1}, "name"), ({"name": 1, "id": 1}, "."), ({"name": "a", "id": "text"}, "text")]
    )
    def test_what_does_not_fit_a_container(
        self, client: mock.MagicMock, message: dict[str, Any], said: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        with pytest.raises((ValueError, TypeError, AttributeError), match=said):
            KafkaProducer(config()).produce(message)
        assert not client.produce.called
        assert f"Error serializing message: {message}" in caplog.text

    def test_what_a_message_lacks_is_null_where_it_may_be(self, client: mock.MagicMock) -> None:
        KafkaProducer(config()).produce({"name": "a"})
        value = client.produce.call_args.kwargs["value"]
        assert list(fastavro.reader(io.BytesIO(value))) == [{"name": "a", "id": None}]

    @pytest.mark.parametrize("kind", [KafkaProducer, KafkaSchemalessProducer])
    def test_a_record_that_does_not_fit_fails_its_batch(self, client: mock.MagicMock, kind: Any) -> None:
        CALLS.clear()
        step = make_step(Step2, step_config([{"name": "a", "id": 1}, {"id": 2}]))
        step.producer = kind(config())
        with pytest.raises(ValueError, match="name") as caught:
            step.start()
        assert life_cycle.stage_of(caught.value) == "produce"
        assert "commit" not in CALLS

    def test_a_format_of_the_steps_own(self, client: mock.MagicMock) -> None:
        class Own(KafkaProducer):
            def _serialize_message(self, message: Any) -> bytes:
                return json.dumps(message).encode()

        Own(config()).produce({"name": "a"})
        assert client.produce.call_args.kwargs["value"] == b'{"name": "a"}'

    def test_strict_is_a_choice(self, client: mock.MagicMock) -> None:
        KafkaSchemalessProducer(config(STRICT=False)).produce({"name": "a", "id": 1, "extra": 1})
        with pytest.raises(ValueError, match="extra"):
            KafkaProducer(config(STRICT=True)).produce({"name": "a", "id": 1, "extra": 1})

    def test_nothing(self, client: mock.MagicMock) -> None:
        with pytest.raises(TypeError, match="None was given"):
            KafkaProducer(config()).produce(None)


class TestKeys:
    def test_none_unless_asked_for(self, client: mock.MagicMock) -> None:
        KafkaProducer(config()).produce({"name": "a"})
        assert sent(client) == [("out", None)]

    def test_a_field_a_number_and_a_function(self, client: mock.MagicMock) -> None:
        producer = KafkaProducer(config())
        producer.set_key_field("name")
        producer.produce({"name": "a", "id": 5}, key="not this")
        producer.set_key_field("id")
        producer.produce({"name": "a", "id": 5})
        producer.set_key_function(lambda message: message["name"] * 2)
        producer.produce({"name": "a", "id": 5})
        assert [key for _, key in sent(client)] == ["a", "5", "aa"]

    def test_every_topic_gets_the_key(self, client: mock.MagicMock) -> None:
        producer = KafkaProducer(config(TOPIC=["one", "two"]))
        producer.set_key_field("name")
        producer.produce({"name": "a"})
        assert sent(client) == [("one", "a"), ("two", "a")]

    def test_through_the_step(self, client: mock.MagicMock) -> None:
        step = make_step(Step2, step_config({"name": "a", "id": 5}))
        step.producer = KafkaProducer(config())
        step.set_producer_key_field("id")
        step.start()
        assert sent(client) == [("out", "5")]

    def test_given_by_the_caller(self, client: mock.MagicMock) -> None:
        KafkaProducer(config()).produce({"name": "a"}, key=7)
        assert sent(client) == [("out", "7")]

    def test_a_field_that_is_not_there(self, client: mock.MagicMock) -> None:
        producer = KafkaProducer(config())
        producer.set_key_field("oid")
        with pytest.raises(KeyError, match="oid"):
            producer.produce({"name": "a"})


class TestTopics:
    def test_several(self, client: mock.MagicMock) -> None:
        producer = KafkaProducer(config(TOPIC=["one", "two"]))
        client.produce.side_effect = lambda *args, **kwargs: client.flush.assert_not_called()
        producer.produce({"name": "a"}, flush=True)
        assert [topic for topic, _ in sent(client)] == ["one", "two"]
        client.flush.assert_called_once_with()

    def test_set_by_the_step(self, client: mock.MagicMock) -> None:
        producer = KafkaProducer(config())
        producer.topic = ["elsewhere"]
        producer.produce({"name": "a"})
        assert sent(client) == [("elsewhere", None)]

    def test_by_the_day(self, client: mock.MagicMock, monkeypatch: pytest.MonkeyPatch) -> None:
        now = datetime(2026, 11, 15, 22, tzinfo=timezone.utc)
        monkeypatch.setattr(topic_management, "utc_now", lambda: now)
        own = {"topic_format": "lc_%s", "change_hour": 23, "retention_days": 2}
        strategy = {"CLASS": "apf.core.topic_management.DailyTopicStrategy", "PARAMS": own}
        producer = KafkaProducer(config(TOPIC=None, TOPIC_STRATEGY=strategy))
        producer.produce({"name": "a"})
        now = now.replace(hour=23)
        producer.produce({"name": "a"})
        assert [topic for topic, _ in sent(client)] == ["lc_20261115", "lc_20261116"]

    def test_by_the_day_of_several_streams(self, client: mock.MagicMock, monkeypatch: pytest.MonkeyPatch) -> None:
        now = datetime(2026, 11, 15, 23, tzinfo=timezone.utc)
        monkeypatch.setattr(topic_management, "utc_now", lambda: now)
        own = {"topic_format": ["lc_%s", "stamp_%s"], "change_hour": 23, "retention_days": 1}
        strategy = {"CLASS": "apf.core.topic_management.DailyTopicStrategy", "PARAMS": own}
        producer = KafkaProducer(config(TOPIC=None, TOPIC_STRATEGY=strategy))
        for _ in range(2):  # APF wrote one message to both days, and turned the list around at each call
            producer.produce({"name": "a"})
        assert [topic for topic, _ in sent(client)] == ["lc_20261116", "stamp_20261116"] * 2

    def test_none(self, client: mock.MagicMock) -> None:
        with pytest.raises(ValueError, match="neither TOPIC nor TOPIC_STRATEGY"):
            KafkaProducer(config(TOPIC=None)).produce({"name": "a"})


class TestDelivery:
    def test_a_full_queue_is_waited_for(self, client: mock.MagicMock) -> None:
        client.produce.side_effect = [BufferError, BufferError, None]
        KafkaProducer(config()).produce({"name": "a"})
        assert client.produce.call_count == 3

    @pytest.mark.parametrize("when", ["flush", "next"])
    def test_a_failure_surfaces(self, client: mock.MagicMock, when: str) -> None:
        producer = KafkaProducer(config())
        producer.produce({"name": "a"})
        failed = mock.Mock(topic=lambda: "out")
        client.produce.call_args.kwargs["callback"](KafkaError(KafkaError.MSG_SIZE_TOO_LARGE), failed)
        with pytest.raises(
            KafkaException, match="out"
        ):  # and not the KafkaError, which except Exception does not catch
            producer.flush() if when == "flush" else producer.produce({"name": "b"})

    @pytest.mark.parametrize("name", ["callback", "on_delivery"])
    @pytest.mark.parametrize("error", [None, KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)])
    def test_a_callback_of_the_steps_own_is_told(self, client: mock.MagicMock, name: str, error: Any) -> None:
        told: list[Any] = []
        producer = KafkaProducer(config())
        producer.produce({"name": "a"}, **{name: lambda error, message: told.append(error)})
        assert "on_delivery" not in client.produce.call_args.kwargs
        client.produce.call_args.kwargs["callback"](error, mock.Mock(topic=lambda: "out"))
        assert told == [error]
        with nullcontext() if error is None else pytest.raises(KafkaException):
            producer.flush()

    def test_what_is_not_delivered_in_time(self, client: mock.MagicMock) -> None:
        client.flush.return_value = 2
        with pytest.raises(KafkaException, match=r"2 messages not delivered in 0\.1 s"):
            KafkaProducer(config(FLUSH_TIMEOUT=0.1)).flush()
        client.flush.return_value = 0

    def test_what_is_left_is_flushed_as_it_goes(self, client: mock.MagicMock, caplog: pytest.LogCaptureFixture) -> None:
        producer = KafkaProducer(config())
        producer.produce({"name": "a"})
        client.flush.side_effect = lambda: client.produce.call_args.kwargs["callback"](
            KafkaError(KafkaError._MSG_TIMED_OUT), mock.Mock(topic=lambda: "out")
        )
        producer.__del__()
        assert client.flush.called
        assert "Not delivered: " in caplog.text
        client.flush.side_effect = None
        with pytest.raises(KafkaException, match="out"):  # a step that has called it is flushed once more
            producer.flush()

    def test_closing_waits_for_what_is_left(self, client: mock.MagicMock) -> None:
        producer = KafkaProducer(config())
        producer.produce({"name": "a"})
        producer.close()
        client.flush.assert_called_once_with()

    def test_a_broker_that_is_away_fails_the_batch_before_its_commit(self) -> None:
        own = config(PARAMS={"bootstrap.servers": "127.0.0.1:1", "message.timeout.ms": 100, "log_level": 0})
        CALLS.clear()
        step = make_step(Step2, step_config({"name": "a"}))
        step.producer = KafkaProducer(own)
        with pytest.raises(KafkaException) as caught:
            step.start()
        assert life_cycle.stage_of(caught.value) == "produce"
        assert "commit" not in CALLS

    def test_on_a_broker(self, broker: ScriptedBroker, topic: str) -> None:
        broker.create_topic(topic)
        broker.create_topic(f"{topic}-2")
        own = config(PARAMS={"bootstrap.servers": broker.bootstrap_servers}, TOPIC=[topic, f"{topic}-2"])
        producer = KafkaSchemalessProducer(own)
        producer.set_key_field("id")
        producer.produce({"name": "test", "id": 5}, flush=True)
        for name in (topic, f"{topic}-2"):
            [message] = read(broker.bootstrap_servers, name, 1)
            assert (message.key(), message.value()) == (b"5", b"\x08test\x02\x0a")


class TestMetrics:
    def sender(self, **more: Any) -> Any:
        return KafkaMetricsProducer({"PARAMS": {"bootstrap.servers": "x"}, **more}, producer=mock.MagicMock())

    def sent(self, sender: Any) -> list[tuple[Any, ...]]:
        return [call.args for call in sender.producer.produce.call_args_list]

    def test_json_with_times(self) -> None:
        sender = self.sender(TOPIC="metrics")
        sender.send_metrics({"timestamp_sent": datetime(2026, 11, 1, tzinfo=timezone.utc), "n_messages": 2})
        assert self.sent(sender) == [("metrics", b'{"timestamp_sent": "2026-11-01T00:00:00+00:00", "n_messages": 2}')]

    def test_several_topics_and_those_of_a_strategy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = datetime(2026, 11, 15, 1, tzinfo=timezone.utc)
        monkeypatch.setattr(topic_management, "utc_now", lambda: now)
        strategy = {"CLASS": "apf.core.topic_management.DailyTopicStrategy", "PARAMS": {"topic_format": "m_%s"}}
        for own, topics in (({"TOPIC": ["a", "b"]}, ["a", "b"]), ({"TOPIC_STRATEGY": strategy}, ["m_20261115"])):
            sender = self.sender(**own)
            sender.send_metrics({})
            assert [topic for topic, _ in self.sent(sender)] == topics
        with pytest.raises(KeyError, match="TOPIC or TOPIC_STRATEGY"):
            self.sender()

    def test_a_full_queue_and_a_failure(self, caplog: pytest.LogCaptureFixture) -> None:
        sender = self.sender(TOPIC="metrics")
        sender.producer.produce.side_effect = [BufferError, None]
        sender.send_metrics({})
        sender.producer.produce.call_args.kwargs["callback"]("refused", mock.Mock(topic=lambda: "metrics"))
        assert "Metrics not delivered to metrics: refused" in caplog.text

    def test_an_encoder_of_ones_own(self) -> None:
        sender = self.sender(TOPIC="m", TIME_ENCODER_CLASS="apf.metrics.DateTimeEncoder")
        sender.send_metrics({"n": 1})
        assert self.sent(sender) == [("m", b'{"n": 1}')]
