"""Where a stream begins: at the offset of the database, else of Kafka, else where START says."""

from __future__ import annotations

import pytest
from confluent_kafka import TopicPartition

from tests.brokers import ScriptedBroker
from tests.effects import handlers
from tests.effects.models import Effect
from tests.marks import CORE_TABLES
from tests.streams import effects, make, publish, run_once
from tom_alertstreams.delivery.intake import Intake
from tom_alertstreams.delivery.source import Control
from tom_alertstreams.models import StreamPartition

pytestmark = [
    CORE_TABLES,
    pytest.mark.both_databases,
    pytest.mark.usefixtures("fresh_handlers"),
]


class TestWhereReadingBegins:
    def test_latest_applies_to_what_exists_and_not_to_what_is_born_later(
        self, own_broker: ScriptedBroker, topic: str, group_id: str
    ) -> None:
        servers, pattern = own_broker.bootstrap_servers, f"{topic}*"
        publish(own_broker, f"{topic}-old", 5)
        stream = {"handlers": {pattern: "one"}, "delivery": {"START": "latest"}}
        run_once(make(servers, group_id, **stream))
        assert effects(f"{topic}-old") == []
        publish(own_broker, f"{topic}-new", 3)
        own_broker.produce(f"{topic}-old", handlers.content(n=5))
        own_broker.flush()
        run_once(make(servers, group_id, **stream))
        assert effects(f"{topic}-new") == [0, 1, 2]
        assert effects(f"{topic}-old") == [5]

    def test_the_offset_of_kafka_counts_where_the_database_has_none(
        self, broker: ScriptedBroker, topic: str, group_id: str
    ) -> None:
        """As after an upgrade from 1.x, which committed to Kafka only."""
        publish(broker, topic, 6)
        run_once(make(broker.bootstrap_servers, group_id, {topic: "one"}), Control(once=True, max_alerts=4))
        for table in (StreamPartition, Effect):
            table.objects.all().delete()
        run_once(make(broker.bootstrap_servers, group_id, {topic: "one"}))
        assert effects(topic) == [4, 5]

    def test_a_topic_that_is_absent_disturbs_nobody(self, broker: ScriptedBroker, topic: str, group_id: str) -> None:
        publish(broker, topic, 3)
        run_once(make(broker.bootstrap_servers, group_id, {f"{topic}-absent": "one", topic: "one"}))
        assert effects(topic) == [0, 1, 2]

    def test_a_rebalance_is_not_the_end(
        self, broker: ScriptedBroker, topic: str, group_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The partition is taken away as soon as it was given, and given again a little later."""
        publish(broker, topic, 5)
        place, poll, polls = Intake.place, Intake.poll, list[int]()
        partitions = [TopicPartition(topic, 0)]

        def place_and_revoke(intake: Intake) -> bool:
            placed = place(intake)
            if placed and not polls:
                intake._on_revoke(intake.consumer, partitions)
                polls.append(0)
            return placed

        def poll_and_assign(intake: Intake, timeout_s: float, *, fetch: bool) -> None:
            poll(intake, timeout_s / 10, fetch=fetch)
            if polls:
                polls.append(0)
            if len(polls) == 5:
                intake._on_assign(intake.consumer, partitions)

        monkeypatch.setattr(Intake, "place", place_and_revoke)
        monkeypatch.setattr(Intake, "poll", poll_and_assign)
        run_once(make(broker.bootstrap_servers, group_id, {topic: "one"}))
        assert effects(topic) == [0, 1, 2, 3, 4]

    def test_no_topic_at_all_is_the_end(self, broker: ScriptedBroker, topic: str, group_id: str) -> None:
        status = run_once(make(broker.bootstrap_servers, group_id, {f"{topic}*": "one"}))
        assert status.tally["received"] == 0

    def test_alerts_deleted_by_the_broker_are_told(self, own_broker: ScriptedBroker, topic: str, group_id: str) -> None:
        publish(own_broker, topic, 10)
        stream = (own_broker.bootstrap_servers, group_id, {topic: "one"})
        run_once(make(*stream), Control(once=True, max_alerts=2))
        own_broker.delete_records(topic, 0, 6)
        status = run_once(make(*stream))
        assert effects(topic) == [0, 1, 6, 7, 8, 9]
        assert "offset 2 is not on the broker any more" in status.last_error
