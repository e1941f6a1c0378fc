"""The life cycle of a step, contract by contract."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from apf_bridge.compat.core import life_cycle
from apf_bridge.compat.core.parts import Parts, make_step
from apf_bridge.compat.core.step import DefaultConsumer, DefaultMetricsProducer, DefaultProducer, GenericStep
from apf_bridge.compat.producers.generic import CollectingProducer

from .parts import CALLS, SENT, Hooks, ListConsumer, NotingMetrics, NotingProducer, Step1, Step2, Step6, config

MESSAGE = {"oid": "ZTF1", "candid": 2454460970015010006}


@pytest.fixture(autouse=True)
def nothing_noted() -> None:
    CALLS.clear()
    SENT.clear()


class Plain(GenericStep):
    def execute(self, messages: Any) -> Any:
        return messages


def run(step: GenericStep) -> list[str]:
    step.start()
    return CALLS


class TestTheOrderOfHooks:
    def test_2x(self) -> None:
        assert run(Step2(config({"n": 1}))) == [
            "pre_consume",
            "consume",
            "pre_execute",
            "execute [{'n': 1}]",
            "post_execute",
            "pre_produce",
            "deliver {'n': 1}",
            "flush",
            "post_produce",
            "commit",
            "send_metrics",
            "tear_down",
        ]

    def test_6x(self) -> None:
        assert run(Step6(config([{"n": 1}, {"n": 2}]))) == [
            "pre_consume",
            "consume",
            "pre_execute",
            "execute [{'n': 1}, {'n': 2}]",
            "post_execute",
            "pre_produce",
            "deliver {'n': 1} {'flush': False}",
            "deliver {'n': 2} {'flush': True}",
            "flush",
            "post_produce",
            "commit",
            "send_metrics",
            "tear_down",
        ]

    def test_1x(self) -> None:
        step = make_step(Step1, config({"n": 1}, [{"n": 2}, {"n": 3}]))
        assert run(step) == [
            "consume",
            "execute {'n': 1}",
            "deliver {'n': 1}",
            "flush",
            "commit",
            "send_metrics",
            "execute [{'n': 2}, {'n': 3}]",
            "deliver [{'n': 2}, {'n': 3}]",
            "flush",
            "commit",
            "send_metrics",
        ]

    def test_legacy_2x_commits_before_it_produces(self) -> None:
        calls = run(Step2(config({"n": 1}, COMMIT_ORDER="legacy")))
        assert calls.count("commit") == 1
        assert calls.index("pre_produce") + 1 == calls.index("commit") == calls.index("deliver {'n': 1}") - 1

    def test_legacy_1x_commits_after_execute(self) -> None:
        calls = run(make_step(Step1, config({"n": 1}, COMMIT_ORDER="legacy")))
        assert calls == ["consume", "execute {'n': 1}", "deliver {'n': 1}", "commit", "flush", "send_metrics"]

    def test_an_order_that_is_none_is_refused(self) -> None:
        with pytest.raises(ValueError, match="after_produce"):
            Step2(config({}, COMMIT_ORDER="first"))

    @pytest.mark.parametrize("step", [Step2, Step6])
    def test_no_commit_with_commit_off(self, step: Any) -> None:
        assert "commit" not in run(step(config({"n": 1}, COMMIT=False)))

    def test_the_output_of_every_producer_is_waited_for(self) -> None:
        class Two(Step2):
            def __init__(self, config: Any) -> None:
                super().__init__(config)
                self.others = [NotingProducer({})]
                self.named = {"one": NotingProducer({})}

        calls = run(Two(config({"n": 1})))
        assert calls.count("flush") == 3
        assert calls.index("commit") > max(n for n, call in enumerate(calls) if call == "flush")


class TestContracts:
    def test_each_by_its_constructor(self) -> None:
        assert make_step(Step1, config()).contract == "1"
        assert make_step(Step2, config()).contract == "2"
        assert make_step(Step6, config()).contract == "6"

    def test_a_step_without_constructor_is_of_2x_unless_its_producer_has_a_schema_file(self) -> None:
        assert Plain(config=config()).contract == "2"
        own = {"CLASS": "tests.unit.apf_bridge.parts.NotingProducer", "SCHEMA_PATH": "any.avsc"}
        assert Plain(config=config(PRODUCER_CONFIG=own)).contract == "6"

    def test_a_class_with_a_consumer_and_hooks_is_not_of_1x(self) -> None:
        class WithConsumer(Hooks):
            def __init__(self, consumer: Any = None, config: Any = None) -> None:
                super().__init__(consumer, config=config)

        assert make_step(WithConsumer, config()).contract == "2"

    def test_the_config_goes_before_the_class_and_the_class_before_the_signature(self) -> None:
        class Named(Step6):
            contract = "2"

        assert make_step(Named, config()).contract == "2"
        assert make_step(Named, config(CONTRACT="6")).contract == "6"
        with pytest.raises(ValueError, match='"1", "2" or "6"'):
            make_step(Named, config(CONTRACT="3"))

    def test_arguments_by_position(self) -> None:
        one = Plain(ListConsumer({"MESSAGES": []}), logging.DEBUG, {"COMMIT": False})
        assert (one.contract, one.commit, one.logger.name) == ("1", False, "Plain")
        two = Plain(ListConsumer, NotingProducer, NotingMetrics, {"CONSUMER_CONFIG": {"MESSAGES": []}})
        assert (two.contract, type(two.consumer), type(two.producer)) == ("2", ListConsumer, NotingProducer)
        assert two.logger.name == "alerce.Plain"

    def test_level_is_taken_in_2x_whose_own_template_passes_it(self) -> None:
        assert Plain(config=config(), level=logging.ERROR).logger.level == logging.ERROR

    def test_unknown_arguments(self) -> None:
        with pytest.raises(TypeError, match="colour"):
            Plain(config=config(), colour=1)
        Plain(ListConsumer({}), config={}, colour=1)  # 1.x takes any


class TestConfig:
    def test_defaults(self) -> None:
        step = Plain(config={"CONSUMER_CONFIG": {"any": 1}})
        assert type(step.consumer) is DefaultConsumer
        assert type(step.producer) is DefaultProducer
        assert type(step.metrics_sender) is DefaultMetricsProducer
        assert list(step.consumer.consume()) == [{}]

    def test_without_consumer_config(self) -> None:
        with pytest.raises(KeyError):
            Plain(config={})
        with pytest.raises(Exception, match="Could not find CONSUMER_CONFIG"):
            Plain(config={"CONSUMER_CONFIG": {}})

    def test_steps_do_not_share_a_config(self) -> None:
        a, b = Plain(ListConsumer({})), Plain(ListConsumer({}))
        assert a.config is not b.config

    def test_parts_of_somebody_else(self) -> None:
        class Closed(Hooks):
            """Its constructor takes nothing but the config."""

            def __init__(self, config: Any) -> None:
                super().__init__(config=config)

        producer = CollectingProducer()
        step = make_step(Closed, {}, Parts(consumer=DefaultConsumer({}), producer=producer))
        step.set_producer_key_field("oid")
        prepared = life_cycle.prepare(step, [MESSAGE])
        assert not producer.collected
        life_cycle.produce(step, prepared)
        life_cycle.finish(step)
        assert producer.collected == [("ZTF1", MESSAGE)]
        with pytest.raises(KeyError):  # for that step alone
            Closed({})


class TestResults:
    @pytest.mark.parametrize("step", [Step2, Step6])
    def test_a_dict_and_a_generator_are_produced(self, step: Any) -> None:
        class Dict(step):  # type: ignore[misc]
            def pre_produce(self, result: Any) -> Any:
                return {"n": 2}

        class Generator(step):  # type: ignore[misc]
            def pre_produce(self, result: Any) -> Any:
                yield from ({"n": n} for n in (3, 4))

        made = [call[:16] for kind in (Dict, Generator) for call in run(kind(config({}))) if call.startswith("deliver")]
        assert made[:1] + made[-2:] == ["deliver {'n': 2}", "deliver {'n': 3}", "deliver {'n': 4}"]

    @pytest.mark.parametrize("step", [Step2, Step6])
    def test_none_is_an_error_and_not_committed(self, step: Any) -> None:
        class Nothing(step):  # type: ignore[misc]
            def execute(self, messages: Any) -> Any:
                return None

        with pytest.raises(TypeError, match=r"'NoneType' object is not iterable.*Return \[\]"):
            run(Nothing(config({})))
        assert "commit" not in CALLS

    def test_of_1x_are_ignored(self) -> None:
        assert "commit" in run(make_step(Step1, config({})))

    def test_6x_skips_a_batch_of_which_nothing_is_left(self) -> None:
        class Filters(Step6):
            def pre_execute(self, messages: Any) -> Any:
                return [message for message in messages if message["n"] > 1]

        calls = run(Filters(config({"n": 1}, {"n": 2})))
        assert [call for call in calls if call.startswith("execute")] == ["execute [{'n': 2}]"]
        assert (calls.count("commit"), len(SENT)) == (1, 1)

    def test_2x_does_not(self) -> None:
        class Filters(Step2):
            def pre_execute(self, messages: Any) -> Any:
                return []

        assert "execute []" in run(Filters(config({})))

    def test_success_is_written_at_the_end(self) -> None:
        run(Step2(config({})))
        assert Path("__SUCCESS__").read_text() == ""

    def test_stop_ends_after_the_batch_in_hand(self) -> None:
        class Stops(Step2):
            def post_produce(self) -> None:
                self.stop()

        calls = run(Stops(config({"n": 1}, {"n": 2})))
        assert (calls.count("commit"), calls[-1]) == (1, "tear_down")


class TestErrors:
    STAGES = ("pre_consume", "pre_execute", "execute", "post_execute", "pre_produce", "post_produce", "tear_down")

    @pytest.mark.parametrize("contract", ["2", "6"])
    @pytest.mark.parametrize("hook", STAGES)
    def test_each_hook_fails_with_its_name(self, hook: str, contract: str, caplog: pytest.LogCaptureFixture) -> None:
        def fails(*args: Any) -> None:
            raise ZeroDivisionError("as it was")

        failing = type("Failing", (Step2,), {hook: fails})
        caplog.set_level(logging.DEBUG)
        with pytest.raises(ZeroDivisionError, match="as it was") as caught:
            run(failing(config(MESSAGE, CONTRACT=contract)))
        assert life_cycle.stage_of(caught.value) == hook
        assert ("commit" in CALLS) == (hook == "tear_down")
        assert not Path("__SUCCESS__").exists()
        if hook != "pre_consume":
            assert f"Error at {hook}" in caplog.text
        if "execute" in hook or hook == "pre_produce":
            assert "2454460970015010006" in caplog.text

    def test_in_produce(self) -> None:
        class Away(NotingProducer):
            def flush(self) -> None:
                raise ConnectionError("broker away")

        with pytest.raises(ConnectionError) as caught:
            run(make_step(Step2, config({}), Parts(producer=Away())))
        assert life_cycle.stage_of(caught.value) == "produce"
        assert "commit" not in CALLS
        assert not SENT


class TestMetrics:
    def test_of_2x(self) -> None:
        run(Step2(config(MESSAGE)))
        [sent] = SENT
        assert set(sent) == {"timestamp_received", "timestamp_sent", "execution_time", "candid", "n_messages", "source"}
        assert sent["timestamp_sent"].utcoffset() == timedelta(0)
        assert sent["execution_time"] == (sent["timestamp_sent"] - sent["timestamp_received"]).total_seconds()
        assert (sent["candid"], sent["n_messages"], sent["source"]) == ([MESSAGE["candid"]], 1, "Step2")

    def test_of_6x(self, monkeypatch: pytest.MonkeyPatch) -> None:
        run(Step6(config(MESSAGE)))
        assert (SENT[0]["source"], SENT[0]["survey"]) == ("Step6", None)
        monkeypatch.setenv("METRICS_SOURCE", "xmatch")
        monkeypatch.setenv("METRICS_SURVEY", "LSST")
        run(Step6(config(MESSAGE)))
        assert (SENT[1]["source"], SENT[1]["survey"]) == ("xmatch", "LSST")

    def test_of_1x(self) -> None:
        run(make_step(Step1, config(MESSAGE)))
        assert (SENT[0]["candid"], SENT[0]["n_messages"], SENT[0]["source"]) == (MESSAGE["candid"], 1, "Step1")

    def test_without_extra_metrics_there_is_no_count(self) -> None:
        own = {**config()["METRICS_CONFIG"], "EXTRA_METRICS": []}
        run(Step2(config(MESSAGE, METRICS_CONFIG=own)))
        assert "n_messages" not in SENT[0]

    def test_what_one_batch_set_is_not_sent_for_the_next(self) -> None:
        class Sets(Step2):
            def __init__(self, config: Any) -> None:
                super().__init__(config)
                self.metrics["always"] = 1

            def execute(self, messages: Any) -> Any:
                if messages[0]["n"] == 1:
                    self.metrics["once"] = 1
                return messages

        run(Sets(config({"n": 1}, {"n": 2})))
        assert ["once" in sent for sent in SENT] == [True, False]
        assert all(sent["always"] == 1 for sent in SENT)

    def test_a_step_sends_its_own_at_once(self) -> None:
        Step2(config()).send_metrics(compute_time=1)
        assert SENT == [{"compute_time": 1, "source": "Step2"}]

    def test_hooks_called_alone_send_at_once(self) -> None:
        step = Step2(config())
        step._pre_execute(MESSAGE)
        assert step.message == [MESSAGE]
        assert isinstance(step.metrics["timestamp_received"], datetime)
        step._post_execute(["result"])
        assert CALLS == ["pre_execute", "post_execute", "send_metrics"]


class TestExtraMetrics:
    def step(self, *extra: Any, contract: str = "2") -> GenericStep:
        own = {**config()["METRICS_CONFIG"], "EXTRA_METRICS": list(extra)}
        return Plain(config=config(METRICS_CONFIG=own, CONTRACT=contract))

    def test_of_one_message_and_of_several(self) -> None:
        step = self.step("oid", {"key": "candid", "alias": "id", "format": str})
        one = {"oid": "ZTF1", "candid": 5}
        assert step.get_extra_metrics(one) == {"oid": "ZTF1", "id": "5", "n_messages": 1}
        assert step.get_extra_metrics([one, {}]) == {"oid": ["ZTF1", None], "id": ["5", "None"], "n_messages": 2}

    def test_lists_are_flat_in_6x_only(self) -> None:
        messages = [{"candid": [1, 2]}, {"candid": 3}]
        assert self.step("candid", contract="6").get_extra_metrics(messages)["candid"] == [1, 2, 3]
        assert self.step("candid").get_extra_metrics(messages)["candid"] == [[1, 2], 3]

    def test_a_constant(self) -> None:
        assert self.step().get_value({"a": 1}, {"key": "a", "value": 2}) == ("a", 2)
        assert self.step().get_value({}, {"key": "a", "value": 2}) == ("a", 2)

    @pytest.mark.parametrize(
        ("params", "error"),
        [
            ({"alias": "a"}, KeyError),
            ({"key": "a", "alias": 1}, ValueError),
            ({"key": "a", "format": 1}, ValueError),
            (7, TypeError),
        ],
    )
    def test_what_cannot_be_read(self, params: Any, error: type[Exception]) -> None:
        with pytest.raises(error):
            self.step().get_value({}, params)
