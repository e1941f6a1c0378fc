"""Steps of APF on our delivery: what a batch puts out is committed with it, and comes to the broker."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connections, transaction
from django.utils import timezone

import apf_bridge
from apf_bridge import publisher
from apf_bridge.checks import check_outbox
from apf_bridge.models import OutboxMessage, Outlet
from apf_bridge.publisher import Publisher
from tests.brokers import ScriptedBroker
from tests.marks import CORE_AND_STEPS
from tests.steps import consumed
from tests.streams import counts, in_a_thread, make, next_offset, run_once
from tom_alertstreams.alertstreams.alertstream import AlertStream, get_alert_streams
from tom_alertstreams.models import DeadLetter
from tom_alertstreams.testing import make_alert

pytestmark = [CORE_AND_STEPS, pytest.mark.both_databases, pytest.mark.usefixtures("fresh_handlers")]

SCHEMA = Path(__file__).parent.parent / "steps" / "output.avsc"
STEPS = {"1": "EarlyClassifier", "2": "Corrector", "6": "Prober"}


@pytest.fixture(autouse=True)
def steps() -> Iterator[Any]:
    apf_bridge.install()
    from tests.steps import steps

    steps.reset()
    yield steps
    steps.reset()
    apf_bridge.shims.uninstall()


def config(broker: ScriptedBroker, topic: str, output: str, **consumer: Any) -> dict[str, Any]:
    """The STEP_CONFIG of a step, as its settings.py would have it."""
    params = {"bootstrap.servers": broker.bootstrap_servers, "message.timeout.ms": 5000}
    producer = {"CLASS": "apf.producers.KafkaProducer", "PARAMS": params, "SCHEMA_PATH": str(SCHEMA)}
    return {
        "CONSUMER_CONFIG": {
            "CLASS": "apf.consumers.KafkaConsumer",
            "PARAMS": {"bootstrap.servers": broker.bootstrap_servers, "group.id": "theirs"},
            "TOPICS": [topic],
            "consume.messages": 7,
            **consumer,
        },
        "PRODUCER_CONFIG": {**producer, "TOPIC": output},
        "SCRIBE_PRODUCER_CONFIG": {**producer, "TOPIC": f"{output}-scribe"},
    }


def stream(broker: ScriptedBroker, group_id: str, topic: str, step: str, **options: Any) -> AlertStream:
    given = {"STEP": f"tests.steps.steps.{step}", "STEP_CONFIG": config(broker, topic, f"{topic}-out"), **options}
    return make(
        broker.bootstrap_servers, group_id, {topic: {"HANDLER": "apf_bridge.handlers.run_step", "OPTIONS": given}}
    )


def publish(broker: ScriptedBroker, topic: str, numbers: range) -> None:
    broker.create_topic(topic)
    for number in numbers:
        broker.produce(topic, json.dumps({"oid": f"ZTF{number % 3}", "n": number, "candid": number}))
    broker.flush()


class TestTheThreeContracts:
    @pytest.mark.parametrize("contract", STEPS)
    def test_what_a_step_puts_out_comes_to_the_broker_once(
        self, broker: ScriptedBroker, topic: str, group_id: str, contract: str
    ) -> None:
        publish(broker, topic, range(30))
        run_once(stream(broker, group_id, topic, STEPS[contract]))
        taken = [n for n in range(30) if contract != "6" or n % 10 != 9]
        found = consumed(broker, f"{topic}-out", len(taken))
        assert sorted(message.content["n"] for message in found) == taken
        assert all(message.key == message.content["oid"].encode() for message in found)
        assert len({message.id for message in found}) == len(taken)
        assert not OutboxMessage.objects.exclude(state="delivered").exists()
        assert counts() == {"done": 30}
        assert next_offset(group_id, topic) == 30
        if contract == "6":
            assert len(consumed(broker, f"{topic}-out-scribe", len(taken))) == len(taken)

    @pytest.mark.parametrize("contract", STEPS)
    def test_order_of_a_key_is_kept(self, broker: ScriptedBroker, topic: str, group_id: str, contract: str) -> None:
        publish(broker, topic, range(30))
        run_once(stream(broker, group_id, topic, STEPS[contract]))
        found = consumed(broker, f"{topic}-out", 27)
        for key in {message.key for message in found}:
            numbers = [message.content["n"] for message in found if message.key == key]
            assert numbers == sorted(numbers)


class Killed(BaseException):
    """As a process is killed: nothing catches it."""


def pending() -> int:
    return OutboxMessage.objects.filter(state="pending").count()


def raising(error: BaseException, stage: str = "execute", n: int = 5) -> Callable[[str, list[dict[str, Any]]], None]:
    """Trouble in one stage with one message."""

    def trouble(at: str, messages: list[dict[str, Any]]) -> None:
        if at == stage and any(message.get("n") == n for message in messages):
            raise error

    return trouble


class TestABatchIsOneUnit:
    def test_a_batch_that_dies_before_its_commit_puts_nothing_out(
        self, broker: ScriptedBroker, topic: str, group_id: str, steps: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Killed after the outbox was written."""
        publish(broker, topic, range(10))
        from apf_bridge import handlers

        store = handlers.store

        def store_and_die(*args: Any) -> None:
            store(*args)
            raise Killed

        monkeypatch.setattr(handlers, "store", store_and_die)
        with pytest.raises(Killed):
            run_once(stream(broker, group_id, topic, "Corrector"))
        assert (OutboxMessage.objects.count(), next_offset(group_id, topic)) == (0, 0)
        monkeypatch.undo()
        run_once(stream(broker, group_id, topic, "Corrector"))
        found = consumed(broker, f"{topic}-out", 10)
        assert sorted(message.content["n"] for message in found) == list(range(10))

    def test_the_outbox_is_written_before_the_commit(
        self, broker: ScriptedBroker, topic: str, group_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A process that dies right after the commit of the offsets has lost no output."""
        publish(broker, topic, range(5))
        made = stream(broker, group_id, topic, "Corrector")
        handler = made.bindings[topic].handler  # type: ignore[attr-defined]
        alerts = [make_alert({"oid": "ZTF1", "n": 1})]
        with transaction.atomic():
            handler.function(alerts, options=handler.options)
            assert OutboxMessage.objects.count() == 1

    @pytest.mark.parametrize("contract", STEPS)
    def test_a_poison_message_becomes_a_dead_letter_and_the_rest_runs(
        self, broker: ScriptedBroker, topic: str, group_id: str, steps: Any, contract: str
    ) -> None:
        publish(broker, topic, range(20))
        steps.trouble.append(raising(KeyError("oid"), n=10))  # in the second call of the batch
        run_once(stream(broker, group_id, topic, STEPS[contract]))
        letter = DeadLetter.objects.get()
        assert (letter.offset, letter.error_class, letter.state) == (10, "KeyError", "open")
        found = consumed(broker, f"{topic}-out", 17)
        expected = [n for n in range(20) if n != 10 and (contract != "6" or n % 10 != 9)]
        assert sorted(message.content["n"] for message in found) == expected

    @pytest.mark.parametrize("stage", ["pre_execute", "execute", "post_execute", "pre_produce"])
    def test_the_stage_that_failed_is_named(
        self,
        broker: ScriptedBroker,
        topic: str,
        group_id: str,
        steps: Any,
        stage: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        publish(broker, topic, range(6))
        steps.trouble.append(raising(ValueError("no such band"), stage))
        run_once(stream(broker, group_id, topic, "Corrector"))
        assert DeadLetter.objects.get().offset == 5
        assert f"failed in {stage}: ValueError: no such band" in caplog.text

    def test_sys_exit_in_a_step_is_the_failure_of_its_message(
        self, broker: ScriptedBroker, topic: str, group_id: str, steps: Any
    ) -> None:
        publish(broker, topic, range(6))
        steps.trouble.append(raising(SystemExit(1)))
        run_once(stream(broker, group_id, topic, "Corrector"))
        assert DeadLetter.objects.get().error_class == "HandlerExit"
        assert counts()["done"] == 5

    def test_a_second_try_gets_what_the_first_one_got(
        self, broker: ScriptedBroker, topic: str, group_id: str, steps: Any
    ) -> None:
        """Corrector takes oid out of its messages; after a failure in a later stage they have it again."""
        publish(broker, topic, range(6))
        steps.trouble.append(raising(ValueError("late"), "pre_produce"))
        run_once(stream(broker, group_id, topic, "Corrector"))
        assert DeadLetter.objects.get().error_class == "ValueError"
        assert len(consumed(broker, f"{topic}-out", 5)) == 5

    def test_what_is_no_record_fails_alone(self, broker: ScriptedBroker, topic: str, group_id: str) -> None:
        publish(broker, topic, range(3))
        broker.produce(topic, b"a circular in plain text")
        broker.flush()
        run_once(stream(broker, group_id, topic, "Corrector"))
        assert "a step takes dicts" in DeadLetter.objects.get().error
        assert counts()["done"] == 3


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
        monkeypatch.setattr(publisher, "_FIRST_PAUSE_S", 0.1)
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

    def test_one_process_at_a_time_sends_for_a_step(
        self, broker: ScriptedBroker, topic: str, group_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        publish(broker, topic, range(10))
        other = Publisher("test: tests.steps.steps.Corrector", {})
        assert other._hold(time.monotonic())
        monkeypatch.setattr(publisher, "END_S", 0.5)
        run_once(stream(broker, group_id, topic, "Corrector"))
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
        run_once(stream(broker, group_id, topic, "Corrector"))
        assert pending() == 0


class TestMetrics:
    def test_they_are_sent_after_the_commit(
        self, broker: ScriptedBroker, topic: str, group_id: str, steps: Any
    ) -> None:
        publish(broker, topic, range(10))
        steps.trouble.append(raising(KeyError("oid")))
        run_once(with_metrics(broker, group_id, topic))
        assert [sent["in_transaction"] for sent in steps.metrics] == [False] * len(steps.metrics)
        counted = [n for sent in steps.metrics for n in sent["n"]]
        assert sorted(counted) == [n for n in range(10) if n != 5]
        assert {"timestamp_received", "timestamp_sent", "execution_time", "n_messages"} <= set(steps.metrics[0])

    def test_who_does_not_take_them_fails_no_batch(
        self, broker: ScriptedBroker, topic: str, group_id: str, steps: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        publish(broker, topic, range(5))
        steps.metrics_trouble.append(OSError("no route to metrics"))
        run_once(with_metrics(broker, group_id, topic))
        assert counts() == {"done": 5}
        assert len(consumed(broker, f"{topic}-out", 5)) == 5
        assert "no route to metrics" in caplog.text


class TestWhatAStepReturns:
    @pytest.mark.parametrize("kind", ["none", "dict", "generator", "empty"])
    def test_it_may_be(self, broker: ScriptedBroker, topic: str, group_id: str, steps: Any, kind: str) -> None:
        publish(broker, topic, range(3))
        steps.answer.append(kind)
        run_once(stream(broker, group_id, topic, "Answering"))
        assert counts() == {"done": 3}
        assert OutboxMessage.objects.filter(state="delivered").count() == (0 if kind in ("none", "empty") else 1)


class TestStepAlertStream:
    def test_a_settings_py_of_apf_runs_as_it_is(self, broker: ScriptedBroker, topic: str, tmp_path: Path) -> None:
        daily = [f"{topic}_20261231", f"{topic}_20270101"]
        for day in daily:
            publish(broker, day, range(5))
        given = config(broker, topic, f"{topic}-out")
        given["CONSUMER_CONFIG"] |= {
            "TOPICS": [],
            "TOPIC_STRATEGY": {
                "CLASS": "apf.core.topic_management.DailyTopicStrategy",
                "PARAMS": {"topic_format": f"{topic}_%s"},
            },
        }
        (tmp_path / "settings.py").write_text(f"STEP_CONFIG = {given!r}")
        options = {
            "STEP": "tests.steps.steps.Corrector",
            "STEP_CONFIG": str(tmp_path / "settings.py"),
            "CONFIG": {**ScriptedBroker.CONSUMER_CONFIG},
        }
        entry = {"NAME": "apf_bridge.streams.StepAlertStream", "LABEL": "test", "OPTIONS": options}
        run_once(get_alert_streams([entry])[0])
        assert counts() == {"done": 10}
        assert next_offset("theirs", daily[0]) == 5
        assert len(consumed(broker, f"{topic}-out", 10)) == 10


class TestHousekeeping:
    def test_what_was_delivered_days_ago_is_forgotten(self, broker: ScriptedBroker, topic: str, group_id: str) -> None:
        publish(broker, topic, range(4))
        run_once(stream(broker, group_id, topic, "Corrector"))
        long_ago = timezone.now() - timedelta(days=8)
        rows = list(OutboxMessage.objects.order_by("pk"))
        OutboxMessage.objects.filter(pk__in=[rows[0].pk, rows[1].pk]).update(delivered=long_ago, created=long_ago)
        OutboxMessage.objects.filter(pk=rows[1].pk).update(state="refused")
        run_once(stream(broker, group_id, topic, "Corrector"))
        assert list(OutboxMessage.objects.order_by("pk").values_list("pk", flat=True)) == [row.pk for row in rows[1:]]

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
        assert "which STEP_CONFIG no longer names" in caplog.text


def with_metrics(broker: ScriptedBroker, group_id: str, topic: str) -> AlertStream:
    metrics = {"CLASS": "tests.steps.steps.NotingMetrics", "PARAMS": {}, "EXTRA_METRICS": ["n"]}
    given = {**config(broker, topic, f"{topic}-out"), "METRICS_CONFIG": metrics}
    return stream(broker, group_id, topic, "Corrector", STEP_CONFIG=given)


def with_output_on(
    output: ScriptedBroker, broker: ScriptedBroker, group_id: str, topic: str, step: str = "Corrector"
) -> AlertStream:
    given = config(broker, topic, f"{topic}-out")
    given["PRODUCER_CONFIG"] = config(output, topic, f"{topic}-out")["PRODUCER_CONFIG"]
    given["PRODUCER_CONFIG"]["PARAMS"] |= {"reconnect.backoff.max.ms": 200}
    return stream(broker, group_id, topic, step, STEP_CONFIG=given)


def until(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
        connections["default"].close_if_unusable_or_obsolete()
