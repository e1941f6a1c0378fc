"""Times a program that reads alerts: from the first alert it gets to the commit of the last, its start left out."""

from __future__ import annotations

import json
import resource
import time


class Stopwatch:
    """Counts alerts."""

    def __init__(self) -> None:
        self.alerts = 0
        self._began: tuple[float, float] | None = None
        self._ended = (0.0, 0.0)

    def begin(self) -> None:
        """The first alert is here; later calls are nothing."""
        if self._began is None:
            self._began = self._ended = _now()

    def lap(self, alerts: int) -> None:
        """So many more alerts are finished."""
        self.alerts += alerts
        self._ended = _now()

    def tell(self) -> None:
        """Print what it came to, as the line that :func:`tests.benchmarks.bench.timing` reads."""
        began = self._began or self._ended
        seconds, cpu_s = (end - start for end, start in zip(self._ended, began, strict=True))
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"alerts": self.alerts, "seconds": seconds, "cpu_s": cpu_s, "peak_mb": peak_mb}), flush=True)


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()
