"""A step in the hands of a stream: what is called and in what order, and what a failure leaves behind."""

from __future__ import annotations

import functools
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest
from confluent_kafka import KafkaError, KafkaException
from django.db import OperationalError

from apf_bridge import step_host
from apf_bridge.compat.core import get_class
from apf_bridge.compat.metrics.generic import GenericMetricsProducer
from apf_bridge.step_host import StepHost
from tom_alertstreams.exceptions import BrokerUnavailable, FatalStreamError
from tom_alertstreams.testing import make_alert

from .parts import CALLS, NotingMetrics, NotingProducer, Step1, Step2, Step6, config

STEPS: Final[dict[str, Any]] = {"1": Step1, "2": Step2, "6": Step6}
HOOKS: Final = ("pre_execute", "execute", "post_execute", "pre_produce", "deliver", "flush", "post_produce")
#: What happens to a batch. Offsets are the stream's.
BATCH: Final = {
    "1": ("execute", "deliver", "flush", "send_metrics"),
    "2": (*HOOKS, "flush", "send_metrics"),
    "6": (*HOOKS, "flush", "send_metrics"),
}
FIRST: Final = {"1": (), "2": ("pre_consume",), "6": ("pre_consume",)}
LAST: Final = {"1": ("flush",), "2": ("tear_down", "flush"), "6": ("tear_down", "flush")}
CASES: Final = [
    ("1", "execute"),
    *((contract, hook) for contract in ("2", "6") for hook in (*HOOKS[:4], "post_produce")),
]


@pytest.fixture(autouse=True)
def nothing_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each batch's transaction is committed as soon as the step has run."""
    CALLS.clear()
    monkeypatch.setattr(step_host, "transaction", SimpleNamespace(on_commit=lambda call: call()))


def host(step_class: Any, contract: str) -> StepHost:
    return StepHost(step_class, "own.Step", config(), contract, "stream")


def called() -> tuple[str, ...]:
    return tuple(call.split()[0] for call in CALLS)


def fails_once(contract: str, hook: str, error: BaseException) -> Any:
    """A step whose hook fails when it is called for the first time."""
    left = [error]

    def fails(self: Any, *args: Any) -> Any:
        if left:
            raise left.pop()
        return getattr(STEPS[contract], hook)(self, *args)

    return type("FailsOnce", (STEPS[contract],), {hook: fails})


@pytest.mark.parametrize("contract", STEPS)
def test_the_order_of_hooks(contract: str) -> None:
    made = host(STEPS[contract], contract)
    made.run([{"n": 1}])
    made.run([{"n": 2}])
    made.close()
    assert called() == FIRST[contract] + 2 * BATCH[contract] + LAST[contract]


@pytest.mark.parametrize("contract", STEPS)
def test_underscored_hooks_are_called_and_no_file_is_written(contract: str) -> None:
    class Own(STEPS[contract]):  # type: ignore[misc]
        def _tear_down(self) -> None:
            CALLS.append("_tear_down")
            super()._tear_down()

    made = host(Own, contract)
    made.run([{"n": 1}])
    made.close()
    assert called()[-len(LAST[contract]) - 1 :] == ("_tear_down", *LAST[contract])
    assert not Path("__SUCCESS__").exists()


@pytest.mark.parametrize("contract", STEPS)
def test_a_step_that_was_never_made_is_not_torn_down(contract: str) -> None:
    host(STEPS[contract], contract).close()
    assert not CALLS


@pytest.mark.parametrize(("contract", "hook"), CASES)
def test_a_hook_that_fails(contract: str, hook: str, caplog: pytest.LogCaptureFixture) -> None:
    made = host(fails_once(contract, hook, ZeroDivisionError("as it was")), contract)
    with pytest.raises(ZeroDivisionError, match="as it was"):
        made.run([{"n": 1}])
    assert f"stream: own.Step failed in {hook}: ZeroDivisionError: as it was" in caplog.text
    all_of_it = FIRST[contract] + BATCH[contract]
    assert called() == all_of_it[: all_of_it.index(hook)]
    CALLS.clear()
    made.run([{"n": 1}])
    assert called() == BATCH[contract]


