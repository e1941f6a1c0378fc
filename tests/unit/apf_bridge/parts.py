"""Consumers, producers and steps for tests, which write down in what order they were called."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from apf_bridge.compat.consumers.generic import GenericConsumer
from apf_bridge.compat.core.step import GenericStep
from apf_bridge.compat.metrics.generic import GenericMetricsProducer
from apf_bridge.compat.producers.generic import GenericProducer

HERE = "tests.unit.apf_bridge.parts"

#: What happened, in its order.
CALLS: list[str] = []
SENT: list[dict[str, Any]] = []


class ListConsumer(GenericConsumer):
    """Yields what MESSAGES of its config says."""

    def consume(self) -> Iterator[Any]:
        CALLS.append("consume")
        yield from self.config["MESSAGES"]

    def commit(self) -> None:
        CALLS.append("commit")


class NotingProducer(GenericProducer):
    def produce(self, message: Any = None, **kwargs: Any) -> None:
        CALLS.append(f"deliver {message} {kwargs}" if kwargs else f"deliver {message}")

    def flush(self) -> None:
        CALLS.append("flush")


class NotingMetrics(GenericMetricsProducer):
    def send_metrics(self, metrics: dict[str, Any]) -> None:
        CALLS.append("send_metrics")
        SENT.append(metrics)


def config(*messages: Any, **more: Any) -> dict[str, Any]:
    return {
        "CONSUMER_CONFIG": {"CLASS": f"{HERE}.ListConsumer", "MESSAGES": messages},
        "PRODUCER_CONFIG": {"CLASS": f"{HERE}.NotingProducer"},
        "METRICS_CONFIG": {"CLASS": f"{HERE}.NotingMetrics", "PARAMS": {"any": 1}},
        **more,
    }


class Hooks(GenericStep):
    """Every hook, each noted."""

    def pre_consume(self) -> None:
        CALLS.append("pre_consume")

    def pre_execute(self, messages: Any) -> Any:
        CALLS.append("pre_execute")
        return messages

    def execute(self, messages: Any) -> Any:
        CALLS.append(f"execute {messages}")
        return messages

    def post_execute(self, result: Any) -> Any:
        CALLS.append("post_execute")
        return result

    def pre_produce(self, result: Any) -> Any:
        CALLS.append("pre_produce")
        return result

    def post_produce(self) -> None:
        CALLS.append("post_produce")

    def tear_down(self) -> None:
        CALLS.append("tear_down")


class Step2(Hooks):
    """As 2.x writes them."""

    def __init__(self, config: Any = None, **step_args: Any) -> None:
        super().__init__(config=config, **step_args)


class Step6(Hooks):
    """As 6.x writes them."""

    def __init__(self, config: Any, level: int = logging.INFO, **step_args: Any) -> None:
        super().__init__(config=config, level=level, **step_args)


class Step1(GenericStep):
    """As 1.x writes them: no hooks, and a producer of its own."""

    def __init__(
        self, consumer: Any = None, config: Any = None, level: int = logging.INFO, producer: Any = None, **args: Any
    ) -> None:
        super().__init__(consumer, config=config, level=level, **args)
        self.producer = producer

    def execute(self, message: Any) -> None:
        CALLS.append(f"execute {message}")
        self.producer.produce(message)


class Plain(GenericStep):
    """Puts out what it gets."""

    def execute(self, messages: Any) -> Any:
        return messages


def run(step: GenericStep) -> list[str]:
    """What happened while a step ran to its end."""
    step.start()
    return CALLS
