"""Which Kafka producers a step's own producers get while a stream runs it: those of the outbox, and for metrics real ones."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from weakref import WeakSet

import confluent_kafka

from tom_alertstreams.delivery.broker_errors import ClientLog

from .compat.metrics import kafka as metrics
from .compat.producers import kafka
from .outbox import Recorder

_recorder: ContextVar[Recorder | None] = ContextVar("apf_bridge_recorder", default=None)
#: Those of the steps that this process runs on streams: a thread that a step has started is in none of the blocks below.
_of_streams: WeakSet[Recorder] = WeakSet()


def make_producer(params: Any, *args: Any, **kwargs: Any) -> Any:
    """In place of ``Producer`` in ``apf.producers.kafka``: elsewhere than in a stream it makes a real one."""
    recorder = _recorder.get() or _of_a_thread()
    if recorder is None:
        return confluent_kafka.Producer(params, *args, **kwargs)
    return recorder.producer(params)


def _of_a_thread() -> Recorder | None:
    """Where no block is open. In the main thread no stream runs, nor a step's own thread.

    :raises RuntimeError: it may be the producer of one stream or another.
    """
    if threading.current_thread() is threading.main_thread():
        return None
    if len(_of_streams) > 1:
        raise RuntimeError(
            "A KafkaProducer was made in a thread that a step has started, and several streams run steps here: whose it is "
            "cannot be told. Make it in the step's constructor."
        )
    return next(iter(_of_streams), None)


def begin_stream(recorder: Recorder) -> None:
    """Producers that a step makes in threads of its own put out into its recorder from now on."""
    vars(kafka)["Producer"], vars(metrics)["Producer"] = make_producer, make_metrics_producer
    _of_streams.add(recorder)


def end_stream(recorder: Recorder) -> None:
    """The opposite."""
    _of_streams.discard(recorder)


def make_metrics_producer(params: Any, *args: Any, **kwargs: Any) -> Any:
    """In place of ``Producer`` in ``apf.metrics.kafka``: a stream's log has each kind of trouble with it once an hour."""
    if _recorder.get() is not None:
        kwargs.setdefault("logger", ClientLog("metrics of a step"))
    return confluent_kafka.Producer(params, *args, **kwargs)


@contextmanager
def output_to(recorder: Recorder) -> Iterator[None]:
    """Producers that are made in this block, in this thread, put out into a recorder."""
    vars(kafka)["Producer"], vars(metrics)["Producer"] = make_producer, make_metrics_producer
    token = _recorder.set(recorder)
    try:
        yield
    finally:
        _recorder.reset(token)
