"""A row of the steps of APF: what the bridge costs, beside a batch handler that does nothing either."""

from __future__ import annotations

from typing import Any, Final

from tests.benchmarks import corpus
from tests.benchmarks.bench import Bench, Timing, in_turn, rates
from tests.benchmarks.ingest import effort
from tests.benchmarks.results import Line

#: As in the row "noop".
_TIMES = 5
#: A step of 6.x that returns nothing, with as many messages in a call as ALeRCE's take.
_STEP: Final = {
    "HANDLER": "apf_bridge.handlers.run_step",
    "OPTIONS": {
        "STEP": "tests.steps.steps.NoOp",
        "STEP_CONFIG": {"CONSUMER_CONFIG": {"consume.messages": 500}},
        "CONTRACT": "6",
    },
}


def apf(bench: Bench) -> list[Line]:
    """A no-op step and the batch handler of the row "noop", on the same stream."""
    count = bench.size.alerts * _TIMES
    with bench.topic(corpus.alerts(count, bench.size.objects)) as topic:

        def read(handler: str | dict[str, Any]) -> Timing:
            with bench.database() as url:
                return bench.read(topic, handler, bench.tom(url))

        steps, bare = in_turn(
            bench.size.repeats,
            lambda: read(_STEP),
            lambda: read("tests.benchmarks.handlers.look_at_all"),
        )
    notes = [f"{who}: {effort(timings)}" for who, timings in (("step", steps), ("@batch_handler", bare))]
    return [Line("apf", "a no-op step of 6.x", rates(steps), "@batch_handler", rates(bare), 0.70, notes=notes)]
