"""How much is taken at once, in which order, and when it ends."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from confluent_kafka import KafkaError
from django.db import transaction

from tests.brokers import ScriptedBroker
from tests.effects import handlers
from tests.effects.models import Effect
from tests.marks import CORE_TABLES
from tests.processes import wait_until
from tests.streams import effects, make, next_offset, publish, run_once
from tom_alertstreams.alerts import Alert
from tom_alertstreams.delivery.intake import Intake
from tom_alertstreams.delivery.source import Control
from tom_alertstreams.delivery.supervisor import StreamThread

pytestmark = [
    CORE_TABLES,
    pytest.mark.both_databases,
    pytest.mark.usefixtures("fresh_handlers"),
]


class TestLimits:
    def test_max_alerts_counts_all_streams_together(self, broker: ScriptedBroker, topic: str, group_id: str) -> None:
        publish(broker, f"{topic}-a", 10)
        publish(broker, f"{topic}-b", 10)
        control = Control(once=True, max_alerts=7)
        for name in ("a", "b"):
            run_once(make(broker.bootstrap_servers, f"{group_id}-{name}", {f"{topic}-{name}": "each"}), control)
        assert len(effects(f"{topic}-a")) + len(effects(f"{topic}-b")) == 7

    def test_max_alerts_waits_for_what_another_stream_has_in_hand(
        self, broker: ScriptedBroker, topic: str, group_id: str
    ) -> None:
        publish(broker, topic, 5)
        control = Control(max_alerts=3)
        assert control.reserve(4) == 3
        thread = StreamThread(make(broker.bootstrap_servers, group_id, {topic: "each"}), control)
        thread.start()
        wait_until(lambda: thread.status.connected or not thread.is_alive(), "the stream")
        assert thread.is_alive()
        control.settle(3, 1)
        thread.join(30)
        assert not thread.is_alive()
        assert effects(topic) == [0, 1]

    def test_once_ends_though_alerts_keep_coming(self, broker: ScriptedBroker, topic: str, group_id: str) -> None:
        def another(alert: Alert) -> None:
            broker.produce(topic, handlers.content(n=alert.offset))
            broker.flush()

        publish(broker, topic, 3)
        handlers.trouble.append(another)
        control = Control(once=True, max_alerts=50)
        run_once(make(broker.bootstrap_servers, group_id, {topic: "one"}, delivery={"BATCH_SIZE": 1}), control)
        assert not control.exhausted
        assert effects(topic) == [0, 1, 2]

    def test_order_is_kept_within_a_partition(self, broker: ScriptedBroker, topic: str, group_id: str) -> None:
        broker.create_topic(topic, 2)
        for number in range(40):
            broker.produce(topic, handlers.content(n=number), partition=number % 2)
        broker.flush()
        run_once(make(broker.bootstrap_servers, group_id, {topic: "one"}, delivery={"BATCH_SIZE": 7}))
        for partition in (0, 1):
            written = Effect.objects.filter(partition=partition).order_by("pk").values_list("offset", flat=True)
            assert list(written) == list(range(20))

    @pytest.mark.parametrize("handler", ["one", "each"])
    def test_while_handlers_take_their_time_our_place_in_the_group_is_kept(
        self, broker: ScriptedBroker, topic: str, group_id: str, handler: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Handling ends after BATCH_SECONDS, what is finished commits, and Kafka is polled but nothing fetched."""
        poll = Intake.poll
        polled: set[int] = set()
        held = [0]
        committed: dict[int, int] = {}

        def poll_and_note(intake: Intake, timeout_s: float, *, fetch: bool) -> None:
            before = sum(map(len, intake.held.values()))
            poll(intake, timeout_s, fetch=fetch)
            polled.add(len(handlers.calls))
            held.append(sum(map(len, intake.held.values())))
            assert fetch or held[-1] <= before, "alerts were fetched from partitions that are to be paused"

        def work(alert: Alert) -> None:
            transaction.on_commit(lambda: committed.setdefault(alert.offset, len(handlers.calls)))
            time.sleep(0.06)

        monkeypatch.setattr(Intake, "poll", poll_and_note)
        publish(broker, topic, 12)
        handlers.trouble.append(work)
        delivery = {"BATCH_SECONDS": 0.1, "BATCH_SIZE": 6}
        run_once(make(broker.bootstrap_servers, group_id, {topic: handler}, delivery=delivery))
        assert handlers.calls == effects(topic) == list(range(12))
        assert committed[0] <= 2
        assert len(polled - {0, 12}) >= 5
        assert max(held) <= 6

    @pytest.mark.parametrize("limit", [{"BATCH_SIZE": 4}, {"BATCH_BYTES": 4 * len(handlers.content(n=0))}])
    def test_a_group_is_no_larger_than_settings_say(
        self, broker: ScriptedBroker, topic: str, group_id: str, limit: dict[str, int]
    ) -> None:
        committed: set[int] = {0}
        handlers.trouble.append(lambda alert: transaction.on_commit(lambda: committed.add(len(handlers.calls))))
        publish(broker, topic, 10)
        topic_entry = {"HANDLER": "tests.effects.handlers.each", **limit}
        run_once(make(broker.bootstrap_servers, group_id, {topic: topic_entry}))
        ends = sorted(committed)
        assert ends[-1] == 10
        assert max(end - begin for begin, end in pairwise(ends)) <= 4

    def test_a_topic_may_have_larger_groups_than_its_stream(
        self, broker: ScriptedBroker, topic: str, group_id: str
    ) -> None:
        sizes: list[int] = []
        handlers.trouble.append(lambda alert: transaction.on_commit(lambda: sizes.append(len(handlers.calls))))
        publish(broker, topic, 10)
        topic_entry = {"HANDLER": "tests.effects.handlers.each", "BATCH_SIZE": 10}
        run_once(make(broker.bootstrap_servers, group_id, {topic: topic_entry}, delivery={"BATCH_SIZE": 2}))
        assert len(set(sizes)) < 5  # commits; in twos they would be five

    def test_kafkas_offsets_are_only_a_mirror(self, own_broker: ScriptedBroker, topic: str, group_id: str) -> None:
        """A commit that Kafka refuses costs nothing."""
        publish(own_broker, topic, 3)
        own_broker.push_errors(own_broker.OFFSET_COMMIT, *[KafkaError.TOPIC_AUTHORIZATION_FAILED] * 20)
        for _ in range(2):
            run_once(make(own_broker.bootstrap_servers, group_id, {topic: "one"}))
        assert effects(topic) == [0, 1, 2]

    def test_a_request_to_stop_finishes_the_alert_in_hand(
        self, broker: ScriptedBroker, topic: str, group_id: str
    ) -> None:
        control = Control()
        publish(broker, topic, 20)
        handlers.trouble.append(lambda alert: alert.offset == 4 and control.stopping.set())
        run_once(make(broker.bootstrap_servers, group_id, {topic: "each"}), control)
        assert effects(topic) == [0, 1, 2, 3, 4]
        assert next_offset(group_id, topic) == 5
