"""A step made with a consumer of somebody else's, whatever its constructor and its config say."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from . import get_class
from .contracts import contract_of


@dataclass(frozen=True)
class Parts:
    """Instances that GenericStep takes instead of making its own; None where it shall make one."""

    consumer: Any = None
    metrics_sender: Any = None
    prometheus_metrics: Any = None


_given: ContextVar[Parts | None] = ContextVar("apf_bridge_parts", default=None)


def given_parts() -> Parts:
    return _given.get() or Parts()


@contextmanager
def parts_of_the_next_step(parts: Parts) -> Iterator[None]:
    token = _given.set(parts)
    try:
        yield
    finally:
        _given.reset(token)


def make_step(step_class: Any, config: Mapping[str, Any], parts: Parts | None = None, level: int | None = None) -> Any:
    """A step of any contract, made as its own ``run_step.py`` would.

    :param parts: instances to use instead of those of the config, also by steps whose constructor takes none.
    :param level: of its logger, for steps that take one.
    """
    parts = parts or Parts()
    named = inspect.signature(step_class).parameters
    arguments: dict[str, Any] = {"config": config}
    if level is not None and "level" in named:
        arguments["level"] = level
    if contract_of(step_class, config) == "1":
        arguments |= _made_for_1x(config, parts, named)
    with parts_of_the_next_step(parts):
        return step_class(**arguments)


def _made_for_1x(config: Mapping[str, Any], parts: Parts, named: Mapping[str, inspect.Parameter]) -> dict[str, Any]:
    """1.x steps get their parts ready made; those with a producer of their own, too."""
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in named.values())
    made: dict[str, Any] = {}
    if "consumer" in named or takes_any:
        made["consumer"] = parts.consumer or made_of(config.get("CONSUMER_CONFIG"), "apf.consumers.KafkaConsumer")
    if "producer" in named:
        made["producer"] = made_of(config.get("PRODUCER_CONFIG"), "apf.producers.KafkaProducer")
    return made


def made_of(config: Mapping[str, Any] | None, default: str) -> Any:
    """An instance of CLASS of a config, or None without a config."""
    if not config:
        return None
    return get_class(config.get("CLASS", default))(config)
