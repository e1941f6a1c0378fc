"""The outbox of steps: sent after its batch, marked by the broker's report, in order, by one process at a time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import QuerySet
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apf_bridge import delivery_signals, publisher, sender
from apf_bridge.checks import check_outbox
from apf_bridge.delivery_signals import hosts_of
from apf_bridge.models import OutboxMessage, Outlet
from apf_bridge.outbox import Output, Recorder, store
from apf_bridge.publisher import Publisher
from apf_bridge.redirect import begin_stream, end_stream, make_producer
from tests.brokers import ScriptedBroker
from tests.contract.running_steps import (
    config,
    pending,
    publish,
    raising,
    send,
    stream,
    until,
    with_output_on,
)
from tests.marks import CORE_AND_STEPS
from tests.steps import consumed
from tests.streams import in_a_thread, make, run_once
from tom_alertstreams.delivery import hourly, loop
from tom_alertstreams.delivery.broker_errors import ErrorMemory
from tom_alertstreams.delivery.hourly import Hourly
from tom_alertstreams.delivery.intake import Intake
from tom_alertstreams.delivery.runs import State, Status
from tom_alertstreams.exceptions import LookUpUnavailable

pytestmark = [CORE_AND_STEPS, pytest.mark.both_databases, pytest.mark.usefixtures("steps", "fresh_handlers")]


def of_scribe(**more: Any) -> QuerySet[OutboxMessage]:
    return OutboxMessage.objects.filter(producer__startswith="SCRIBE_PRODUCER_CONFIG#", **more)


def two_that_wait(each: int, first: Mapping[str, Any] | None = None) -> tuple[Publisher, list[str]]:
    """Messages of two producers without a broker.

    :param first: more PARAMS of the first.
    """
    params: dict[str, dict[str, Any]] = {name: {"bootstrap.servers": "127.0.0.1:1"} for name in ("FIRST#1", "SECOND#1")}
    params["FIRST#1"] |= first or {}
    ours = Publisher("test: own.Step", params)
    for name in params:
        store(ours.outlet(), [Output(name, "out", None, b"1")] * each, [])
    return ours, [*params]


class TestTheOutbox:
    def test_nothing_is_sent_before_the_commit(
        self, broker: ScriptedBroker, topic: str, group_id: str, steps: Any
    ) -> None:
        """The publisher looks at the database only."""
        publish(broker, topic, range(5))
        made = stream(broker, group_id, topic, "Corrector")
        options = made.bindings[topic].handler.options  # type: ignore[attr-defined]
        host = options.host("test")
        with transaction.atomic():
            host.run([{"oid": "ZTF1", "n": 1}])
            assert host.recorder.outputs
            transaction.set_rollback(True)
        host.publisher.end()
        assert Outlet.objects.get().messages.count() == 0

    def test_an_outlet_of_a_batch_that_was_undone_is_made_again(self) -> None:
        made = Publisher("test: own.Step", {})
        for undone in (True, False):
            with transaction.atomic():
                store(made.outlet(), [Output("PRODUCER_CONFIG", "out", None, b"1")], [])
                transaction.set_rollback(undone)
        assert OutboxMessage.objects.get().outlet == made.outlet()

    def test_a_message_is_marked_only_when_the_broker_has_it(
        self, broker: ScriptedBroker, own_broker: ScriptedBroker, topic: str, group_id: str
    ) -> None:
        """The broker of the output is away: the stream runs on and the outbox waits. It comes back, and nothing is lost."""
        publish(broker, topic, range(10))
        own_broker.create_topic(f"{topic}-out", 1)
        own_broker.broker_down()
        made = with_output_on(own_broker, broker, group_id, topic)
        with in_a_thread(made):
            until(lambda: OutboxMessage.objects.count() == 10)
            time.sleep(1)
            assert pending() == 10
            own_broker.broker_up()
            until(lambda: pending() == 0)
        found = consumed(own_broker, f"{topic}-out", 10)
        assert [message.content["n"] for message in found] == list(range(10))

    def test_a_broker_that_is_away_is_told_once(
        self,
        broker: ScriptedBroker,
        own_broker: ScriptedBroker,
        topic: str,
        group_id: str,
        caplog: pytest.LogCaptureFixture,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        """In the log, and not by librdkafka on the terminal, at every try to connect."""
        publish(broker, topic, range(3))
        own_broker.create_topic(f"{topic}-out", 1)
        own_broker.broker_down()
        given = config(own_broker, topic, f"{topic}-out")
        params = {"PARAMS": given["PRODUCER_CONFIG"]["PARAMS"], "TOPIC": f"{topic}-metrics"}
        given["METRICS_CONFIG"] = {"CLASS": "apf.metrics.KafkaMetricsProducer", "PARAMS": params}
        with in_a_thread(stream(broker, group_id, topic, "Corrector", STEP_CONFIG=given)):
            until(lambda: "sends: no broker answers" in caplog.text)
            time.sleep(1.5)
            own_broker.broker_up()
            until(lambda: OutboxMessage.objects.filter(state="delivered").count() == 3)
        lines = [record.getMessage() for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
        assert 1 < len(lines) < 15, lines
        assert "rdkafka#producer" in "".join(lines)
        assert "rdkafka#producer" not in capfd.readouterr().err

    def test_after_a_crash_a_message_is_sent_again_with_its_id(
        self, broker: ScriptedBroker, topic: str, group_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The broker has the messages, and the process dies before it hears of it."""
        publish(broker, topic, range(10))
        monkeypatch.setattr(Publisher, "_hear", lambda self, timeout_s: time.sleep(timeout_s))
        monkeypatch.setattr(publisher, "END_S", 3)
        run_once(stream(broker, group_id, topic, "Corrector"))
        first = consumed(broker, f"{topic}-out", 10)
        assert pending() == 10
        monkeypatch.undo()
        run_once(stream(broker, group_id, topic, "Corrector"))
        found = consumed(broker, f"{topic}-out", 20)
        assert pending() == 0
        for message in first:
            again = [other for other in found if other.id == message.id]
            assert [(one.key, one.content) for one in again] == [(message.key, message.content)] * 2

    def test_a_failure_on_the_way_keeps_the_order(
        self, own_broker: ScriptedBroker, topic: str, group_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sender, "_FIRST_PAUSE_S", 0.1)
        publish(own_broker, topic, range(30))
        own_broker.create_topic(f"{topic}-out", 1)
        own_broker.push_errors(ScriptedBroker.PRODUCE, *[6] * 3)  # NOT_LEADER_FOR_PARTITION
        run_once(stream(own_broker, group_id, topic, "Corrector"))
        found = consumed(own_broker, f"{topic}-out", 30)
        first_time = list(dict.fromkeys(message.content["n"] for message in found))
        assert first_time == list(range(30))

    def test_what_the_broker_refuses_for_good_does_not_hold_the_others_up(
        self, broker: ScriptedBroker, topic: str, group_id: str, steps: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        publish(broker, topic, range(5))

        def make_large(stage: str, messages: list[dict[str, Any]]) -> None:
            if stage == "execute":
                for message in messages:
                    message["oid"] *= 500_000 if message["n"] == 2 else 1

        steps.trouble.append(make_large)
        run_once(stream(broker, group_id, topic, "Corrector"))
        refused = OutboxMessage.objects.get(state="refused")
        assert refused.attempts == 1
        assert refused.last_error
        assert "was refused and is given up" in caplog.text
        assert sorted(message.content["n"] for message in consumed(broker, f"{topic}-out", 4)) == [0, 1, 3, 4]

    def test_one_process_at_a_time_sends_for_a_step(self, broker: ScriptedBroker, topic: str, group_id: str) -> None:
        publish(broker, topic, range(10))
        other = Publisher("test: tests.steps.steps.Corrector", {})
        assert other._hold(time.monotonic())
        with in_a_thread(stream(broker, group_id, topic, "Corrector")):
            until(lambda: OutboxMessage.objects.count() == 10)
            time.sleep(1.5)
        assert pending() == 10
        other.end()
        run_once(stream(broker, group_id, topic, "Corrector"))
        assert pending() == 0

    def test_what_a_dead_process_held_is_taken_over(
        self, broker: ScriptedBroker, topic: str, group_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        publish(broker, topic, range(10))
        monkeypatch.setattr(publisher, "LEASE", publisher.LEASE / 20)
        assert Publisher("test: tests.steps.steps.Corrector", {})._hold(time.monotonic())
        with in_a_thread(stream(broker, group_id, topic, "Corrector")):
            until(lambda: OutboxMessage.objects.filter(state="delivered").count() == 10)

    def test_who_does_not_have_the_outlet_writes_nothing_and_leaves_at_once(self) -> None:
        ours, other = Publisher("test: own.Step", {}), Publisher("test: own.Step", {})
        assert ours._hold(time.monotonic())
        store(ours.outlet(), [Output("PRODUCER_CONFIG", "out", None, b"1")], [])
        with CaptureQueriesContext(connection) as queries:
            for _ in range(20):
                other.has_more = True  # as after each batch
                other.turn()
            began = time.monotonic()
            other.end()
        assert time.monotonic() - began < 1
        assert pending() == 1
        updates = [query["sql"] for query in queries if query["sql"].startswith("UPDATE")]
        assert len(updates) == 1, updates  # of its end: it lets go of what it may have
        assert len(queries) < 10

    def test_an_outlet_is_held_for_as_long_as_batches_take(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The second batch is as long as the first, twice the lease: nobody else sends again what is unheard."""
        monkeypatch.setattr(publisher, "LEASE", publisher.LEASE / 25)
        ours, other = Publisher("test: own.Step", {}), Publisher("test: own.Step", {})
        for _ in range(2):
            ours.has_more = True
            ours.turn()
            time.sleep(0.8)
        assert not other._hold(time.monotonic())


class TestSeveralBrokers:
    """A step's producers have brokers of their own, of which one may be away."""

    def test_one_that_is_away_holds_no_other_up(
        self,
        broker: ScriptedBroker,
        own_broker: ScriptedBroker,
        topic: str,
        group_id: str,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """More waits for it than is ever in hand; then it is back."""
        monkeypatch.setattr(publisher, "MOST_IN_HAND", 20)
        publish(broker, topic, range(60))
        taken = [n for n in range(60) if n % 10 != 9]
        for one, name in ((broker, f"{topic}-out-scribe"), (own_broker, f"{topic}-out")):
            one.create_topic(name, 1)
        own_broker.broker_down()
        made = with_output_on(own_broker, broker, group_id, topic, "Prober", **{"message.timeout.ms": 0})
        with in_a_thread(made):
            until(lambda: of_scribe(state="delivered").count() == len(taken))
            assert pending() == len(taken)
            own_broker.broker_up()
            until(lambda: pending() == 0)
        assert [one.content["n"] for one in consumed(broker, f"{topic}-out-scribe", len(taken))] == taken
        found = [one.content["n"] for one in consumed(own_broker, f"{topic}-out", len(taken))]
        assert list(dict.fromkeys(found)) == taken
        told = [record.getMessage() for record in caplog.records if "waits with what" in record.getMessage()]
        assert len(told) == 1
        assert "the producer PRODUCER_CONFIG#" in told[0]

    def test_what_fails_with_one_drops_nothing_of_another(self, caplog: pytest.LogCaptureFixture) -> None:
        ours, (fails, waits) = two_that_wait(each=3, first={"message.timeout.ms": 100})

        def has_failed() -> bool:
            ours.turn()
            return f"the producer {fails} sends: Local: Message timed out" in caplog.text

        until(has_failed)
        assert len(ours._sender(waits).in_hand) == 3
        ours._forget()

    def test_all_together_have_so_many_in_hand_at_most(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(publisher, "MOST_IN_HAND", 10)
        ours, names = two_that_wait(each=20)
        ours.turn()
        assert [len(ours._sender(name).in_hand) for name in names] == [5, 5]
        ours._forget()

    def test_what_waits_for_one_makes_no_look_longer(self) -> None:
        """Every statement goes by the index, to what it is to find."""
        ours, names = two_that_wait(each=5000)
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
        with CaptureQueriesContext(connection) as queries:
            ours._look(time.monotonic())
        ours._forget()
        looks = [query["sql"] for query in queries if query["sql"].startswith("SELECT") and "LIMIT" in query["sql"]]
        looks = [sql for sql in looks if '"apf_bridge_outboxmessage"' in sql]
        assert len(looks) == len(names) + 1 + len(names), looks
        explain = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
        for sql in looks:
            with connection.cursor() as cursor:
                cursor.execute(f"{explain} {sql}")
                plan = str(cursor.fetchall())
            assert "apf_outbox_waiting" in plan, (sql, plan)
            assert "Sort" not in plan, (sql, plan)
            assert "TEMP B-TREE" not in plan, (sql, plan)


class TestProducersOfTheStepsOwn:
    """Made of PARAMS that are no section of STEP_CONFIG."""

    def test_after_a_restart_what_waits_is_sent_without_an_alert(
        self, broker: ScriptedBroker, topic: str, group_id: str
    ) -> None:
        publish(broker, topic, range(5))
        run_once(stream(broker, group_id, topic, "FansOut"))
        OutboxMessage.objects.update(state="pending")
        run_once(stream(broker, group_id, topic, "FansOut"))
        assert pending() == 0
        assert len(consumed(broker, f"{topic}-out-second", 10)) == 10

    def test_what_waits_for_a_producer_that_is_gone_holds_nothing_else_up(
        self, broker: ScriptedBroker, topic: str, group_id: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        publish(broker, topic, range(5))
        run_once(stream(broker, group_id, topic, "FansOut"))
        OutboxMessage.objects.update(state="pending")
        OutboxMessage.objects.filter(pk__in=list(OutboxMessage.objects.values_list("pk", flat=True)[:2])).update(
            producer="gone#1"
        )
        began = time.monotonic()
        run_once(stream(broker, group_id, topic, "FansOut"))
        assert time.monotonic() - began < publisher.END_S
        assert pending() == 2
        assert caplog.text.count("for the producer gone#1, which the step does not have now") == 1

    def test_whoever_lacks_one_lets_another_process_send_its_messages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A standby, which gets no alerts, never makes the producer that its step makes on demand."""
        monkeypatch.setattr(publisher, "_KEPT_WITH_ORPHANS_S", 0.2)
        monkeypatch.setattr(publisher, "_LOOK_EVERY_S", 0.1)
        params = {"FIRST#1": {"bootstrap.servers": "127.0.0.1:1"}, "SECOND#1": {"bootstrap.servers": "127.0.0.1:1"}}
        standby, working = (
            Publisher("test: own.Step", {"FIRST#1": params["FIRST#1"]}),
            Publisher("test: own.Step", params),
        )
        standby.turn()
        assert not working._hold(time.monotonic())
        store(working.outlet(), [Output("SECOND#1", "out", None, b"1")], [])

        def has_it() -> bool:
            standby.turn()
            working.turn()
            return bool(working._sender("SECOND#1").in_hand)

        until(has_it)
        monkeypatch.setattr(publisher, "END_S", 0.1)
        for one in (standby, working):
            one.end()

    def test_a_change_of_params_leaves_nothing_behind(self, broker: ScriptedBroker, topic: str, group_id: str) -> None:
        publish(broker, topic, range(5))
        run_once(stream(broker, group_id, topic, "Corrector"))
        names = iter(
            ["PRODUCER_CONFIG", *["PRODUCER_CONFIG#of-other-params"] * 4]
        )  # the first as once they were called
        for row in OutboxMessage.objects.all():
            OutboxMessage.objects.filter(pk=row.pk).update(state="pending", producer=next(names))
        run_once(stream(broker, group_id, topic, "Corrector"))
        assert pending() == 0

    def test_their_names_are_short_and_last(self) -> None:
        recorder = Recorder({})
        servers = ",".join(f"broker-{n}.example.org:9093" for n in range(40))
        for params in (
            {"sasl.password": "first"},
            {"sasl.password": "second", "error_cb": print},
            {"linger.ms": 1, "sasl.password": "first"},
        ):
            recorder.producer({"bootstrap.servers": servers, **params})
        assert len(recorder.params) == 2
        assert max(map(len, recorder.params)) <= 255
        with pytest.raises(ValueError, match="cannot be used"):
            recorder.producer({"bootstrap.servers": servers, "no.such.key": 1})


class TestWhatAStepChooses:
    """Partition and time of its output, and the thread it makes its producer in."""

    def test_partition_and_time_are_kept_and_a_partition_that_is_not_there_is_refused(
        self, broker: ScriptedBroker, topic: str, group_id: str
    ) -> None:
        publish(broker, topic, range(3))
        broker.create_topic(f"{topic}-out", 2)
        run_once(stream(broker, group_id, topic, "ProducesInThreads"))
        # Between two partitions no order is kept.
        found = sorted(consumed(broker, f"{topic}-out", 2), key=lambda one: one.partition)
        assert [(one.content["n"], one.partition, one.timestamp_ms) for one in found] == [
            (0, 0, 1_700_000_000_000),
            (1, 1, 1_700_000_000_001),
        ]
        assert OutboxMessage.objects.get(state="refused").partition == 2

    def test_a_producer_made_in_a_thread_of_the_step_sends_nothing_before_the_commit(
        self, broker: ScriptedBroker, topic: str, group_id: str, steps: Any
    ) -> None:
        publish(broker, topic, range(2))
        broker.create_topic(f"{topic}-out", 2)
        steps.trouble.append(raising(KeyError("late"), stage="sent", n=1))
        run_once(stream(broker, group_id, topic, "ProducesInThreads"))
        assert [message.content["n"] for message in consumed(broker, f"{topic}-out", 1)] == [0]

    def test_what_a_thread_of_the_step_puts_out_between_two_batches_is_sent(
        self, broker: ScriptedBroker, topic: str, group_id: str
    ) -> None:
        """As a summary each minute."""
        publish(broker, topic, range(3))
        made = stream(broker, group_id, topic, "Corrector")
        [host] = hosts_of(made)
        with in_a_thread(made):
            until(lambda: OutboxMessage.objects.filter(state="delivered").count() == 3)
            host._step.producer.produce({"oid": "summary", "n": 3, "probability": 1.0})
            until(lambda: OutboxMessage.objects.filter(state="delivered").count() == 4)

    def test_of_several_streams_it_cannot_be_told_whose_it_is(self) -> None:
        recorders = [Recorder({}), Recorder({})]
        for recorder in recorders:
            begin_stream(recorder)
        try:
            with ThreadPoolExecutor(1) as pool, pytest.raises(RuntimeError, match="Make it in the step's constructor"):
                pool.submit(make_producer, {"bootstrap.servers": "nowhere:9"}).result()
        finally:
            for recorder in recorders:
                end_stream(recorder)


class TestOneStepTwice:
    """A step's class on two keys of one stream."""

    def twice(self, first: ScriptedBroker, second: ScriptedBroker, topics: list[str], group_id: str) -> Any:
        """Reads both topics on the first broker; puts out to one broker and the other."""
        bound = {}
        for topic, output in zip(topics, (first, second), strict=True):
            given = config(first, topic, f"{topic}-out")
            given["PRODUCER_CONFIG"] = config(output, topic, f"{topic}-out")["PRODUCER_CONFIG"]
            options = {"STEP": "tests.steps.steps.Corrector", "STEP_CONFIG": given}
            bound[topic] = {"HANDLER": "apf_bridge.handlers.run_step", "OPTIONS": options}
        return make(first.bootstrap_servers, group_id, bound)

    def test_each_puts_out_to_its_own_broker(
        self, broker: ScriptedBroker, own_broker: ScriptedBroker, topic: str, group_id: str
    ) -> None:
        topics = [f"{topic}-1", f"{topic}-2"]
        for output, one in zip((broker, own_broker), topics, strict=True):
            publish(broker, one, range(5))
            output.create_topic(f"{one}-out", 1)
        run_once(self.twice(broker, own_broker, topics, group_id))
        for output, one in zip((broker, own_broker), topics, strict=True):
            assert [message.content["n"] for message in consumed(output, f"{one}-out", 5)] == list(range(5))

    def test_they_have_one_outlet_and_one_publisher(self, broker: ScriptedBroker, topic: str, group_id: str) -> None:
        topics = [f"{topic}-1", f"{topic}-2"]
        for one in topics:
            publish(broker, one, range(5))
        made = self.twice(broker, broker, topics, group_id)
        first, second = hosts_of(made)
        assert first.publisher is second.publisher
        run_once(made)
        assert Outlet.objects.get().messages.filter(state="delivered").count() == 10


class TestWhileTheStreamWaits:
    """What is in the outbox does not wait with it."""

    @pytest.fixture(autouse=True)
    def long_pauses(self, fresh_handlers: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(loop, "_FIRST_PAUSE_S", 60)

    def test_for_its_broker(
        self, broker: ScriptedBroker, own_broker: ScriptedBroker, topic: str, group_id: str
    ) -> None:
        publish(own_broker, topic, range(5))
        with in_a_thread(with_output_on(broker, own_broker, group_id, topic)) as thread:
            until(lambda: OutboxMessage.objects.filter(state="delivered").count() == 5)
            own_broker.broker_down()
            until(lambda: thread.status.state is State.WAITING)
            OutboxMessage.objects.update(state="pending")
            until(lambda: pending() == 0)

    def test_for_its_broker_from_the_start(
        self,
        broker: ScriptedBroker,
        own_broker: ScriptedBroker,
        topic: str,
        group_id: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        publish(own_broker, topic, range(5))
        run_once(with_output_on(broker, own_broker, group_id, topic))
        monkeypatch.setattr(Intake, "cluster_id", lambda intake: intake.consumer.list_topics(timeout=0.05).cluster_id)
        OutboxMessage.objects.update(state="pending")
        own_broker.broker_down()
        with in_a_thread(with_output_on(broker, own_broker, group_id, topic)):
            until(lambda: pending() == 0)

    def test_for_a_service_that_the_step_asks(
        self, broker: ScriptedBroker, topic: str, group_id: str, steps: Any
    ) -> None:
        publish(broker, topic, range(5))
        run_once(stream(broker, group_id, topic, "Corrector"))
        OutboxMessage.objects.update(state="pending")
        steps.trouble.append(raising(LookUpUnavailable("the catalogue is down"), n=6))
        send(broker, topic, range(5, 10))
        with in_a_thread(stream(broker, group_id, topic, "Corrector")) as thread:
            until(lambda: thread.status.state is State.WAITING)
            OutboxMessage.objects.update(state="pending")
            until(lambda: pending() == 0)


class TestHousekeeping:
    def test_what_was_delivered_days_ago_is_forgotten(self, broker: ScriptedBroker, topic: str, group_id: str) -> None:
        publish(broker, topic, range(4))
        run_once(stream(broker, group_id, topic, "Corrector"))
        long_ago = timezone.now() - timedelta(days=8)
        rows = list(OutboxMessage.objects.order_by("pk"))
        OutboxMessage.objects.filter(pk__in=[rows[0].pk, rows[1].pk]).update(delivered=long_ago, created=long_ago)
        OutboxMessage.objects.filter(pk=rows[1].pk).update(state="refused")
        gone = {days: Outlet.objects.create(name=f"test: removed.Step{days}", keep_days=days) for days in (7, 30)}
        for outlet in gone.values():
            store(outlet, [Output("PRODUCER_CONFIG", "out", None, b"1")], [])
        OutboxMessage.objects.filter(outlet__in=gone.values()).update(state="delivered", delivered=long_ago)
        run_once(stream(broker, group_id, topic, "Corrector", OUTBOX_DAYS=5))
        assert [outlet.messages.count() for outlet in gone.values()] == [0, 1]
        assert Outlet.objects.get(name="test: tests.steps.steps.Corrector").keep_days == 5
        gone[30].messages.all().delete()
        assert list(OutboxMessage.objects.order_by("pk").values_list("pk", flat=True)) == [row.pk for row in rows[1:]]

    def test_alerts_do_not_wait_for_a_million_rows(
        self, topic: str, group_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Some are deleted in every turn of the stream, the oldest first, until none is left."""
        outlets = [Outlet.objects.create(name=f"test: removed.Step{n}", keep_days=7) for n in range(2)]
        for outlet in outlets:
            store(outlet, [Output("PRODUCER_CONFIG", "out", None, b"1")] * 6, [])
        for days, row in enumerate(OutboxMessage.objects.order_by("pk"), start=8):
            row.state, row.delivered = "delivered", timezone.now() - timedelta(days=days)
            row.save()
        source = make("127.0.0.1:1", group_id, {topic: "one"})
        monkeypatch.setattr(delivery_signals, "_AT_ONCE", 2)
        monkeypatch.setattr(hourly, "_AT_MOST_S", 0.0)
        monkeypatch.setattr(hourly, "_AT_A_TURN_S", 0.0)
        work = Hourly(source, ErrorMemory(Status("test")))
        work.begin()
        oldest = max(outlets[0].messages.values_list("pk", flat=True))
        for left in (10, 8, 6, 4):
            assert not work.is_done
            work.go_on()
            assert OutboxMessage.objects.count() == left
            assert not OutboxMessage.objects.filter(pk=oldest).exists()
        while not work.is_done:
            work.go_on()
        assert not OutboxMessage.objects.exists()

    def test_a_check_tells_what_is_late_and_what_was_refused(
        self, broker: ScriptedBroker, topic: str, group_id: str
    ) -> None:
        publish(broker, topic, range(4))
        run_once(stream(broker, group_id, topic, "Corrector"))
        assert not check_outbox(databases=["default"])
        rows = list(OutboxMessage.objects.all())
        OutboxMessage.objects.filter(pk=rows[0].pk).update(state="refused")
        OutboxMessage.objects.filter(pk__in=[rows[1].pk, rows[2].pk]).update(
            state="pending", created=timezone.now() - timedelta(hours=2)
        )
        found = {finding.id: finding.msg for finding in check_outbox(databases=["default"])}
        assert found["apf_bridge.W001"].startswith("2 messages of test: tests.steps.steps.Corrector are not on their")
        assert found["apf_bridge.W002"].startswith("1 messages of test")
        assert not check_outbox()

    def test_a_growing_outbox_is_told(
        self,
        broker: ScriptedBroker,
        topic: str,
        group_id: str,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr(publisher, "MANY", 5)
        publish(broker, topic, range(10))
        run_once(stream(broker, group_id, topic, "Corrector"))
        Publisher("test: tests.steps.steps.Corrector", {}).end()
        assert "has grown to" not in caplog.text
        OutboxMessage.objects.update(state="pending")
        Publisher("test: tests.steps.steps.Corrector", {}).turn()
        assert "has grown to 10 messages" in caplog.text

    def test_messages_of_a_producer_that_settings_no_longer_name_wait(
        self, broker: ScriptedBroker, topic: str, group_id: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        publish(broker, topic, range(2))
        run_once(stream(broker, group_id, topic, "Corrector"))
        OutboxMessage.objects.update(state="pending")
        Publisher("test: tests.steps.steps.Corrector", {}).turn()
        assert pending() == 2
        assert "which the step does not have now: they wait until it does" in caplog.text
