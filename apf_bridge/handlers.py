"""The handler that runs a step of APF on the alerts of any stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tom_alertstreams.alerts import Alert, Outcome
from tom_alertstreams.exceptions import PermanentError
from tom_alertstreams.handlers import batch_handler

from .messages import messages_of
from .options import StepOptions
from .outbox import store


@batch_handler(options=StepOptions)
def run_step(alerts: list[Alert], *, options: StepOptions) -> list[Outcome]:
    """Run a batch through the step: one unit, in the transaction that holds its offsets.

    What the step produces goes to the outbox, and to the broker once that is committed. What it returns becomes
    Targets where RESULT_HANDLER or FIELDS say how.
    """
    messages = messages_of(alerts, add_topic=options.adds_topic)
    ready = [(alert, found) for alert, found in zip(alerts, messages, strict=True) if isinstance(found, list)]
    outcomes = _handled(ready, options)
    return [Outcome.failed(found) if isinstance(found, PermanentError) else next(outcomes) for found in messages]


def _handled(ready: Sequence[tuple[Alert, list[dict[str, Any]]]], options: StepOptions) -> Iterator[Outcome]:
    if not ready:
        return iter(())
    alerts = [alert for alert, _ in ready]
    records = [record for _, found in ready for record in found]
    host = options.host(alerts[0].stream)
    results = host.run(records, [alert for alert, found in ready for _ in found])
    outputs = host.recorder.take()
    outcomes = _outcomes(results, alerts, options)
    unfinished = any(outcome.kind in ("failed", "retry") for outcome in outcomes)
    if outputs and unfinished and len(alerts) > 1:
        raise PermanentError(
            "An alert of the batch is not finished.", hint="It is tried alone: nothing of it may be put out."
        )
    if outputs and not unfinished and host.publisher is not None:
        store(host.publisher.outlet(), outputs, alerts)
        host.publisher.has_more = True
    return iter(outcomes)


def _outcomes(results: Sequence[Any], alerts: Sequence[Alert], options: StepOptions) -> Sequence[Outcome]:
    if not options.makes_targets:
        return [Outcome.done()] * len(alerts)
    from .results import write_results  # needs the TOM Toolkit

    return write_results(results, alerts, options)
