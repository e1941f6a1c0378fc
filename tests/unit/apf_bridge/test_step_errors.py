"""A hook that fails: what ran before it, what did not run after it, and what is said."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from apf_bridge.compat.core import life_cycle
from apf_bridge.compat.core.parts import Parts, make_step

from .parts import CALLS, SENT, ListConsumer, NotingMetrics, NotingProducer, Step1, Step2, Step6, config

MESSAGE = {"oid": "ZTF1", "candid": 2454460970015010006}
_HOOKS: Final = (
    "pre_consume",
    "consume",
    "pre_execute",
    "execute",
    "post_execute",
    "pre_produce",
    "deliver",
    "flush",
    "post_produce",
    "flush",
    "commit",
    "send_metrics",
    "tear_down",
)
#: All that happens to one batch, in its order, and the end.
ORDER: Final = {
    "1": ("consume", "execute", "deliver", "flush", "commit", "send_metrics", "flush"),
    "2": (*_HOOKS, "flush"),
    "6": (*_HOOKS, "flush"),
}
STEPS: Final[dict[str, Any]] = {"1": Step1, "2": Step2, "6": Step6}
#: Contract and hook of a step. 1.x has execute alone.
CASES: Final = [
    ("1", "execute"),
    *(
        (contract, hook)
        for contract in ("2", "6")
        for hook in _HOOKS
        if hook not in ("consume", "deliver", "flush", "commit", "send_metrics")
    ),
]


@pytest.fixture(autouse=True)
def nothing_noted() -> None:
    CALLS.clear()
    SENT.clear()


def fails_with(error: BaseException) -> Callable[..., Any]:
    def hook(*args: Any, **kwargs: Any) -> Any:
        raise error

    return hook


def failing(contract: str, hook: str, error: BaseException) -> Any:
    return make_step(
        type("Failing", (STEPS[contract],), {hook: fails_with(error)}), config(MESSAGE, CONTRACT=contract), level=10
    )


def called() -> tuple[str, ...]:
    return tuple(call.split()[0] for call in CALLS)


def before(contract: str, hook: str) -> tuple[str, ...]:
    """What had happened when that hook was called."""
    return ORDER[contract][: ORDER[contract].index(hook)]


@pytest.mark.parametrize("contract", STEPS)
def test_nothing_fails(contract: str) -> None:
    make_step(STEPS[contract], config(MESSAGE)).start()
    assert called() == ORDER[contract]
    assert Path("__SUCCESS__").exists()


class TestAHook:
    @pytest.mark.parametrize(("contract", "hook"), CASES)
    def test_what_ran_before_it_has_run_and_nothing_runs_after_it(self, contract: str, hook: str) -> None:
        with pytest.raises(ZeroDivisionError, match="as it was") as caught:
            failing(contract, hook, ZeroDivisionError("as it was")).start()
        assert life_cycle.stage_of(caught.value) == hook
        assert called() == before(contract, hook)
        assert not Path("__SUCCESS__").exists()

    @pytest.mark.parametrize(("contract", "hook"), CASES)
    def test_the_log_has_it_with_what_caused_it(
        self, contract: str, hook: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        for name in ("", "Failing", "alerce.Failing"):  # another test's step of that name has set a level
            caplog.set_level(logging.DEBUG, logger=name)
        with pytest.raises(ZeroDivisionError):
            failing(contract, hook, ZeroDivisionError()).start()
        if hook != "pre_consume":
            assert f"Error at {hook}" in caplog.text
        if hook in ("pre_execute", "execute", "post_execute", "pre_produce"):
            assert "2454460970015010006" in caplog.text

    @pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
    @pytest.mark.parametrize(("contract", "hook"), CASES)
    def test_leaving_the_process_commits_nothing_more(self, contract: str, hook: str, error: BaseException) -> None:
        with pytest.raises(type(error)):
            failing(contract, hook, error).start()
        assert called() == before(contract, hook)
        assert not Path("__SUCCESS__").exists()

    @pytest.mark.parametrize(("contract", "hook"), CASES)
    def test_a_hook_that_swallows_its_own_exit_has_not_failed(self, contract: str, hook: str) -> None:
        def swallows(self: Any, *args: Any) -> Any:
            try:
                raise SystemExit(1)
            except SystemExit:
                return getattr(STEPS[contract], hook)(self, *args)

        make_step(type("Swallows", (STEPS[contract],), {hook: swallows}), config(MESSAGE, CONTRACT=contract)).start()
        assert called() == ORDER[contract]

    @pytest.mark.parametrize("contract", ["2", "6"])
    def test_a_generator_that_fails_as_it_is_produced(self, contract: str) -> None:
        class Breaks(STEPS[contract]):  # type: ignore[misc]
            def pre_produce(self, result: Any) -> Iterator[Any]:
                yield {"n": 1}
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError) as caught:
            Breaks(config(MESSAGE, CONTRACT=contract)).start()
        assert life_cycle.stage_of(caught.value) == "produce"
        assert "commit" not in CALLS

    @pytest.mark.parametrize("contract", STEPS)
    def test_the_next_batch_is_not_taken(self, contract: str) -> None:
        step = type("Failing", (STEPS[contract],), {"execute": fails_with(ZeroDivisionError())})
        with pytest.raises(ZeroDivisionError):
            make_step(step, config(MESSAGE, MESSAGE, CONTRACT=contract)).start()
        assert called() == before(contract, "execute")


class TestItsParts:
    @pytest.mark.parametrize("contract", STEPS)
    @pytest.mark.parametrize("call", ["produce", "flush"])
    def test_a_producer(self, contract: str, call: str) -> None:
        away = type("Away", (NotingProducer,), {call: fails_with(ConnectionError("broker away"))})
        step = make_step(STEPS[contract], config(MESSAGE))
        step.producer = away()
        with pytest.raises(ConnectionError) as caught:
            step.start()
        # In 1.x it is the step that produces.
        assert life_cycle.stage_of(caught.value) == ("execute" if (contract, call) == ("1", "produce") else "produce")
        assert called() == before(contract, "deliver" if call == "produce" else "flush")

    @pytest.mark.parametrize("contract", STEPS)
    def test_a_commit(self, contract: str) -> None:
        lost = type("Lost", (ListConsumer,), {"commit": fails_with(ConnectionError("group lost"))})
        step = make_step(STEPS[contract], config(MESSAGE), Parts(consumer=lost({"MESSAGES": [MESSAGE]})))
        with pytest.raises(ConnectionError) as caught:
            step.start()
        assert life_cycle.stage_of(caught.value) == "post_produce"
        assert called() == before(contract, "commit")

    @pytest.mark.parametrize("contract", STEPS)
    def test_a_consumer(self, contract: str) -> None:
        def breaks(self: Any) -> Iterator[Any]:
            yield MESSAGE
            raise ConnectionError("broker away")

        breaking = type("Breaking", (ListConsumer,), {"consume": breaks})
        with pytest.raises(ConnectionError) as caught:
            make_step(STEPS[contract], config(), Parts(consumer=breaking({}))).start()
        assert life_cycle.stage_of(caught.value) is None
        done = before(contract, "tear_down") if contract != "1" else ORDER["1"][:-1]
        assert called() == tuple(name for name in done if name != "consume")

    @pytest.mark.parametrize("contract", STEPS)
    def test_a_sender_of_metrics_fails_no_batch_that_is_done(
        self, contract: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        away = type("Away", (NotingMetrics,), {"send_metrics": fails_with(ConnectionError("no route"))})
        make_step(STEPS[contract], config(MESSAGE, MESSAGE), Parts(metrics_sender=away({}))).start()
        assert called().count("commit") == 2
        assert caplog.text.count("were not sent: ConnectionError: no route") == 2
