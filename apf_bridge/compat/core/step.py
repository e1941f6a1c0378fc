"""``apf.core.step``: the base class of steps, under the contracts 1.x, 2.x and 6.x.

Underscored methods are part of it: steps and their tests override and call them.
"""

from __future__ import annotations

import abc
import logging
import os
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from apf_bridge.compat.consumers.generic import GenericConsumer
from apf_bridge.compat.metrics.generic import GenericMetricsProducer
from apf_bridge.compat.metrics.prometheus import DefaultPrometheusMetrics
from apf_bridge.compat.metrics.pyroscope import profile
from apf_bridge.compat.producers.generic import GenericProducer

from . import get_class, life_cycle
from .contracts import Contract, bound, contract_of, is_6x
from .extra_metrics import ExtraMetrics
from .parts import given_parts, made_of


class DefaultConsumer(GenericConsumer):
    """One empty message: for steps that fetch what they work on by themselves."""

    def consume(self) -> Iterator[Any]:
        yield {}


class DefaultProducer(GenericProducer):
    """Drops what it is given."""

    def produce(self, message: Any = None, **kwargs: Any) -> None:
        pass


class DefaultMetricsProducer(GenericMetricsProducer):
    """Drops what it is given."""

    def send_metrics(self, metrics: dict[str, Any]) -> None:
        pass


