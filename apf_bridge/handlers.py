"""The handler that runs a step of APF on the alerts of any stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
    ready = [alert for alert, message in zip(alerts, messages, strict=True) if isinstance(message, dict)]
    outcomes = iter(_handled(ready, [message for message in messages if isinstance(message, dict)], options))
    return [Outcome.failed(message) if isinstance(message, PermanentError) else next(outcomes) for message in messages]


def _handled(alerts: Sequence[Alert], messages: Sequence[dict[str, object]], options: StepOptions) -> Iterator[Outcome]:
    if not alerts:
        return iter(())
    host = options.host(alerts[0].stream)
    results = host.run(messages)
    outputs = host.recorder.take()
    if outputs and host.publisher is not None:
        store(host.publisher.outlet(), outputs, alerts)
        host.publisher.has_more = True
    if not options.makes_targets:
        return iter([Outcome.done()] * len(alerts))
    from .targets import write_results  # needs the TOM Toolkit

    return iter(write_results(results, alerts, options))
