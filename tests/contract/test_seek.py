"""Where a stream reads on can be set: while it does not run, for all partitions or none, and nowhere that is not there."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from django.utils import timezone as now_in

from tests.brokers import RunningKafka, ScriptedBroker
from tests.effects import handlers
from tests.marks import CORE_TABLES
from tests.streams import effects, make, next_offset, run_once
from tom_alertstreams.alertstreams.alertstream import AlertStream
from tom_alertstreams.delivery import seek as seeking
from tom_alertstreams.delivery.seek import SeekRefused, apply, plan, refuse_while_running
from tom_alertstreams.exceptions import BrokerUnavailable, PartitionLost
from tom_alertstreams.models import StreamPartition, StreamRun

pytestmark = [CORE_TABLES, pytest.mark.usefixtures("fresh_handlers")]


def publish(broker: Any, topic: str, numbers: range, partitions: int = 1) -> None:
    for number in numbers:
        broker.produce(topic, handlers.content(n=number), partition=number % partitions)
    broker.flush()


def seek(stream: AlertStream, to: str | int | datetime, **chosen: Any) -> list[tuple[str, int, int | None, int]]:
    """Plan and apply; topic, partition, old, new."""
    planned = plan(stream, to, **chosen)  # type: ignore[arg-type]
    apply(planned)
    return [(move.topic, move.partition, move.old, move.new) for move in planned.moves]


class TestWhere:
    @pytest.fixture
    def stream(self, broker: ScriptedBroker, topic: str, group_id: str) -> AlertStream:
        """A stream that has read ten alerts."""
        broker.create_topic(topic)
        publish(broker, topic, range(10))
        made = make(broker.bootstrap_servers, group_id, {topic: "one"})
        run_once(made)
        return made

    def test_earliest_reads_all_again(self, stream: AlertStream, topic: str) -> None:
        assert seek(stream, "earliest") == [(topic, 0, 10, 0)]
        run_once(stream)
        assert effects(topic) == sorted([*range(10), *range(10)])

    def test_an_offset(self, stream: AlertStream, topic: str, group_id: str) -> None:
        assert seek(stream, 7, topic=topic) == [(topic, 0, 10, 7)]
        run_once(stream)
        assert effects(topic)[-6:] == [7, 7, 8, 8, 9, 9]
        assert next_offset(group_id, topic) == 10

    def test_latest_passes_over_what_was_not_read(
        self, stream: AlertStream, broker: ScriptedBroker, topic: str
    ) -> None:
        publish(broker, topic, range(10, 13))
        assert seek(stream, "latest") == [(topic, 0, 10, 13)]
        publish(broker, topic, range(13, 14))
        run_once(stream)
        assert effects(topic) == [*range(10), 13]

    def test_a_plan_changes_nothing_and_joins_no_group(self, stream: AlertStream, topic: str, group_id: str) -> None:
        plan(stream, "earliest")  # type: ignore[arg-type]
        assert next_offset(group_id, topic) == 10
        began = time.monotonic()
        run_once(stream)  # had the group another member, this one would wait for its session to end
        assert time.monotonic() - began < 3
        assert effects(topic) == list(range(10))

    @pytest.mark.parametrize("to", [11, 999])
    def test_an_offset_that_the_broker_does_not_have(
        self, stream: AlertStream, topic: str, group_id: str, to: int
    ) -> None:
        with pytest.raises(SeekRefused, match=r"the offsets 0 to 10 \(the next alert\), not"):
            seek(stream, to, topic=topic)
        assert next_offset(group_id, topic) == 10

    def test_deleted_alerts_are_not_there(self, own_broker: ScriptedBroker, topic: str, group_id: str) -> None:
        own_broker.create_topic(topic)
        publish(own_broker, topic, range(10))
        stream = make(own_broker.bootstrap_servers, group_id, {topic: "one"})
        run_once(stream)
        own_broker.delete_records(topic, 0, 6)
        with pytest.raises(SeekRefused, match="the offsets 6 to 10"):
            seek(stream, 5, topic=topic)
        assert seek(stream, "earliest") == [(topic, 0, 10, 6)]

    def test_the_id_of_the_topic_is_asked_anew(self, stream: AlertStream, topic: str) -> None:
        """Else the stream would move back what was set for a topic that was made anew."""
        StreamPartition.objects.filter(topic=topic).update(topic_id="of the topic before")
        seek(stream, "earliest")
        assert StreamPartition.objects.get(topic=topic).topic_id == ""

    def test_a_time_after_the_last_alert_is_the_end(
        self, stream: AlertStream, topic: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert seek(stream, datetime(2126, 1, 1, tzinfo=timezone.utc)) == [(topic, 0, 10, 10)]

    def test_a_time_is_asked_of_the_broker(
        self, stream: AlertStream, topic: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The embedded broker knows no times; test_a_time_on_a_real_kafka has one that does."""
        asked: list[int] = []

        class Knows(seeking.Consumer):  # type: ignore[misc]
            def offsets_for_times(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
                asked.extend(tp.offset for tp in partitions)
                return [TopicPartition(tp.topic, tp.partition, 3) for tp in partitions]

        monkeypatch.setattr(seeking, "Consumer", Knows)
        assert seek(stream, datetime(2026, 11, 22, 3, 12, tzinfo=timezone.utc)) == [(topic, 0, 10, 3)]
        assert asked == [1795317120000]


@pytest.mark.both_databases
class TestWhich:
    @pytest.fixture
    def stream(self, broker: ScriptedBroker, topic: str, group_id: str) -> AlertStream:
        """A stream of two topics, the second with two partitions, that has never run. A third topic is not its own."""
        for name, partitions in ((f"{topic}-a", 1), (f"{topic}-b", 2), (f"other-{topic}", 1)):
            broker.create_topic(name, partitions)
            publish(broker, name, range(4), partitions)
        return make(broker.bootstrap_servers, group_id, {f"{topic}-*": "one"})

    def test_all_of_its_topics_also_those_not_read_yet(self, stream: AlertStream, topic: str) -> None:
        expected = [(f"{topic}-a", 0, None, 4), (f"{topic}-b", 0, None, 2), (f"{topic}-b", 1, None, 2)]
        assert seek(stream, "latest") == expected
        run_once(stream)  # START says earliest: what was set counts more
        assert effects(f"{topic}-a") == effects(f"{topic}-b") == []

    def test_one_topic_or_a_glob(self, stream: AlertStream, topic: str) -> None:
        assert seek(stream, "earliest", topic=f"{topic}-a") == [(f"{topic}-a", 0, None, 0)]
        assert [move[:2] for move in seek(stream, "earliest", topic="*-b")] == [(f"{topic}-b", 0), (f"{topic}-b", 1)]

    def test_one_partition(self, stream: AlertStream, topic: str) -> None:
        assert seek(stream, 1, topic=f"{topic}-b", partition=1) == [(f"{topic}-b", 1, None, 1)]
        run_once(stream)
        assert effects(f"{topic}-b") == [0, 1, 1]

    def test_an_offset_belongs_to_one_partition(self, stream: AlertStream, topic: str) -> None:
        with pytest.raises(SeekRefused, match="--topic"):
            plan(stream, 1)  # type: ignore[arg-type]
        with pytest.raises(SeekRefused, match="--partition"):
            plan(stream, 1, topic=f"{topic}-b")  # type: ignore[arg-type]

    def test_what_the_stream_does_not_read(self, stream: AlertStream, topic: str) -> None:
        with pytest.raises(SeekRefused, match=f"no topic other-{topic}"):
            plan(stream, "earliest", topic=f"other-{topic}")  # type: ignore[arg-type]
        with pytest.raises(SeekRefused, match="with a partition 7"):
            plan(stream, "earliest", topic=f"{topic}-b", partition=7)  # type: ignore[arg-type]

    def test_all_or_none(self, stream: AlertStream, topic: str, group_id: str) -> None:
        """One of three has been moved by a stream that was started meanwhile."""
        seek(stream, "latest")
        planned = plan(stream, "earliest")  # type: ignore[arg-type]
        StreamPartition.objects.filter(topic=f"{topic}-b", partition=0).update(next_offset=1)
        with pytest.raises(PartitionLost, match="nothing was changed"):
            apply(planned)
        offsets = [next_offset(group_id, f"{topic}-a"), *(next_offset(group_id, f"{topic}-b", n) for n in (0, 1))]
        assert offsets == [4, 1, 2]

    def test_a_partition_that_was_first_read_meanwhile(self, stream: AlertStream, topic: str, group_id: str) -> None:
        planned = plan(stream, "latest")  # type: ignore[arg-type]
        run_once(stream)
        with pytest.raises(PartitionLost, match="nothing was changed"):
            apply(planned)
        assert next_offset(group_id, f"{topic}-a") == 4
        assert effects(f"{topic}-a") == [0, 1, 2, 3]


@pytest.mark.both_databases
class TestWhileItRuns:
    @pytest.fixture
    def stream(self, topic: str, group_id: str) -> AlertStream:
        return make("127.0.0.1:1", group_id, {topic: "one"})

    @pytest.fixture
    def run(self, group_id: str) -> StreamRun:
        return StreamRun(stream="test", group_id=group_id, host="observatory", pid=4711)

    def test_is_refused(self, stream: AlertStream, run: StreamRun) -> None:
        run.save()
        with pytest.raises(SeekRefused, match="observatory, process 4711") as refused:
            refuse_while_running(stream)  # type: ignore[arg-type]
        assert "Stop readstreams there" in str(refused.value)

    @pytest.mark.parametrize(
        "changes",
        [
            pytest.param({"ended": now_in.now()}, id="ended"),
            pytest.param({"heartbeat": now_in.now() - timedelta(minutes=2)}, id="killed"),
            pytest.param({"stream": "another"}, id="another stream"),
            pytest.param({"group_id": "another"}, id="another group"),
        ],
    )
    def test_other_lives_do_not_matter(self, stream: AlertStream, run: StreamRun, changes: dict[str, Any]) -> None:
        run.save()
        with pytest.raises(SeekRefused):
            refuse_while_running(stream)  # type: ignore[arg-type]
        for name, value in changes.items():
            setattr(run, name, value)
        run.save()
        refuse_while_running(stream)  # type: ignore[arg-type]

    def test_the_real_thing(self, broker: ScriptedBroker, topic: str, group_id: str) -> None:
        """A stream in the midst of its work."""
        broker.create_topic(topic)
        publish(broker, topic, range(1))
        stream = make(broker.bootstrap_servers, group_id, {topic: "one"})
        refused: list[SeekRefused] = []

        def try_to_seek(_alert: Any) -> None:
            with pytest.raises(SeekRefused) as info:
                refuse_while_running(stream)  # type: ignore[arg-type]
            refused.append(info.value)

        handlers.trouble.append(try_to_seek)
        run_once(stream)
        assert len(refused) == 1
        refuse_while_running(stream)  # type: ignore[arg-type]


def test_a_broker_that_is_away(topic: str, group_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeking, "BROKER_TIMEOUT_S", 0.5)
    stream = make("127.0.0.1:1", group_id, {topic: "one"})
    with pytest.raises(BrokerUnavailable, match="Check its address"):
        plan(stream, "earliest")  # type: ignore[arg-type]


def test_a_time_on_a_real_kafka(real_kafka: RunningKafka, topic: str, group_id: str) -> None:
    real_kafka.create_topic(topic)
    publish(real_kafka, topic, range(3))
    time.sleep(0.05)
    moment = datetime.now(timezone.utc)
    time.sleep(0.05)
    publish(real_kafka, topic, range(3, 5))
    stream = make(real_kafka.bootstrap_servers, group_id, {topic: "one"})
    assert seek(stream, moment) == [(topic, 0, None, 3)]
    run_once(stream)
    assert effects(topic) == [3, 4]
    assert seek(stream, moment + timedelta(days=1)) == [(topic, 0, 5, 5)]
    assert seek(stream, "earliest") == [(topic, 0, 5, 0)]
