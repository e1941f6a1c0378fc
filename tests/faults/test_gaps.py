"""Alerts that the broker does not have any more are an incident: told with both offsets, kept, and then ON_GAP."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from tests.brokers import RunningKafka, ScriptedBroker
from tests.marks import CORE_TABLES
from tests.processes import wait_until
from tests.streams import counts, effects, in_a_thread, make, next_offset, run_once, send
from tom_alertstreams.delivery import topic_ids
from tom_alertstreams.delivery.runs import State
from tom_alertstreams.delivery.source import Control
from tom_alertstreams.delivery.topic_ids import TopicIds
from tom_alertstreams.exceptions import AlertsMissing
from tom_alertstreams.models import StreamPartition, StreamRun

pytestmark = [CORE_TABLES, pytest.mark.usefixtures("fresh_handlers")]


def tell_ids(monkeypatch: pytest.MonkeyPatch, answer_of: Callable[[str], str | int]) -> list[list[str]]:
    """Let the broker tell ids, which its mock does not. Returns the topics of each question.

    :param answer_of: topic → its id, or the code of an error.
    """
    questions: list[list[str]] = []

    def describe_topics(names: Any, **_options: Any) -> dict[str, Future[Any]]:
        questions.append(names)
        answers = {name: Future[Any]() for name in names}
        for name, answer in answers.items():
            told = answer_of(name)
            if isinstance(told, int):
                answer.set_exception(KafkaException(KafkaError(told)))
            else:
                answer.set_result(SimpleNamespace(topic_id=told))
        return answers

    ask, with_controller = TopicIds.ask, SimpleNamespace(controller_id=1, brokers={1: None})
    consumer: Any = SimpleNamespace(list_topics=lambda **_options: with_controller)
    monkeypatch.setattr(topic_ids, "TopicCollection", list)
    monkeypatch.setattr(topic_ids, "AdminClient", lambda *_, **__: SimpleNamespace(describe_topics=describe_topics))
    monkeypatch.setattr(TopicIds, "ask", lambda self, _consumer, topics: ask(self, consumer, topics))
    return questions


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

    def test_of_all_that_was_unread_is_told_once_and_nothing_is_left(
        self, stream: tuple[Any, ...], own_broker: ScriptedBroker, topic: str, group_id: str
    ) -> None:
        """No alert comes that would move the offset."""
        own_broker.delete_records(topic, 0, 10)
        for told in (1, 0):  # as often as it is started
            status = run_once(make(*stream))
            assert len(StreamRun.objects.latest("pk").gaps) == told
            assert not status.lag  # None where nothing had to be fetched
        assert next_offset(group_id, topic) == 10
        assert effects(topic) == [0, 1]

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


class TestShorterThanOurOffset:
    """A broker that has lost the end of its log, or was restored from a copy; or a topic made anew, where no id tells."""

    @pytest.fixture
    def stream(self, own_broker: ScriptedBroker, topic: str, group_id: str) -> tuple[Any, ...]:
        """Five alerts are handled; by the database they were nine, of a topic with an id."""
        own_broker.create_topic(topic)
        send(own_broker, topic, range(5))
        stream = (own_broker.bootstrap_servers, group_id, {topic: "one"})
        run_once(make(*stream))
        StreamPartition.objects.update(next_offset=9, topic_id="the-same")
        return stream

    @pytest.mark.parametrize(
        ("told", "reason", "begins", "again"),
        [
            ("the-same", "the broker has lost the end of the topic", 5, 0),
            ("another", "the topic was deleted and made anew", 0, 5),
            (None, "the topic was deleted and made anew", 0, 5),
        ],
    )
    def test_is_read_on_where_it_ends_if_it_is_the_same_topic(
        self,
        stream: tuple[Any, ...],
        own_broker: ScriptedBroker,
        topic: str,
        group_id: str,
        monkeypatch: pytest.MonkeyPatch,
        told: str | None,
        reason: str,
        begins: int,
        again: int,
    ) -> None:
        monkeypatch.setattr(TopicIds, "ask", lambda *_: {topic: told} if told else {})
        with in_a_thread(make(*stream)) as thread:
            wait_until(lambda: next_offset(group_id, topic) == 5, "the stream to find its place")
            assert thread.status.state is State.RUNNING
            send(own_broker, topic, range(5, 8))
            wait_until(lambda: next_offset(group_id, topic) == 8, "what comes next")
        assert counts() == {"done": 8 + again}
        gap = StreamRun.objects.latest("pk").gaps[0]
        assert (gap["expected"], gap["found"], gap["reason"]) == (9, begins, reason)

    def test_waits_for_the_id_that_tells(
        self, stream: tuple[Any, ...], topic: str, group_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The one question that is asked once it is known to be shorter runs into its time-out."""
        answers = ["the-same", KafkaError._TIMED_OUT, "the-same"]
        asked = tell_ids(monkeypatch, lambda _topic: answers.pop(0))
        run_once(make(*stream))
        assert len(asked) == 3
        assert counts() == {"done": 5}
        assert next_offset(group_id, topic) == 5
        assert StreamPartition.objects.get(topic=topic).topic_id == "the-same"

    def test_goes_by_the_length_where_ids_are_no_longer_told(
        self, stream: tuple[Any, ...], topic: str, group_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tell_ids(monkeypatch, lambda _topic: KafkaError.TOPIC_AUTHORIZATION_FAILED)
        run_once(make(*stream))
        assert counts() == {"done": 10}
        assert StreamPartition.objects.get(topic=topic).topic_id == ""

    def test_stop_names_the_command_that_goes_on_there(
        self, stream: tuple[Any, ...], topic: str, group_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(TopicIds, "ask", lambda *_: {topic: "the-same"})
        with pytest.raises(AlertsMissing, match=f"seekstream test --to 5 --topic {topic}"):
            run_once(make(*stream, delivery={"ON_GAP": "stop"}))
        assert next_offset(group_id, topic) == 9

    def test_on_a_real_broker(self, real_kafka: RunningKafka, topic: str, group_id: str) -> None:
        real_kafka.create_topic(topic, 1)
        send(real_kafka, topic, range(5))
        stream = (real_kafka.bootstrap_servers, group_id, {topic: "one"})
        run_once(make(*stream))
        assert StreamPartition.objects.filter(topic=topic).exclude(topic_id="").update(next_offset=9) == 1
        run_once(make(*stream))
        assert next_offset(group_id, topic) == 5
        assert counts() == {"done": 5}


class TestIdsOfTopics:
    @pytest.mark.parametrize(
        ("code", "asked"),
        [
            (KafkaError._TIMED_OUT, 3),
            (KafkaError.LEADER_NOT_AVAILABLE, 3),
            (KafkaError._UNSUPPORTED_FEATURE, 1),
            (KafkaError.UNSUPPORTED_VERSION, 1),
            (KafkaError.TOPIC_AUTHORIZATION_FAILED, 1),
        ],
    )
    def test_are_asked_for_again_unless_they_are_never_told(
        self, monkeypatch: pytest.MonkeyPatch, code: int, asked: int
    ) -> None:
        """One time-out of one topic is no reason to go by lengths from then on."""
        questions = tell_ids(monkeypatch, lambda name: code if name == "bad" else f"id-of-{name}")
        ids = TopicIds({})
        consumer: Any = None
        for _ in range(3):
            assert ids.ask(consumer, ["good", "bad"]) == {"good": "id-of-good"}
        assert [("bad" in names) for names in questions].count(True) == asked
