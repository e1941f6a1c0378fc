"""Which Kafka producers a step's own producers get: those of the outbox, while a stream runs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import confluent_kafka

from .compat.producers import kafka
from .outbox import Recorder

_recorder: ContextVar[Recorder | None] = ContextVar("apf_bridge_recorder", default=None)


def make_producer(params: Any, *args: Any, **kwargs: Any) -> Any:
    """In place of ``Producer`` in ``apf.producers.kafka``: elsewhere than in a stream it makes a real one."""
    recorder = _recorder.get()
    if recorder is None:
        return confluent_kafka.Producer(params, *args, **kwargs)
    return recorder.producer(params)


@contextmanager
def output_to(recorder: Recorder) -> Iterator[None]:
    """Producers that are made in this block, in this thread, put out into a recorder."""
    vars(kafka)["Producer"] = make_producer
    token = _recorder.set(recorder)
    try:
        yield
    finally:
        _recorder.reset(token)
