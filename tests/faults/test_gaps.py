"""Alerts that the broker does not have any more are an incident: told with both offsets, kept, and then ON_GAP."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from tests.brokers import RunningKafka, ScriptedBroker
from tests.marks import CORE_TABLES
from tests.processes import wait_until
from tests.streams import counts, effects, make, next_offset, run_once, send
from tom_alertstreams.delivery.source import Control
from tom_alertstreams.exceptions import AlertsMissing
from tom_alertstreams.models import StreamPartition, StreamRun

pytestmark = [CORE_TABLES, pytest.mark.usefixtures("fresh_handlers")]


class TestDeleted:
    """By the broker's retention, while we were away."""

    @pytest.fixture
    def stream(self, own_broker: ScriptedBroker, topic: str, group_id: str) -> tuple[Any, ...]:
        """Of ten alerts two are handled, and four more are deleted."""
        own_broker.create_topic(topic)
        send(own_broker, topic, range(10))
        stream = (own_broker.bootstrap_servers, group_id, {topic: "one"})
        run_once(make(*stream), Control(once=True, max_alerts=2))
        own_broker.delete_records(topic, 0, 6)
        return stream

    def test_continue(self, stream: tuple[Any, ...], topic: str) -> None:
        status = run_once(make(*stream))
        assert effects(topic) == [0, 1, 6, 7, 8, 9]
        assert "offset 2 is not on the broker any more" in status.last_error
        gap = StreamRun.objects.latest("pk").gaps[0]
        assert (gap["topic"], gap["partition"], gap["expected"], gap["found"]) == (topic, 0, 2, 6)

    def test_stop(self, stream: tuple[Any, ...], topic: str, group_id: str) -> None:
        for _ in range(2):  # as often as it is started
            with pytest.raises(AlertsMissing, match=f"seekstream test --to earliest --topic {topic}"):
                run_once(make(*stream, delivery={"ON_GAP": "stop"}))
        assert effects(topic) == [0, 1]
        assert next_offset(group_id, topic) == 2
        run = StreamRun.objects.latest("pk")
        assert run.state == "gap"
        assert run.gaps[0]["expected"] == 2

    def test_the_broker_is_away_while_we_ask(
        self, stream: tuple[Any, ...], topic: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It waits and asks again; the stream does not end."""
        from confluent_kafka import KafkaError, KafkaException

        from tom_alertstreams.delivery import gaps

        edges, asked = gaps.edges, []

        def edges_at_last(*arguments: Any) -> Any:
            asked.append(arguments)
            if len(asked) < 3:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
            return edges(*arguments)

        monkeypatch.setattr(gaps, "edges", edges_at_last)
        run_once(make(*stream))
        assert effects(topic) == [0, 1, 6, 7, 8, 9]


class TestMadeAnew:
    def make_anew(self, kafka: RunningKafka, topic: str) -> None:
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
        admin.delete_topics([topic])[topic].result(20)
        wait_until(lambda: topic not in admin.list_topics(timeout=5).topics, "the topic to be gone")
        admin.create_topics([NewTopic(topic, 1)])[topic].result(20)

    @pytest.mark.parametrize("count", [3, 5, 9])
    def test_is_read_from_its_beginning(self, real_kafka: RunningKafka, topic: str, group_id: str, count: int) -> None:
        """Whether it is shorter than our offset, as long, or already longer: the broker tells its id."""
        real_kafka.create_topic(topic, 1)
        send(real_kafka, topic, range(5))
        stream = (real_kafka.bootstrap_servers, group_id, {topic: "one"})
        run_once(make(*stream))
        assert counts() == {"done": 5}
        first = StreamPartition.objects.get(topic=topic).topic_id
        assert first
        self.make_anew(real_kafka, topic)
        send(real_kafka, topic, range(count))
        run_once(make(*stream))
        assert counts() == {"done": 5 + count}
        assert next_offset(group_id, topic) == count
        assert StreamPartition.objects.get(topic=topic).topic_id not in ("", first)
        gap = StreamRun.objects.latest("pk").gaps[0]
        assert (gap["expected"], gap["found"], gap["reason"]) == (5, 0, "the topic was deleted and made anew")