@pytest.mark.parametrize(("contract", "hook"), CASES)
def test_a_hook_that_calls_sys_exit(contract: str, hook: str) -> None:
    made = host(fails_once(contract, hook, SystemExit(1)), contract)
    with pytest.raises(SystemExit):  # the delivery makes a failure of it
        made.run([{"n": 1}])
    made.run([{"n": 1}])
    assert called()[-len(BATCH[contract]) :] == BATCH[contract]


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("no model"), SystemExit("no model"), KafkaException(KafkaError(1))]
)
@pytest.mark.parametrize("contract", STEPS)
def test_a_constructor_that_fails_is_called_again(contract: str, error: BaseException) -> None:
    """An error of the stream: never taken for its broker's."""
    left = [error]

    class FailsOnce(STEPS[contract]):  # type: ignore[misc]
        @functools.wraps(STEPS[contract].__init__)
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            if left:
                raise left.pop()
            super().__init__(*args, **kwargs)

    made = host(FailsOnce, contract)
    with pytest.raises(FatalStreamError, match=f"stream: own.Step failed in its constructor: {type(error).__name__}"):
        made.begin()
    made.begin()
    made.run([{"n": 1}])
    assert called() == FIRST[contract] + BATCH[contract]


@pytest.mark.parametrize("contract", ["2", "6"])
def test_pre_consume_that_fails_is_called_again(contract: str) -> None:
    made = host(fails_once(contract, "pre_consume", ZeroDivisionError("no model")), contract)
    with pytest.raises(FatalStreamError, match="failed in pre_consume: ZeroDivisionError: no model"):
        made.begin()
    assert called() == ()
    made.begin()
    assert called() == ("pre_consume",)


@pytest.mark.parametrize("contract", ["2", "6"])
@pytest.mark.parametrize("section", ["PRODUCER_CONFIG", "METRICS_CONFIG"])
def test_what_a_step_puts_out_never_goes_nowhere(contract: str, section: str) -> None:
    """Without CLASS APF drops it, while offsets move."""
    nameless = {**config(), section: {"PARAMS": {"any": 1}}}
    made = StepHost(STEPS[contract], "own.Step", nameless, contract, "stream")
    with pytest.raises(FatalStreamError, match=f"own.Step is not run: {section} has no CLASS"):
        made.begin()
    assert called() == ()


@pytest.mark.parametrize("contract", ["2", "6"])
def test_a_step_may_name_its_classes_by_itself(contract: str) -> None:
    class Names(STEPS[contract]):  # type: ignore[misc]
        def __init__(self, config: Any, **step_args: Any) -> None:
            super().__init__(config, producer=NotingProducer, metrics_sender=NotingMetrics, **step_args)

    nameless = {**config(), "PRODUCER_CONFIG": {"any": 1}, "METRICS_CONFIG": {"PARAMS": {"any": 1}}}
    made = StepHost(Names, "own.Step", nameless, contract, "stream")
    made.run([{"n": 1}])
    assert {"deliver", "send_metrics"} <= set(called())


@pytest.mark.parametrize("contract", ["2", "6"])
@pytest.mark.parametrize("left_out", [(), ("PRODUCER_CONFIG",), ("METRICS_CONFIG",)])
def test_a_step_may_have_no_output(contract: str, left_out: tuple[str, ...]) -> None:
    given = {key: value for key, value in config().items() if key not in left_out}
    StepHost(STEPS[contract], "own.Step", given, contract, "stream").begin()
    assert called() == ("pre_consume",)


@pytest.mark.parametrize("contract", STEPS)
def test_a_step_may_change_its_config_each_time_it_is_made(contract: str) -> None:
    """A class by its name, then the class: the second time there would be no name."""

    class Resolves(STEPS[contract]):  # type: ignore[misc]
        @functools.wraps(STEPS[contract].__init__)
        def __init__(self, *args: Any, config: Any, **kwargs: Any) -> None:
            model = config["MODEL_CONFIG"]["PARAMS"]
            model["mapper"] = get_class(model["mapper"])
            model["layers"][0]["size"] += 1
            model["layers"].append(model.pop("last"))
            assert (model["layers"], config["WEIGHTS"]) == ([{"size": 2}, {"size": 9}], weights)
            assert config["WEIGHTS"] is weights
            super().__init__(*args, config=config, **kwargs)

    weights = object()
    model = {"mapper": "collections.OrderedDict", "layers": [{"size": 1}], "last": {"size": 9}}
    given = {**config(), "MODEL_CONFIG": OrderedDict(PARAMS=model), "WEIGHTS": weights}
    made = StepHost(Resolves, "own.Step", given, contract, "stream")
    for _ in range(2):
        made.begin()
        made.close()
    assert model["mapper"] == "collections.OrderedDict"


@pytest.mark.parametrize("error", [BrokerUnavailable(), OperationalError("server closed")])
def test_what_is_away_when_a_step_is_made_is_waited_for(error: Exception) -> None:
    with pytest.raises(type(error)):
        host(fails_once("2", "pre_consume", error), "2").begin()


