"""What ``readstreams --metrics-port`` tells Prometheus.

Read from the status of each stream when somebody asks: delivery knows nothing of it, and an alert costs nothing more. Needs
the extra ``metrics``. docs/reference/metrics.md lists the names; a test compares.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any, Final

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.utils import floatToGoString

from .delivery.measures import Histogram
from .delivery.runs import State, Status

_STREAM: Final = ("stream",)


class StreamCollector:
    """The streams of this process, as they are at this moment."""

    def __init__(self, statuses: Sequence[Status]) -> None:
        self._statuses = statuses

    def collect(self) -> Iterator[Any]:
        """As prometheus_client asks it."""
        yield from self._alerts()
        yield from self._times()
        yield from self._states()

    def _alerts(self) -> Iterator[Any]:
        counts = {
            "received": "Alerts that the broker brought and that are handled, rejected or kept.",
            "done": "Alerts that a handler took.",
            "dead": "Alerts that became dead letters.",
            "retries": "Tries that failed and are followed by another one.",
        }
        for name, words in counts.items():
            family = CounterMetricFamily(f"alertstreams_{name}", words, labels=_STREAM)
            for status in self._statuses:
                family.add_metric([status.label], status.tally["waiting" if name == "retries" else name])
            yield family
        rejected = CounterMetricFamily(
            "alertstreams_rejected", "Alerts that a rule rejected.", labels=(*_STREAM, "code")
        )
        lag = GaugeMetricFamily(
            "alertstreams_lag",
            "Alerts on the broker that are not handled yet.",
            labels=(*_STREAM, "topic", "partition"),
        )
        for status in self._statuses:
            for code, n in dict(status.tally.codes).items():
                rejected.add_metric([status.label, code], n)
            for (topic, partition), n in dict(status.lags).items():
                lag.add_metric([status.label, topic, str(partition)], n)
        yield from (rejected, lag)

    def _times(self) -> Iterator[Any]:
        batch = HistogramMetricFamily("alertstreams_batch_seconds", "How long a transaction was open.", labels=_STREAM)
        handler = HistogramMetricFamily(
            "alertstreams_handler_seconds", "How long handlers took in one transaction.", labels=(*_STREAM, "handler")
        )
        age = HistogramMetricFamily(
            "alertstreams_alert_age_seconds", "From when an alert was sent until it was committed.", labels=_STREAM
        )
        for status in self._statuses:
            _add(batch, [status.label], status.measures.batch)
            _add(age, [status.label], status.measures.age)
            for path, histogram in status.measures.handlers.items():
                _add(handler, [status.label, path], histogram)
        yield from (batch, handler, age)

    def _states(self) -> Iterator[Any]:
        state = GaugeMetricFamily(
            "alertstreams_state", "1 for the state that a stream is in.", labels=(*_STREAM, "state")
        )
        fuse = GaugeMetricFamily(
            "alertstreams_fuse_blown", "1 from when the fuse blew until an alert has succeeded.", labels=_STREAM
        )
        heartbeat = GaugeMetricFamily(
            "alertstreams_heartbeat_age_seconds", "Since the stream wrote its row.", labels=_STREAM
        )
        turn = GaugeMetricFamily(
            "alertstreams_turn_age_seconds", "Since the loop went round, or a handler began or ended.", labels=_STREAM
        )
        now = time.monotonic()
        for status in self._statuses:
            shown = State.STUCK if status.stuck else status.state
            for known in State.values:
                state.add_metric([status.label, known], float(shown == known))
            if status.moved_at is not None:
                turn.add_metric([status.label], now - status.moved_at)
            fuse.add_metric([status.label], float(bool(status.fuse_blown)))
            if status.beat_at is not None:
                heartbeat.add_metric([status.label], now - status.beat_at)
        yield from (state, fuse, heartbeat, turn)


def _add(family: Any, labels: Sequence[str], histogram: Histogram) -> None:
    bounds = [*(floatToGoString(bound) for bound in histogram.bounds), "+Inf"]
    family.add_metric(labels, list(zip(bounds, accumulate(histogram.counts), strict=True)), histogram.total)


@contextmanager
def metrics_server(statuses: Sequence[Status], port: int, address: str) -> Iterator[int]:
    """Answer to Prometheus while the block runs. A registry of its own: what else the process counts is not ours to tell.

    :param port: 0 for any that is free.
    :returns: the port.
    :raises OSError: the port is taken, or the address is none of this machine's.
    """
    registry = CollectorRegistry()
    registry.register(StreamCollector(statuses))
    ProcessCollector(registry=registry)
    server, thread = start_http_server(port, address, registry)
    thread.name = "alertstream-metrics"
    try:
        yield server.server_port
    finally:
        _stop(server, thread)


def _stop(server: Any, thread: threading.Thread) -> None:
    server.shutdown()
    server.server_close()
    thread.join(2.0)
