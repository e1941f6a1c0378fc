"""What happens to one batch, in pieces: whoever has a transaction of his own puts it around them.

pre_execute → execute → post_execute → pre_produce     prepare()
produce, flush                                         produce()
post_produce, commit, metrics                          finish()
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from apf_bridge.compat.producers.generic import GenericProducer

if TYPE_CHECKING:
    from .step import GenericStep


@dataclass(frozen=True)
class Prepared:
    """What became of a batch, before it is produced."""

    #: What ``pre_produce`` returned; in 1.x nothing, since the step produces by itself.
    result: Any
    #: 6.x: ``pre_execute`` left nothing of the batch. It is neither produced nor committed.
    skipped: bool = False


def prepare(step: GenericStep, message: Any) -> Prepared:
    """Everything up to ``pre_produce``. A failure has the stage's name: :func:`stage_of`.

    :param message: what the consumer yielded: a dict, or a list of them.
    """
    step._begin_batch()
    if step.contract == "1":
        step._receive_1x(message)
        with stage(step, "execute", message):
            step.execute(message)
        step._measure()
        return Prepared([])
    with stage(step, "pre_execute"):
        messages = step._pre_execute(message)
    if step.contract == "6" and hasattr(messages, "__len__") and len(messages) == 0:
        return Prepared([], skipped=True)
    with stage(step, "execute", message):
        result = step.execute(messages)
    with stage(step, "post_execute"):
        result = step._post_execute(result)
    with stage(step, "pre_produce"):
        result = step._pre_produce(result)
    return Prepared(result)


def produce(step: GenericStep, prepared: Prepared) -> None:
    """Hand the result to the producer and wait until it is delivered."""
    with stage(step, "produce"):
        if step.contract != "1":
            step.produce(prepared.result)
        flush(step)


def finish(step: GenericStep) -> None:
    """``post_produce`` and the commit, then the metrics: they count what is committed."""
    with stage(step, "post_produce"):
        if step.contract != "1":
            step._post_produce()
        elif not step.legacy_commit:
            step._commit_1x()
    with stage(step, "send_metrics"):
        step._send_held_metrics()


def handle(step: GenericStep, message: Any) -> Prepared:
    """One batch from beginning to end."""
    prepared = prepare(step, message)
    if not prepared.skipped:
        if step.contract == "1" and step.legacy_commit:
            step._commit_1x()
        produce(step, prepared)
        finish(step)
    return prepared


def run(step: GenericStep, on_batch: Callable[[Any, Prepared], None] | None = None) -> None:
    """Every batch of the consumer.

    :param on_batch: called after each batch with what the consumer yielded, and what became of it.
    """
    with stage(step, "pre_consume"):
        step._pre_consume()
    messages = step.consumer.consume()
    try:
        for message in messages:
            prepared = handle(step, message)
            if on_batch is not None:
                on_batch(message, prepared)
            if step.stopping:
                break
    finally:
        if hasattr(messages, "close"):
            messages.close()
    with stage(step, "tear_down"):
        step._tear_down()


def flush(step: GenericStep) -> None:
    """Wait for all that the step's producers hold: its own, and those that it has in attributes."""
    held = vars(step).values()
    inside = [item for value in held if isinstance(value, list | tuple) for item in value]
    named = [item for value in held if isinstance(value, dict) for item in value.values()]
    producers = {id(item): item for item in [*held, *inside, *named] if isinstance(item, GenericProducer)}
    for producer in producers.values():
        producer.flush()


@contextmanager
def stage(step: GenericStep, name: str, message: Any = None) -> Iterator[None]:
    """Failures within are marked with the stage's name, and are otherwise as they were."""
    try:
        yield
    except Exception as error:
        if message is not None:
            step.logger.debug("Error at %s", name)
            step.logger.debug("The message(s) that caused the error: %s", message)
        if stage_of(error) is None:
            error.apf_stage = name  # type: ignore[attr-defined]
            if hasattr(error, "add_note"):
                error.add_note(f"In {name} of {type(step).__name__}.")
        raise


def stage_of(error: BaseException) -> str | None:
    """In which hook an error arose: ``execute``, ``produce``…"""
    found: str | None = getattr(error, "apf_stage", None)
    return found
