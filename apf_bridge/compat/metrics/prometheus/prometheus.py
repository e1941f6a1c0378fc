"""What Prometheus is told of a step: messages consumed and processed, seconds of a batch."""

from __future__ import annotations

from functools import lru_cache
from typing import Any


class PrometheusMetrics:
    """Three summaries in Prometheus' registry of the process. A second instance shares them.

    :raises ImportError: prometheus-client is not installed.
    """

    def __init__(self) -> None:
        self.consumed_messages = _summary("consumed_messages", "Current number of messages consumed")
        self.processed_messages = _summary("processed_messages", "Current number of messages processed")
        self.execution_time = _summary("execution_time", "Execution time of processed batch")


def serve(port: int) -> PrometheusMetrics:
    """What Prometheus finds at ``http://…:PORT/metrics`` from now on; a port is served once.

    :raises OSError: something else has the port.
    """
    metrics = PrometheusMetrics()
    _serve(port)
    return metrics


class DefaultPrometheusMetrics(PrometheusMetrics):
    """Tells nobody."""

    def __init__(self) -> None:
        self.consumed_messages = self.processed_messages = self.execution_time = self.telescope_id = _Silent()


class _Silent:
    def observe(self, amount: float) -> None:
        pass

    def state(self, state: str) -> None:
        pass


@lru_cache(maxsize=None)  # noqa: UP033  the registry takes a name once
def _summary(name: str, text: str) -> Any:
    try:
        from prometheus_client import Summary
    except ImportError as error:
        raise ImportError("Metrics for Prometheus need prometheus-client: pip install prometheus-client.") from error
    return Summary(name, text)


@lru_cache(maxsize=None)  # noqa: UP033
def _serve(port: int) -> Any:
    from prometheus_client import start_http_server

    return start_http_server(port)
