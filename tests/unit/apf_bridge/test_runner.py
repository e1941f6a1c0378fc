"""What is said of a run that has failed: what comes again at the next start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from apf_bridge import runner
from apf_bridge.compat.core.parts import make_step

from .parts import CALLS, HERE, ListConsumer, Step1, Step2, Step6, config

AGAIN = "The batch in hand is not committed and comes again at the next start."
NONE_IN_HAND = "No batch was in hand: all that the step was given is done."


@pytest.fixture(autouse=True)
def nothing_noted() -> None:
    CALLS.clear()


class Cut(ListConsumer):
    """Cannot read what follows."""

    def consume(self) -> Iterator[Any]:
        yield from super().consume()
        raise OSError("cut off")


def fails_in(hook: str, step_class: Any = Step6) -> Any:
    def fails(self: Any, *args: Any) -> Any:
        raise OSError("away")

    return type("Fails", (step_class,), {hook: fails})


def ended(step_class: Any, **more: Any) -> str:
    ending = runner.run(make_step(step_class, config([{"n": 1}, {"n": 2}], **more)), str, str)
    assert ending.code == 1
    return ending.summary


@pytest.mark.parametrize("hook", ["pre_execute", "execute", "post_execute", "pre_produce", "produce", "post_produce"])
def test_a_batch_that_fails(hook: str) -> None:
    told = ended(fails_in(hook))
    assert "2 messages in 0 batches (0 done, 2 failed" in told
    assert told.endswith(AGAIN)


@pytest.mark.parametrize(("hook", "count"), [("pre_consume", 0), ("tear_down", 2)])
def test_what_fails_outside_of_every_batch(hook: str, count: int) -> None:
    told = ended(fails_in(hook))
    assert f"({count} done, 0 failed" in told
    assert told.endswith(NONE_IN_HAND)


def test_a_consumer_that_fails_after_a_batch() -> None:
    told = ended(Step6, CONSUMER_CONFIG={"CLASS": f"{Cut.__module__}.Cut", "MESSAGES": [[{"n": 1}]]})
    assert "Failed in its consumer: OSError: cut off" in told
    assert told.endswith(NONE_IN_HAND)


def test_a_step_with_an_attribute_stop_is_stopped() -> None:
    class Stops(Step6):
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.stop = False

    ending = runner.run(Stops(config({"n": 1}, {"n": 2})), str, str, limit=1)
    assert (ending.code, CALLS.count("commit")) == (0, 1)
    assert ending.summary.endswith("Stopped.")


def test_a_message_that_is_no_dict_is_one() -> None:
    ending = runner.run(make_step(Step1, config(b"raw", [b"two", b"raw"])), str, str)
    assert ending.summary.startswith("Step1 (contract 1.x): 3 messages in 2 batches")


@pytest.mark.parametrize(("step_class", "hook"), [(Step1, "execute"), (Step2, "produce")])
def test_legacy_order_may_have_committed_it(step_class: Any, hook: str) -> None:
    more = {"COMMIT_ORDER": "legacy", "PRODUCER_CONFIG": {"CLASS": f"{HERE}.NotingProducer"}}
    assert ended(fails_in(hook, step_class), **more).endswith("may be committed already, and then does not come again.")
