"""What happens to one batch, in pieces: whoever has a transaction of his own puts it around them.

pre_execute → execute → post_execute → pre_produce     prepare()
produce, flush                                         produce()
post_produce, flush, commit, metrics                   finish()
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from confluent_kafka import Message, Producer

from apf_bridge.compat.metrics.generic import GenericMetricsProducer
from apf_bridge.compat.producers.generic import GenericProducer

from .contracts import is_6x, own

if TYPE_CHECKING:
    from .step import GenericStep


@dataclass(frozen=True)
class Prepared:
    """What became of a batch, before it is produced."""

    #: What ``pre_produce`` returned; in 1.x nothing, since the step produces by itself.
    result: Any
    #: 6.x: ``pre_execute`` left nothing of the batch. It is neither produced nor committed.
    skipped: bool = False


class Watcher:
    """Whoever goes along with a run. The batch fails with what is raised here."""

    def received(self, message: Any) -> None:
        """Before the step sees it: what the consumer yielded, a dict or a list of them."""

    def prepared(self, results: list[Any]) -> None:
        """Before they are produced, and before the batch is committed: what the step returned."""

    def done(self) -> None:
        """The batch is produced and committed."""


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
    if is_6x(step.contract) and hasattr(messages, "__len__") and len(messages) == 0:
        return Prepared([], skipped=True)
    with stage(step, "execute", message):
        result = step.execute(messages)
    with stage(step, "post_execute"):
        result = step._post_execute(result)
    with stage(step, "pre_produce"):
        result = step._pre_produce(result)
    return Prepared(result)


def produce(step: GenericStep, prepared: Prepared) -> None:
    """Hand the result to the producer and wait until it is delivered. A ``produce`` of the step's own gets None too."""
    with stage(step, "produce"):
        if step.contract != "1":
            nothing = prepared.result is None and own(type(step), "produce") is None
            step.produce([] if nothing else prepared.result)
        flush(step)


def finish(step: GenericStep) -> None:
    """``post_produce``, a flush and the commit, then the metrics: they count what is committed, and fail no batch."""
    with stage(step, "post_produce"):
        if step.contract != "1":
            step._post_produce()
        elif not step.legacy_commit:
            step._commit_1x()
    try:
        step._send_held_metrics()
    except Exception as error:  # noqa: BLE001  (whatever a metrics sender raises)
        step.logger.error("Metrics of a batch that is done were not sent: %s: %s", type(error).__name__, error)


def handle(step: GenericStep, message: Any, watcher: Watcher | None = None) -> None:
    """One batch from beginning to end."""
    watcher = watcher or Watcher()
    watcher.received(message)
    prepared = prepare(step, message)
    if not prepared.skipped:
        with stage(step, "produce"):  # a generator runs only now
            prepared = read_once(prepared)
        with stage(step, "results"):
            watcher.prepared(as_list(prepared.result))
        if step.contract == "1" and step.legacy_commit:
            step._commit_1x()
        produce(step, prepared)
        finish(step)
    watcher.done()


def run(step: GenericStep, watcher: Watcher | None = None) -> None:
    """Every batch of the consumer."""
    with stage(step, "pre_consume"):
        step._pre_consume()
    messages = step.consumer.consume()
    try:
        for message in messages:
            handle(step, message, watcher)
            if step.stopping:
                break
    finally:
        if hasattr(messages, "close"):
            messages.close()
    with stage(step, "tear_down"):
        step._tear_down()
        flush_metrics(step)


def read_once(prepared: Prepared) -> Prepared:
    """A generator as a list; the rest as the step's own ``produce`` may expect it."""
    return replace(prepared, result=list(prepared.result)) if isinstance(prepared.result, Iterator) else prepared


def as_list(result: Any) -> list[Any]:
    """What a step returned as a list: it may be one dict, or an object that its own ``produce`` knows; or None."""
    if result is None:
        return []
    return list(result) if isinstance(result, Iterable) and not isinstance(result, Mapping) else [result]


def is_batch(message: Any) -> bool:
    """Whether the consumer yielded several messages: one is a dict, or what a consumer of the step's own makes of it."""
    return hasattr(message, "__len__") and not isinstance(message, Mapping | str | bytes | Message)


def stop(step: GenericStep) -> None:
    """Let a step end after the batch in hand. It may have an attribute ``stop`` of its own."""
    step.stopping = True
    if hasattr(step.consumer, "stop"):
        step.consumer.stop()


def flush(step: GenericStep) -> None:
    """Wait for all that the step's producers hold: its own, and those in its attributes and in those of what it has there.

    Clients of confluent_kafka are among them. One that a producer of ours has is flushed by that, for as long as it may.
    """
    held = [*_held_by(step, GenericProducer | Producer)]
    for value in list(vars(step).values()):
        ours = isinstance(value, GenericProducer | GenericMetricsProducer)
        if not isinstance(value, type):
            held += _held_by(value, GenericProducer if ours else GenericProducer | Producer)
    for producer in {id(item): item for item in held}.values():
        producer.flush()


def flush_metrics(step: GenericStep) -> None:
    """The last thing: librdkafka sends them in its own time."""
    if isinstance(step.metrics_sender, GenericMetricsProducer):
        step.metrics_sender.flush()


def _held_by(value: Any, kind: Any) -> Iterator[Any]:
    """What of a kind is in its attributes, and in lists and dicts there."""
    return (item for item in _all_held_by(value) if isinstance(item, kind))


def _all_held_by(value: Any) -> Iterator[Any]:
    for item in list(getattr(value, "__dict__", {}).values()):
        yield item
        if isinstance(item, list | tuple):
            yield from item
        elif isinstance(item, dict):
            yield from list(item.values())


@contextmanager
def stage(step: GenericStep, name: str, message: Any = None) -> Iterator[None]:
    """Failures within, ``sys.exit()`` among them, are marked with the stage's name, and are otherwise as they were."""
    try:
        yield
    except (Exception, SystemExit) as error:
        if message is not None:
            step.logger.debug("Error at %s", name)
            step.logger.debug("The message(s) that caused the error: %s", message)
        if stage_of(error) is None:
            error.apf_stage = name  # type: ignore[union-attr]
            if hasattr(error, "add_note"):
                error.add_note(f"In {name} of {type(step).__name__}.")
        raise


def stage_of(error: BaseException) -> str | None:
    """In which hook an error arose: ``execute``, ``produce``…"""
    found: str | None = getattr(error, "apf_stage", None)
    return found
