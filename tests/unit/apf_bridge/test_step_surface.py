"""What steps find on themselves, and what of GenericStep they override."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any
from unittest import mock

import pytest

from apf_bridge.compat.consumers import GenericConsumer
from apf_bridge.compat.core.parts import make_step
from apf_bridge.compat.metrics import GenericMetricsProducer
from apf_bridge.compat.producers import GenericProducer

from .parts import CALLS, SENT, Step1, Step2, Step6, config

MESSAGE = {"oid": "ZTF1", "candid": 2454460970015010006}
STEPS: dict[str, Any] = {"1": Step1, "2": Step2, "6": Step6}


@pytest.fixture(autouse=True)
def nothing_noted() -> None:
    CALLS.clear()
    SENT.clear()


@pytest.mark.parametrize("contract", STEPS)
def test_its_attributes(contract: str) -> None:
    own = config(MESSAGE)
    step = make_step(STEPS[contract], own)
    assert step.contract == contract
    for name, kind in (
        ("consumer", GenericConsumer),
        ("producer", GenericProducer),
        ("metrics_sender", GenericMetricsProducer),
        ("metrics", dict),
        ("extra_metrics", list),
        ("commit", bool),
        ("logger", logging.Logger),
    ):
        assert isinstance(getattr(step, name), kind), name
    assert step.config is own
    assert (step.consumer_config, step.producer_config) == (own["CONSUMER_CONFIG"], own["PRODUCER_CONFIG"])
    assert (step.metrics_config, step.metrics_producer_params) == (own["METRICS_CONFIG"], {"any": 1})
    assert step.extra_metrics == ["candid"]
    assert step.logger.name == (type(step).__name__ if contract == "1" else f"alerce.{type(step).__name__}")
    for name in ("consumed_messages", "processed_messages", "execution_time"):
        getattr(step.prometheus_metrics, name).observe(1)


@pytest.mark.parametrize("contract", STEPS)
def test_the_message_in_hand(contract: str) -> None:
    seen = []

    class Looks(STEPS[contract]):  # type: ignore[misc]
        def execute(self, message: Any) -> Any:
            seen.append((self.message, type(self.metrics["timestamp_received"])))
            return []

    make_step(Looks, config(MESSAGE, [MESSAGE, MESSAGE])).start()
    first = MESSAGE if contract == "1" else [MESSAGE]
    assert seen == [(first, datetime), ([MESSAGE, MESSAGE], datetime)]


@pytest.mark.parametrize("contract", ["2", "6"])
def test_underscored_methods_are_overridden(contract: str) -> None:
    """Each notes its name and goes on as it was."""
    names = ("pre_consume", "pre_execute", "post_execute", "pre_produce", "post_produce", "tear_down", "write_success")

    def noting(name: str) -> Any:
        def method(self: Any, *args: Any) -> Any:
            CALLS.append(name)
            return getattr(STEPS[contract], name)(self, *args)

        return method

    step = type("Own", (STEPS[contract],), {f"_{name}": noting(f"_{name}") for name in names})
    step(config(MESSAGE)).start()
    assert [call for call in CALLS if call.startswith("_")] == [f"_{name}" for name in names]
    for name in names[:-1]:
        assert CALLS.index(f"_{name}") < CALLS.index(name)


@pytest.mark.parametrize("contract", ["2", "6"])
def test_how_its_parts_are_chosen_is_overridden(contract: str) -> None:
    class Chooses(STEPS[contract]):  # type: ignore[misc]
        def _get_consumer(self, default: Any) -> Any:
            return mock.Mock(name="consumer")

        def _get_producer(self, default: Any) -> Any:
            return mock.Mock(name="producer")

        def _get_metrics_sender(self, default: Any) -> Any:
            return mock.Mock(name="sender")

        def _set_logger(self, level: int) -> None:
            self.logger = mock.Mock(name="logger")

    step = Chooses(config())
    for part in (step.consumer, step.producer, step.metrics_sender, step.logger):
        assert isinstance(part, mock.Mock)


@pytest.mark.parametrize("contract", ["2", "6"])
def test_produce_is_overridden(contract: str) -> None:
    class Produces(STEPS[contract]):  # type: ignore[misc]
        def produce(self, result: Any) -> None:
            for one in result:
                self.producer.produce(one, key=one["oid"])

    Produces(config(MESSAGE)).start()
    assert f"deliver {MESSAGE} {{'key': 'ZTF1'}}" in CALLS
    assert CALLS.index("flush") < CALLS.index("commit")


@pytest.mark.parametrize("contract", ["2", "6"])
def test_every_hook_gets_what_the_one_before_it_returned(contract: str) -> None:
    got: dict[str, Any] = {}

    def adds(hook: str) -> Any:
        def method(self: Any, given: Any) -> Any:
            got[hook] = list(given)
            return [*given, {"by": hook}]

        return method

    hooks = ("pre_execute", "execute", "post_execute", "pre_produce")
    type("Chain", (STEPS[contract],), {hook: adds(hook) for hook in hooks})(config(MESSAGE)).start()
    for n, hook in enumerate(hooks):
        assert got[hook] == [MESSAGE, *({"by": name} for name in hooks[:n])]
    assert len([call for call in CALLS if call.startswith("deliver")]) == 5
    assert SENT[0]["n_messages"] == 1  # of the input, not of what became of it


class TestAsTheirTestsCallIt:
    """APF's own tests run a step with mocks in place of its parts."""

    @pytest.mark.parametrize("contract", ["2", "6"])
    @pytest.mark.parametrize("result", [{"n": 1}, [{"n": 1}], ({"n": n} for n in (1, 2)), ()])
    def test_start(self, contract: str, result: Any) -> None:
        step = STEPS[contract](config())
        step.consumer = mock.MagicMock()
        step.consumer.consume.return_value = [{"in": 1}]
        step.producer, step._write_success = mock.MagicMock(), mock.MagicMock()
        step.execute = mock.MagicMock(return_value=result)
        step.start()
        step.execute.assert_called_once_with([{"in": 1}])
        step._write_success.assert_called_once_with()
        step.consumer.commit.assert_called_once_with()

    @pytest.mark.parametrize("contract", ["2", "6"])
    def test_post_execute(self, contract: str) -> None:
        step = STEPS[contract](config())
        step.metrics_sender, step.post_execute = mock.MagicMock(), mock.MagicMock(return_value="final")
        step._pre_execute(MESSAGE)
        assert step._post_execute("result") == "final"
        step.post_execute.assert_called_once_with("result")
        [sent] = [call.args[0] for call in step.metrics_sender.send_metrics.call_args_list]
        assert sent["timestamp_sent"] is step.metrics["timestamp_sent"]
        assert ("source" in sent, "survey" in sent) == (True, contract == "6")

    @pytest.mark.parametrize("contract", ["2", "6"])
    def test_with_a_producer(self, contract: str) -> None:
        with mock.patch("apf.core.step.get_class", return_value=mock.MagicMock()) as found:
            step = STEPS[contract](config())
        step.produce([{"n": 1}, {"n": 2}])
        assert [call.args for call in step.producer.produce.call_args_list] == [({"n": 1},), ({"n": 2},)]
        assert step.producer is found.return_value.return_value
