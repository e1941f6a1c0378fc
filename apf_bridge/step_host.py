"""Runs one step for one stream: makes it once, gives it each batch clean, and holds back what must wait for the commit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from django.db import transaction

from tom_alertstreams.delivery.failures import text_of
from tom_alertstreams.logs import get_logger

from .compat.core import life_cycle
from .compat.core.parts import Parts, make_step
from .config_report import told
from .outbox import Recorder
from .publisher import Publisher
from .redirect import output_to
from .step_config import messages_at_once, producer_params
from .stream_consumer import StreamConsumer

logger = get_logger(__name__)


class StepHost:
    """One step of one stream in this process. Used from the thread of the stream only.

    :param path: dotted path of the step's class.
    :param contract: ``1``, ``2`` or ``6``; None: told by the step itself.
    :param stream: label of the stream.
    """

    def __init__(
        self, step_class: Any, path: str, config: Mapping[str, Any], contract: str | None, stream: str
    ) -> None:
        self.path = path
        self.stream = stream
        self.outlet_name = f"{stream}: {path}"
        self.recorder = Recorder(producer_params(config))
        self._step_class = step_class
        self._config = {**config, **({} if contract is None else {"CONTRACT": contract})}
        self._at_once = messages_at_once(config)
        self._publisher: Publisher | None = None
        self._step: Any = None

    @property
    def publisher(self) -> Publisher | None:
        """What sends the step's output; None where it has no Kafka producer."""
        if self._publisher is None and self.recorder.params:
            self._publisher = Publisher(self.outlet_name, self.recorder.params)
        return self._publisher

    def run(self, messages: Sequence[dict[str, Any]]) -> list[Any]:
        """Run a batch, in the transaction around it. What it put out is in the recorder.

        :returns: what ``pre_produce`` returned; nothing under contract 1, where steps produce by themselves.
        """
        results: list[Any] = []
        metrics: list[dict[str, Any]] = []
        self.recorder.take()  # what a call that failed has left there
        try:
            with output_to(self.recorder):
                step = self._made()
                for message in self._as_consumed(messages, step.contract):
                    results += self._one(step, message, metrics)
        except Exception as error:
            stage = life_cycle.stage_of(error) or "its constructor"
            logger.warning(
                "%s: %s failed in %s: %s: %s", self.stream, self.path, stage, type(error).__name__, text_of(error)
            )
            raise
        if metrics:
            transaction.on_commit(partial(self._send_metrics, step, metrics))
        return results

    def close(self) -> None:
        """The stream ends: the step's ``tear_down``, if it was ever made. A failure there is only logged."""
        step, self._step = self._step, None
        self._publisher = None
        if step is None:
            return
        try:
            with output_to(self.recorder):
                step.tear_down()
        except Exception as error:  # noqa: BLE001  (whatever a step raises; its batches are committed)
            logger.warning("%s: tear_down of %s failed: %s: %s", self.stream, self.path, type(error).__name__, error)

    def _send_metrics(self, step: Any, metrics: Sequence[Mapping[str, Any]]) -> None:
        """What is committed is committed, whether or not anybody takes its metrics."""
        try:
            for sent in metrics:
                step.send_metrics(**sent)
        except Exception as error:  # noqa: BLE001  (whatever a metrics sender raises)
            logger.warning(
                "%s: the metrics of %s could not be sent: %s: %s",
                self.stream, self.path, type(error).__name__, text_of(error),
            )  # fmt: skip

    def _made(self) -> Any:
        if self._step is None:
            for line in told(self._config):
                logger.info("%s: %s: %s", self.stream, self.path, line)
            step = make_step(self._step_class, self._config, Parts(consumer=StreamConsumer()))
            with life_cycle.stage(step, "pre_consume"):
                step._pre_consume()
            self._step = step  # only now: where pre_consume failed it is tried again
        return self._step

    def _as_consumed(self, messages: Sequence[dict[str, Any]], contract: str) -> Iterator[Any]:
        """As the step's own consumer would yield them: 1.x gets a lone message as a dict."""
        at_once = self._at_once or (1 if contract == "1" else len(messages))
        for start in range(0, len(messages), at_once):
            some = list(messages[start : start + at_once])
            yield some[0] if contract == "1" and at_once == 1 else some

    def _one(self, step: Any, message: Any, metrics: list[dict[str, Any]]) -> list[Any]:
        """What one call put out, with its output flushed into the recorder."""
        prepared = life_cycle.prepare(step, message)
        if prepared.skipped:
            return []
        results = as_list(prepared.result)
        life_cycle.produce(step, replace(prepared, result=results))
        with life_cycle.stage(step, "post_produce"):
            if step.contract != "1":
                step._post_produce()
        metrics += step._held_metrics
        return results


def as_list(result: Any) -> list[Any]:
    """What a step returned as a list: it may be one dict, a generator, or None."""
    if result is None:
        return []
    return [result] if isinstance(result, Mapping) else list(result)