@pytest.mark.parametrize("contract", ["2", "6"])
@pytest.mark.parametrize("error", [ZeroDivisionError("late"), SystemExit("late")])
def test_tear_down_that_fails_is_told_and_the_rest_ends(
    contract: str, error: BaseException, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []
    monkeypatch.setattr(StepHost, "publisher", SimpleNamespace(end=lambda: ended.append("publisher")))
    made = host(fails_once(contract, "tear_down", error), contract)
    made.run([{"n": 1}])
    made.close()
    assert f"tear_down of own.Step failed: {type(error).__name__}: late" in caplog.text
    assert ended == ["publisher"]


@pytest.mark.parametrize("contract", STEPS)
@pytest.mark.parametrize("failing", [False, True])
def test_the_last_metrics_are_flushed(contract: str, failing: bool) -> None:
    flushed: list[str] = []

    class Sender(GenericMetricsProducer):
        def send_metrics(self, metrics: dict[str, Any]) -> None:
            """Not of interest."""

        def flush(self) -> None:
            flushed.append("flush")

    step_class = fails_once(contract, "tear_down", ZeroDivisionError()) if failing else STEPS[contract]
    made = host(step_class, contract)
    made.run([{"n": 1}])
    made._step.metrics_sender = Sender({})
    made.close()
    assert flushed == ["flush"]


@pytest.mark.parametrize("contract", ["2", "6"])
def test_a_generator_that_fails_as_it_is_read(contract: str, caplog: pytest.LogCaptureFixture) -> None:
    class Breaks(STEPS[contract]):  # type: ignore[misc]
        def pre_produce(self, result: Any) -> Iterator[Any]:
            yield {"n": 1}
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        host(Breaks, contract).run([{"n": 1}])
    assert "failed in produce: ZeroDivisionError" in caplog.text
    assert "deliver" not in called()


@pytest.mark.parametrize("contract", ["2", "6"])
@pytest.mark.parametrize(
    ("answer", "delivered"),
    [
        (lambda: None, []),
        (lambda: [], []),
        (lambda: {"n": 1}, [{"n": 1}]),
        (lambda: ({"n": n} for n in (1, 2)), [{"n": 1}, {"n": 2}]),
        (lambda: ({"n": 1},), [{"n": 1}]),
    ],
)
def test_what_a_step_may_return(contract: str, answer: Callable[[], Any], delivered: list[Any]) -> None:
    class Answers(STEPS[contract]):  # type: ignore[misc]
        def execute(self, messages: Any) -> Any:
            return answer()

    assert host(Answers, contract).run([{"n": 0}]) == delivered
    assert called().count("deliver") == len(delivered)


@pytest.mark.parametrize("contract", ["2", "6"])
def test_what_is_nothing_to_produce_fails_in_produce(contract: str, caplog: pytest.LogCaptureFixture) -> None:
    class Answers(STEPS[contract]):  # type: ignore[misc]
        def execute(self, messages: Any) -> Any:
            return 7

    caplog.set_level(logging.INFO)
    with pytest.raises(TypeError):
        host(Answers, contract).run([{"n": 0}])
    assert "failed in produce: TypeError" in caplog.text


def test_6x_puts_out_nothing_of_a_batch_that_it_has_left_out() -> None:
    class Filters(Step6):
        def pre_execute(self, messages: Any) -> Any:
            return []

    assert host(Filters, "6").run([{"n": 0}]) == []
    assert called() == ("pre_consume",)


@pytest.mark.parametrize("contract", STEPS)
def test_a_step_finds_in_its_consumer_what_apf_has_there(contract: str) -> None:
    seen: list[Any] = []

    class Looks(STEPS[contract]):  # type: ignore[misc]
        def execute(self, messages: Any) -> Any:
            seen.append([(one.topic(), one.offset(), one.value()) for one in self.consumer.messages])
            assert self.consumer.topics == ["theirs"]
            assert self.consumer.config["consume.messages"] == 2
            return []

    given = {**config(), "CONSUMER_CONFIG": {"CLASS": "any", "TOPICS": "theirs", "consume.messages": 2}}
    made = StepHost(Looks, "own.Step", given, contract, "stream")
    alerts = [make_alert(raw=str(n).encode(), topic="theirs", offset=n) for n in range(3)]
    # The second alert has two records.
    made.run([{"n": n} for n in range(4)], [alerts[0], alerts[1], alerts[1], alerts[2]])
    assert seen == [[("theirs", 0, b"0"), ("theirs", 1, b"1")], [("theirs", 1, b"1"), ("theirs", 2, b"2")]]
