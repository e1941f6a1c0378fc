"""The handler that runs a step of APF on the alerts of any stream."""

from __future__ import annotations

from tom_alertstreams.alerts import Alert, Outcome
from tom_alertstreams.handlers import batch_handler

from .messages import message_of
from .options import StepOptions
from .outbox import store


@batch_handler(options=StepOptions)
def run_step(alerts: list[Alert], *, options: StepOptions) -> list[Outcome]:
    """Run a batch through the step. What it returns becomes Targets where options say so; what it produces goes to the
    outbox, in the transaction that holds the offsets, and out to the broker once that is committed.
    """
    messages, outcomes = [], []
    for alert in alerts:
        message = message_of(alert, options.step_config)
        outcomes.append(message if isinstance(message, Outcome) else Outcome.done())
        messages.append(message)
    ready = [alert for alert, message in zip(alerts, messages, strict=True) if not isinstance(message, Outcome)]
    if not ready:
        return outcomes
    host = options.host(alerts[0].stream)
    results = host.run([message for message in messages if not isinstance(message, Outcome)])
    if host.recorder.outputs and host.publisher is not None:
        store(host.publisher.outlet(), host.recorder.outputs, ready)
        host.publisher.has_more = True
        host.recorder.clear()
    if not options.makes_targets:
        return outcomes
    from .targets import write_results  # needs the TOM Toolkit

    written = iter(write_results(results, ready, options))
    return [outcome if isinstance(message, Outcome) else next(written) for outcome, message in zip(outcomes, messages, strict=True)]
