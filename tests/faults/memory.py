"""Ten times as many alerts, with DEBUG on: what the process uses after the first tenth and at the end is the same."""

from __future__ import annotations

import time
from pathlib import Path

from tests.faults.gauges import Gauge, read, spread
from tests.faults.night import LITTLE_AHEAD, Night, Stalled, night, reading
from tests.faults.results import Result, Say, Size
from tests.faults.servers import Servers

_TIMES = 10
_ALLOWED = 0.10
_EVERY_S = 0.5
_BYTES = 300
#: One alert in ten is handled as in 1.x, two by @alert_handler, seven by @batch_handler.
_MIX = ("one", "each", "each", *["many"] * 7)


def memory(servers: Servers, folder: Path, size: Size, say: Say) -> Result:
    """One process, PostgreSQL, nothing goes wrong."""
    result = Result("memory")
    alerts = _TIMES * size.alerts
    with night(servers, folder, mix=_MIX, config=LITTLE_AHEAD, settings="tests.faults.debug_settings") as a_night:
        try:
            say(f"memory: sending {alerts:,} alerts")
            a_night.publish(alerts, padding=_BYTES)
            with reading(a_night, 1) as readers:
                gauges = _Gauges(a_night, alerts, say)
                a_night.drain(gauges.read)
                gauges.read(now=not readers.findings)
            result.notes.append(gauges.summary())
            result.findings += gauges.findings()
        except Stalled as stalled:
            result.findings.append(str(stalled))
        books = a_night.audit()
        result.enter(books)
        result.findings += books.findings() + a_night.findings
    return result.end()


class _Gauges:
    """Readings of one process, in order."""

    def __init__(self, a_night: Night, alerts: int, say: Say) -> None:
        self._night = a_night
        self._alerts = alerts
        self._say = say
        self._read_at = float("-inf")
        self._told = 0
        self.readings: list[Gauge] = []

    def read(self, *, now: bool = False) -> None:
        """Note one, when it is time; the first when a tenth is handled."""
        if not now and time.monotonic() - self._read_at < _EVERY_S:
            return
        self._read_at = time.monotonic()
        handled = self._night.handled() or 0
        if handled < self._alerts / _TIMES:
            return
        gauge = read(self._night.readers.kept[0], self._night.tom, handled)
        self.readings.append(gauge)
        if (tenths := _TIMES * handled // self._alerts) > self._told:
            self._told = tenths
            self._say(f"memory: {handled:,} handled, {gauge.resident_mb:.1f} MB resident")

    def _grown(self, gauge: Gauge) -> float:
        return gauge.resident_mb / self.readings[0].resident_mb - 1

    def summary(self) -> str:
        """For whoever wants to know."""
        first, last = self.readings[0], self.readings[-1]
        most = max(self.readings, key=self._grown)
        return (
            f"resident {first.resident_mb:.1f} MB after {first.handled:,} alerts, {last.resident_mb:.1f} MB after "
            f"{last.handled:,} ({self._grown(last):+.1%}), at most {most.resident_mb:.1f} MB; "
            f"{spread([g.threads for g in self.readings])} threads, {spread([g.sockets for g in self.readings])} sockets, "
            f"{spread([g.sessions for g in self.readings])} database sessions; {len(self.readings)} readings, DEBUG on"
        )

    def findings(self) -> list[str]:
        """What is not as it was."""
        found = []
        if abs(self._grown(self.readings[-1])) >= _ALLOWED or max(map(self._grown, self.readings)) >= _ALLOWED:
            found.append(f"memory is not constant: {self.summary()}")
        for what in ("threads", "sockets", "sessions"):
            numbers = [getattr(gauge, what) for gauge in self.readings]
            if len(set(numbers)) > 1:
                found.append(f"{what} are not constant: {numbers[:50]}")
        return found