class GenericStep(ExtraMetrics, abc.ABC):
    """A step: ``execute`` and any of the hooks around it.

    Offsets are committed after the output is delivered. ``"COMMIT_ORDER": "legacy"`` in the config commits where the
    step's own APF did: after ``execute`` in 1.x, before ``produce`` in 2.x.
    """

    #: "1", "2" or "6"; a class may set it. See :func:`apf_bridge.compat.core.contracts.contract_of`.
    contract: Contract | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Takes what GenericStep of the step's own APF took: consumer, producer, metrics_sender, level, config…"""
        config, consumer = kwargs.get("config"), kwargs.get("consumer", args[0] if args else None)
        config = config or next((item for item in args if isinstance(item, dict)), None)
        self.contract = contract_of(type(self), config, consumer)
        given = bound(self.contract, args, kwargs)
        self._set_logger(given.get("level", logging.NOTSET))
        config = given.get("config")
        self.config: dict[str, Any] = {} if config is None else config
        self.commit: bool = self.config.get("COMMIT", True)
        self.legacy_commit = _is_legacy(self.config)
        self.stopping = False
        self._produced = 0
        self.message: Any = None
        self.metrics: dict[str, Any] = {}
        self._lasting_metrics: dict[str, Any] | None = None
        self._holds_metrics = False
        self._held_metrics: list[tuple[dict[str, Any], int, float]] = []
        self._told_extra_metrics: set[str] = set()
        self._make_parts(given)
        self.extra_metrics: list[Any] = (
            self.metrics_config.get("EXTRA_METRICS", ["candid"]) if self.metrics_config else []
        )

    def _make_parts(self, given: dict[str, Any]) -> None:
        parts = given_parts()
        prometheus = parts.prometheus_metrics or given.get("prometheus_metrics")
        self.prometheus_metrics: Any = prometheus or DefaultPrometheusMetrics()
        self.consumer: Any = parts.consumer
        self.metrics_sender: Any = parts.metrics_sender
        if self.contract == "1":
            self._make_parts_1x(given)
            return
        if self.consumer is None:
            self.consumer = self._get_consumer(given.get("consumer") or DefaultConsumer)(self.consumer_config)
        self.producer: Any = self._get_producer(given.get("producer") or DefaultProducer)(self.producer_config)
        if self.metrics_sender is None:
            sender = self._get_metrics_sender(given.get("metrics_sender") or DefaultMetricsProducer)
            self.metrics_sender = sender(self.metrics_producer_params)

    def _make_parts_1x(self, given: dict[str, Any]) -> None:
        """1.x has no producer of its own."""
        if self.consumer is None:
            self.consumer = (
                given.get("consumer")
                or made_of(self.config.get("CONSUMER_CONFIG"), "apf.consumers.KafkaConsumer")
                or GenericConsumer()
            )
        if self.metrics_sender is None and self.metrics_config:
            sender = get_class(self.metrics_config.get("CLASS", "apf.metrics.KafkaMetricsProducer"))
            self.metrics_sender = sender(self.metrics_producer_params)

    @property
    def consumer_config(self) -> Any:
        return self.config["CONSUMER_CONFIG"]

    @property
    def producer_config(self) -> Any:
        return self.config.get("PRODUCER_CONFIG", {})

    @property
    def metrics_config(self) -> Any:
        return self.config.get("METRICS_CONFIG")

    @property
    def metrics_producer_params(self) -> dict[str, Any]:
        params: dict[str, Any] = self.metrics_config["PARAMS"] if self.metrics_config else {}
        return params

    def _set_logger(self, level: int) -> None:
        name = type(self).__name__
        self.logger = logging.getLogger(name if self.contract == "1" else f"alerce.{name}")
        if level != logging.NOTSET:
            self.logger.setLevel(level)
        self.logger.info("Creating %s", name)

    def _get_consumer(self, default: Any) -> Any:
        if not self.consumer_config:
            raise Exception("Could not find CONSUMER_CONFIG in the step config")  # as APF: steps' tests look for it
        return get_class(self.consumer_config["CLASS"]) if "CLASS" in self.consumer_config else default

    def _get_producer(self, default: Any) -> Any:
        return get_class(self.producer_config["CLASS"]) if "CLASS" in self.producer_config else default

    def _get_metrics_sender(self, default: Any) -> Any:
        config = self.metrics_config or {}
        return get_class(config["CLASS"]) if "CLASS" in config else default

    # --- hooks, to override -------------------------------------------------------------------------------------------

    def pre_consume(self) -> Any:
        """Once, before the first message."""

    def pre_execute(self, messages: Any) -> Any:
        """What it returns goes to :meth:`execute`."""
        return messages

    @abc.abstractmethod
    def execute(self, messages: Any) -> Any:
        """The step's work.

        :param messages: a list of dicts; in 1.x one dict, or a list where the consumer takes several.
        """

    def post_execute(self, result: Any) -> Any:
        """What it returns goes to :meth:`pre_produce`."""
        return result

    def pre_produce(self, result: Any) -> Any:
        """What it returns is produced: one dict, or any number of them."""
        return result

    def post_produce(self) -> Any:
        """After the output is delivered, before the commit."""

    def tear_down(self) -> Any:
        """Once, after the last batch; not after a failure."""

    # --- the life cycle ----------------------------------------------------------------------------------------------

    @profile
    def start(self) -> None:
        """Run until the consumer ends."""
        life_cycle.run(self)

    def stop(self) -> None:
        """Let :meth:`start` end after the batch in hand."""
        life_cycle.stop(self)

    def _pre_consume(self) -> None:
        self.logger.info("Starting step. Begin processing")
        self.pre_consume()

    def _begin_batch(self) -> None:
        """A batch begins with the metrics that were there before the first: those of the last one are not sent again."""
        if self._lasting_metrics is None:
            self._lasting_metrics = dict(self.metrics)
        self.metrics.clear()
        self.metrics.update(self._lasting_metrics)
        self._held_metrics.clear()
        self._holds_metrics = True

    def _receive_1x(self, message: Any) -> None:
        self.message = message
        self.metrics["timestamp_received"] = datetime.now(timezone.utc)
        self.prometheus_metrics.consumed_messages.observe(_count(message))

    def _pre_execute(self, message: Any) -> Any:
        self.logger.info("Received message. Begin preprocessing")
        self.metrics["timestamp_received"] = datetime.now(timezone.utc)
        self.message = [message] if isinstance(message, dict) else message
        self.prometheus_metrics.consumed_messages.observe(_count(self.message))
        try:
            return self.pre_execute(self.message)
        except Exception:
            self.logger.debug("Error at pre_execute")
            self.logger.debug("The message(s) that caused the error: %s", message)
            raise

    def _post_execute(self, result: Any) -> Any:
        self.logger.info("Processed message. Begin post processing")
        try:
            final = self.post_execute(result)
        except Exception:
            self.logger.debug("Error at post_execute")
            self.logger.debug("The result that caused the error: %s", result)
            raise
        self._measure()
        return final

    def _pre_produce(self, result: Any) -> Any:
        self.logger.info("Finished all processing. Begin message production")
        try:
            final = self.pre_produce(result)
        except Exception:
            self.logger.debug("Error at pre_produce")
            self.logger.debug("The result that caused the error: %s", result)
            raise
        if self.commit and self._commits_before_produce:
            self.consumer.commit()
        return final

    def produce(self, result: Any) -> None:
        """Give each message to the producer.

        :param result: one dict, or an iterable of them; a generator too, though 6.x could not take one.
        :raises TypeError: it is None.
        """
        if result is None:
            raise TypeError(
                f"'NoneType' object is not iterable: {type(self).__name__} returned None where its output was "
                f"expected. Return [] for none."
            )
        messages = [result] if isinstance(result, dict) else list(result)
        for n, message in enumerate(messages, 1):
            if self.contract == "2":
                self.producer.produce(message)
            else:
                self.producer.produce(message, flush=n == len(messages))
        self._produced += len(messages)
        if not isinstance(self.producer, DefaultProducer):
            self.logger.info("Produced %d messages", len(messages))

    def _post_produce(self) -> None:
        self.logger.info("Messages produced. Begin post production")
        try:
            self.post_produce()
            life_cycle.flush(self)  # steps put out what they have for others here
            if self.commit and not self._commits_before_produce:
                self.consumer.commit()
        except Exception:
            self.logger.debug("Error at post_produce")
            raise

    def _tear_down(self) -> None:
        self.logger.info("Processing finished. No more messages. Begin tear down.")
        try:
            self.tear_down()
            life_cycle.flush(self)  # steps write the rest of what they have here
        except Exception:
            self.logger.debug("Error at tear_down")
            raise
        self._write_success()

    def _write_success(self) -> None:
        try:
            Path("__SUCCESS__").touch()
        except OSError as error:  # a container without a writable folder
            self.logger.warning("__SUCCESS__ could not be written: %s", error)

    @property
    def _commits_before_produce(self) -> bool:
        return self.legacy_commit and self.contract == "2"

    def _commit_1x(self) -> None:
        if self.commit:
            self.consumer.commit()

    # --- producers and metrics ---------------------------------------------------------------------------------------

    def set_producer_key_field(self, key_field: str) -> None:
        """The field of a message that is its key."""
        self.producer.set_key_field(key_field)

    def send_metrics(self, **metrics: Any) -> None:
        """Send something of the step's own at once."""
        if self.metrics_sender:
            if not is_6x(self.contract):
                metrics["source"] = type(self).__name__
            self.metrics_sender.send_metrics(metrics)

    def _measure(self) -> None:
        """The metrics of the batch. During a batch they wait until it is committed."""
        sent = datetime.now(timezone.utc)
        elapsed = (sent - self.metrics["timestamp_received"]).total_seconds()
        self.metrics["timestamp_sent"] = sent
        self.metrics["execution_time"] = elapsed
        if self.extra_metrics:
            get = self._extra_metrics_in_a_batch if self._holds_metrics else self.get_extra_metrics
            self.metrics.update(get(self.message))
        if is_6x(self.contract):
            self.metrics.setdefault("source", os.getenv("METRICS_SOURCE", type(self).__name__))
            self.metrics.setdefault("survey", os.getenv("METRICS_SURVEY"))
        if self._holds_metrics:
            self._held_metrics.append((dict(self.metrics), _count(self.message), elapsed))
        else:
            self._tell(self.metrics, _count(self.message), elapsed)

    def _tell(self, metrics: dict[str, Any], messages: int, seconds: float) -> None:
        """What a batch was, to Prometheus and to the sender of metrics."""
        self.prometheus_metrics.processed_messages.observe(messages)
        self.prometheus_metrics.execution_time.observe(seconds)
        self.send_metrics(**metrics)

    def _send_held_metrics(self) -> None:
        self._holds_metrics = False
        held, self._held_metrics = self._held_metrics, []
        for measured in held:
            self._tell(*measured)


def _count(message: Any) -> int:
    return len(message) if life_cycle.is_batch(message) else 1


def _is_legacy(config: dict[str, Any]) -> bool:
    order = config.get("COMMIT_ORDER", "after_produce")
    if order not in ("after_produce", "legacy"):
        raise ValueError(f"COMMIT_ORDER is {order!r}; write 'after_produce' or 'legacy'.")
    return bool(order == "legacy")
