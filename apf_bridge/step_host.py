"""Runs one step for one stream: makes it once, gives it each batch clean, and holds back what must wait for the commit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from django.db import Error, transaction

from tom_alertstreams.alerts import Alert
from tom_alertstreams.delivery.failures import text_of
from tom_alertstreams.exceptions import FatalStreamError, TransientError
from tom_alertstreams.logs import get_logger

from .compat.core import life_cycle
from .compat.core.config_keys import ConfigError
from .compat.core.parts import Parts, make_step
from .held_prometheus import HeldPrometheus, Observation
from .outbox import Recorder, store
from .publisher import Publisher
from .redirect import begin_stream, end_stream, output_to
from .step_config import copied, messages_at_once, producer_params, section
from .step_from_settings import refuse_silence
from .stream_consumer import StreamConsumer

logger = get_logger(__name__)

#: Metrics, messages and seconds of one call.
Measured = tuple[dict[str, Any], int, float]


class StepHost:
    """One step of one stream in this process. Used from the thread of the stream only.

    :param path: dotted path of the step's class.
    :param contract: ``1``, ``2`` or ``6``; None: told by the step itself.
    :param stream: label of the stream.
    :param prometheus_port: where Prometheus finds the step's summaries; None: nowhere.
    """

    def __init__(
        self,
        step_class: Any,
        path: str,
        config: Mapping[str, Any],
        contract: str | None,
        stream: str,
        prometheus_port: int | None = None,
    ) -> None:
        self.path = path
        self.stream = stream
        self.outlet_name = f"{stream}: {path}"
        self.recorder = Recorder(producer_params(config))
        self._step_class = step_class
        self._config = {**config, **({} if contract is None else {"CONTRACT": contract})}
        self._at_once = messages_at_once(config)
        self._publisher: Publisher | None = None
        self._shares_with: StepHost | None = None
        self._step: Any = None
        self._consumer = StreamConsumer(section(config, "CONSUMER_CONFIG"))
        self._prometheus_port = prometheus_port
        self._prometheus: HeldPrometheus | None = None

    @property
    def publisher(self) -> Publisher | None:
        """What sends the step's output; None where it has no Kafka producer."""
        if self._shares_with is not None:
            return self._shares_with.publisher
        if self._publisher is None and self.recorder.params:
            self._publisher = Publisher(self.outlet_name, self.recorder.params)
        return self._publisher

    def share(self, other: StepHost) -> None:
        """Put out through the publisher of another host of the same outlet, which then has the producers of both."""
        self._shares_with = other
        other.recorder.params.update(self.recorder.params)
        self.recorder.params = other.recorder.params

    def turn(self) -> None:
        """Between two batches: make the step if need be, keep what its own threads have put out, and send.

        :raises FatalStreamError: it cannot be made.
        """
        self.begin(serving=True)
        self._store_rest()
        if self.publisher is not None:
            self.publisher.turn()

    def begin(self, serving: bool = False) -> None:
        """Make the step, before the stream's first alert: so its producers are known, and no alert is to blame where it fails.

        :param serving: this process runs the stream: Prometheus finds the step here.
        :raises FatalStreamError: it cannot be made, or what it puts out would go nowhere.
        """
        if self._step is not None:
            return
        self.recorder.take()
        begin_stream(self.recorder)
        try:
            with output_to(self.recorder):
                self._step = self._made(serving)
        except (TransientError, Error):  # something is away: the stream waits
            raise
        except ConfigError as error:
            raise FatalStreamError(
                f"{self.path} is not run: {' '.join(error.problems)}",
                stream=self.stream,
                hint="Name CLASS in STEP_CONFIG, or take the section out.",
            ) from error
        except (Exception, SystemExit) as error:
            stage = life_cycle.stage_of(error) or "its constructor"
            raise FatalStreamError(
                f"{self.path} failed in {stage}: {type(error).__name__}: {text_of(error)}",
                stream=self.stream,
                hint="No alert is read before it can be made.",
            ) from error
        self._store_rest()

    def run(self, messages: Sequence[dict[str, Any]], alerts: Sequence[Alert] = ()) -> list[Any]:
        """Run a batch, in the transaction around it. What it put out is in the recorder.

        :param alerts: that of each message, for steps that look into their consumer.
        :returns: what ``pre_produce`` returned; nothing under contract 1, where steps produce by themselves.
        """
        results: list[Any] = []
        metrics: list[Measured] = []
        self.begin()
        step = self._step
        self._observed()
        try:
            with output_to(self.recorder):
                for message in self._as_consumed(messages, alerts, step.contract):
                    results += self._one(step, message, metrics)
        except BaseException as error:
            self.recorder.take()  # of a call that failed nothing is put out
            if isinstance(error, (Exception, SystemExit)):
                self._note_failure(error, len(messages))
            raise
        if self._prometheus is not None:
            transaction.on_commit(partial(self._prometheus.count, "done", len(messages)))
        observed = self._observed()
        if metrics or observed:
            transaction.on_commit(partial(self._send_metrics, step, metrics, observed))
        return results

    def close(self, sending: bool = True) -> None:
        """The stream ends: the step's ``tear_down``, if it was ever made, and the rest of its output and metrics is sent.

        :param sending: False: the outbox keeps its output, for the process that runs the stream.

        A failure of the step here, ``sys.exit()`` among them, is only logged: its batches are committed.
        """
        step, self._step = self._step, None
        try:
            if step is not None:
                self._ended("tear_down", partial(self._tear_down, step))
                self._ended("the flush of its metrics", partial(life_cycle.flush_metrics, step))
        finally:
            end_stream(self.recorder)
            if sending and self.publisher is not None:
                self.publisher.end()
            self._publisher = None

    def _note_failure(self, error: BaseException, messages: int) -> None:
        stage = life_cycle.stage_of(error) or "a batch"
        logger.warning(
            "%s: %s failed in %s: %s: %s", self.stream, self.path, stage, type(error).__name__, text_of(error)
        )
        if self._prometheus is not None and messages == 1:
            self._prometheus.count("failed", 1)

    def _ended(self, what: str, last_call: Callable[[], None]) -> None:
        try:
            last_call()
        except (Exception, SystemExit) as error:  # noqa: BLE001  (whatever a step raises)
            logger.warning(
                "%s: %s of %s failed: %s: %s", self.stream, what, self.path, type(error).__name__, text_of(error)
            )

    def _tear_down(self, step: Any) -> None:
        """Steps put out here what they have kept till the end."""
        try:
            with output_to(self.recorder):
                step._tear_down()
        finally:  # what was put out before a failure is put out
            self._store_rest()

    def _store_rest(self) -> None:
        """What was put out in no batch."""
        outputs = self.recorder.take()
        if not outputs or self.publisher is None:
            return
        try:
            with transaction.atomic():
                store(self.publisher.outlet(), outputs, [])
        except Error:  # the database is away: at the next turn
            self.recorder.outputs[:0] = outputs
            raise
        self.publisher.has_more = True

    def _observed(self) -> list[Observation]:
        return self._prometheus.take() if self._prometheus is not None else []

    def _send_metrics(self, step: Any, metrics: Sequence[Measured], observed: Sequence[Observation]) -> None:
        """What is committed is committed, whether or not anybody takes its metrics."""
        for one in observed:
            one.send()
        try:
            for measured in metrics:
                step._tell(*measured)
        except Exception as error:  # noqa: BLE001  (whatever a metrics sender raises)
            logger.warning(
                "%s: the metrics of %s could not be sent: %s: %s",
                self.stream, self.path, type(error).__name__, text_of(error),
            )  # fmt: skip

    def _made(self, serving: bool) -> Any:
        parts = Parts(consumer=self._consumer, prometheus_metrics=self._served() if serving else None)
        step = make_step(self._step_class, copied(self._config), parts)
        refuse_silence(step)
        step._write_success = lambda: None  # __SUCCESS__ says that all is read, and a stream goes on
        with life_cycle.stage(step, "pre_consume"):
            step._pre_consume()
        return step

    def _served(self) -> HeldPrometheus | None:
        """A port that another process has is no reason not to run: of several readstreams the first has it."""
        if self._prometheus is None and self._prometheus_port is not None:
            try:
                self._prometheus = HeldPrometheus(self._prometheus_port, self.stream, self.path)
            except (ImportError, OSError) as error:
                logger.warning("%s: Prometheus finds nothing of %s: %s", self.stream, self.path, error)
                self._prometheus_port = None
        return self._prometheus

    def _as_consumed(self, messages: Sequence[dict[str, Any]], alerts: Sequence[Alert], contract: str) -> Iterator[Any]:
        """As the step's own consumer would yield them: 1.x gets a lone message as a dict."""
        at_once = self._at_once or (1 if contract == "1" else len(messages))
        for start in range(0, len(messages), at_once):
            some = list(messages[start : start + at_once])
            # An alert may have several messages.
            self._consumer.alerts = [*{id(alert): alert for alert in alerts[start : start + at_once]}.values()]
            yield some[0] if contract == "1" and at_once == 1 else some

    def _one(self, step: Any, message: Any, metrics: list[Measured]) -> list[Any]:
        """What one call put out, with its output flushed into the recorder."""
        prepared = life_cycle.prepare(step, message)
        if prepared.skipped:
            return []
        with life_cycle.stage(step, "produce"):  # a generator runs only now
            prepared = life_cycle.read_once(prepared)
        results = life_cycle.as_list(prepared.result)
        life_cycle.produce(step, prepared)
        with life_cycle.stage(step, "post_produce"):
            if step.contract != "1":
                step._post_produce()
        metrics += step._held_metrics
        return results
