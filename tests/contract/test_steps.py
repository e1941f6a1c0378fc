"""Steps of APF on our delivery: what a batch puts out is committed with it, and comes to the broker."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import prometheus_client
import pytest
from django.db import transaction

from apf_bridge.compat.metrics.prometheus import prometheus
from apf_bridge.models import OutboxMessage
from tests.brokers import ScriptedBroker
from tests.contract.running_steps import (
    STEPS,
    Killed,
    config,
    publish,
    raising,
    stream,
    with_metrics,
)
from tests.marks import CORE_AND_STEPS
from tests.steps import consumed
from tests.streams import QUICK_RETRY, counts, next_offset, run_once
from tom_alertstreams.alertstreams.alertstream import get_alert_streams
from tom_alertstreams.models import DeadLetter
from tom_alertstreams.testing import make_alert

pytestmark = [CORE_AND_STEPS, pytest.mark.both_databases, pytest.mark.usefixtures("steps", "fresh_handlers")]


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


class TestPrometheus:
    @pytest.fixture
    def port(self) -> Iterator[int]:
        """A port of this test's own."""
        with socket.socket() as free:
            free.bind(("", 0))
            port: int = free.getsockname()[1]
        yield port
        server, thread = prometheus._serve(port)
        server.shutdown()
        server.server_close()
        thread.join()
        prometheus._serve.cache_clear()

    def test_it_finds_what_is_committed(
        self, broker: ScriptedBroker, topic: str, group_id: str, steps: Any, port: int
    ) -> None:
        """A batch that fails and is tried in parts is not counted twice."""
        publish(broker, topic, range(10))
        steps.trouble.append(raising(KeyError("oid")))
        before = {name: summed(name) for name in ("consumed_messages", "processed_messages")}
        run_once(stream(broker, group_id, topic, "Corrector", PROMETHEUS_PORT=port))
        with urlopen(f"http://localhost:{port}/metrics") as answer:
            text = answer.read().decode()
        for name, amount in before.items():
            assert f"\n{name}_sum {amount + 9}\n" in text
        labels = 'step="tests.steps.steps.Corrector",stream="test"'
        assert f'\napf_step_messages_total{{outcome="done",{labels}}} 9.0\n' in text
        tries = QUICK_RETRY["TOTAL"]
        assert f'\napf_step_messages_total{{outcome="failed",{labels}}} {tries}.0\n' in text

    def test_a_port_that_is_taken_stops_no_stream(
        self, broker: ScriptedBroker, topic: str, group_id: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        publish(broker, topic, range(3))
        with socket.socket() as taken:
            taken.bind(("", 0))
            taken.listen()
            run_once(stream(broker, group_id, topic, "Corrector", PROMETHEUS_PORT=taken.getsockname()[1]))
        assert counts() == {"done": 3}
        assert "Prometheus finds nothing of tests.steps.steps.Corrector" in caplog.text


def summed(name: str) -> float:
    """What a summary of this process has counted."""
    return prometheus_client.REGISTRY.get_sample_value(f"{name}_sum") or 0.0


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
