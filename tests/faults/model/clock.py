"""Time that passes only when somebody waits, so that retries, leases and pauses cost a test nothing."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta, timezone

_START = datetime(2026, 11, 1, 12, tzinfo=timezone.utc)


class Clock:
    """Stands in for the module ``time`` and for ``django.utils.timezone.now``."""

    def __init__(self) -> None:
        self._now_s = 0.0

    def monotonic(self) -> float:
        """Seconds since the beginning."""
        return self._now_s

    def now(self) -> datetime:
        """The same as a moment."""
        return _START + timedelta(seconds=self._now_s)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self._now_s += seconds


class Stopping(threading.Event):
    """The request to stop; waiting for it takes no time."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def wait(self, timeout: float | None = None) -> bool:
        """As of an Event that nobody sets meanwhile."""
        assert timeout is not None, "nobody would end this wait"
        if not self.is_set():
            self._clock.wait(timeout)
        return self.is_set()
