"""What a step tells Prometheus in a stream, held until its batch is committed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .compat.metrics.prometheus import serve


@dataclass(frozen=True)
class Observation:
    """One value for one summary."""

    summary: Any
    amount: float

    def send(self) -> None:
        """Prometheus may have it now."""
        self.summary.observe(self.amount)


class HeldPrometheus:
    """In place of ``PrometheusMetrics``. What a batch was is told after its commit anyway; what it consumed is held here.

    Beside APF's summaries, which know no step, it counts the messages of each step by what became of them.

    :param port: where this process serves them.
    :raises ImportError: prometheus-client is not installed.
    :raises OSError: something else has the port.
    """

    def __init__(self, port: int, stream: str, step: str) -> None:
        self._stream, self._step = stream, step
        self._observed: list[Observation] = []
        real = serve(port)
        self.consumed_messages = _Held(real.consumed_messages, self._observed)
        self.processed_messages, self.execution_time = real.processed_messages, real.execution_time

    def count(self, outcome: str, messages: int) -> None:
        """What became of messages: ``done``, or ``failed`` where one alone made the step fail, at each try."""
        _counter().labels(stream=self._stream, step=self._step, outcome=outcome).inc(messages)

    def take(self) -> list[Observation]:
        """What was observed since it was last taken; nothing is kept of it."""
        observed = [*self._observed]
        self._observed.clear()
        return observed


@dataclass(frozen=True)
class _Held:
    summary: Any
    observed: list[Observation]

    def observe(self, amount: float) -> None:
        self.observed.append(Observation(self.summary, amount))


@lru_cache(maxsize=None)  # noqa: UP033  the registry takes a name once
def _counter() -> Any:
    from prometheus_client import Counter

    return Counter("apf_step_messages", "Messages of a step by what became of them", ["stream", "step", "outcome"])
