"""Mishap upon mishap while alerts are read: none is lost, none is there twice, none has spent a try."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from random import Random

from tests.faults import mishaps
from tests.faults.mishaps import Kind, plan
from tests.faults.night import Night, Stalled, night, reading
from tests.faults.results import Result, Say, Size
from tests.faults.servers import Servers

#: How often a mishap comes before the one before is over.
_TOGETHER = 0.25


def storm(servers: Servers, folder: Path, size: Size, say: Say) -> Result:
    """Two processes in one consumer group, PostgreSQL, every mishap."""
    return _storm("storm", servers, folder, size, say, mishaps.POSTGRES, processes=2)


def storm_on_sqlite(servers: Servers, folder: Path, size: Size, say: Say) -> Result:
    """One process, SQLite, and what can happen there."""
    return _storm("storm on SQLite", servers, folder, size, say, mishaps.SQLITE, processes=1)


def _storm(
    proof: str, servers: Servers, folder: Path, size: Size, say: Say, kinds: Mapping[str, Kind], *, processes: int
) -> Result:
    result = Result(proof)
    dice = Random(size.seed)
    with night(servers, folder, sqlite=processes == 1) as a_night:
        try:
            with reading(a_night, processes):
                driver = Driver(
                    a_night, plan(kinds, size.mishaps, dice), size.alerts, dice, lambda s: say(f"{proof}: {s}")
                )
                driver.run()
                result.mishaps = driver.made
                a_night.drain()
        except Stalled as stalled:
            result.findings.append(str(stalled))
        books = a_night.audit()
        result.enter(books)
        result.findings += books.findings() + a_night.findings
    return result.end()


class Driver:
    """Sends the alerts in as many portions as there are mishaps, and makes one somewhere in each portion."""

    def __init__(self, a_night: Night, planned: list[Kind], alerts: int, dice: Random, say: Say) -> None:
        self.made = 0
        self._handled = 0
        #: What a mishap is happening to.
        self._hurt: set[str] = set()
        self._night = a_night
        self._planned = planned
        self._alerts = alerts
        self._portion = alerts // (len(planned) + 1)
        self._dice = dice
        self._say = say

    def run(self) -> None:
        total = len(self._planned)
        while self._planned:
            # As many portions as mishaps are over, and one more, are on the broker: there is always work to disturb.
            self._night.publish(min(self._alerts, self._portion * (self.made + 2)) - self._night.sent)
            self._night.wait_handled(self._night.sent - self._portion - int(self._portion * self._dice.random()))
            self._make(self._planned.pop(0), total)
        self._night.publish(self._alerts - self._night.sent)

    def _make(self, kind: Kind, total: int) -> None:
        with kind.make(self._night, self._dice) as what:
            self._hurt.add(kind.thing)
            self.made += 1
            self._handled = self._night.handled() or self._handled  # None while the database is away
            self._say(f"{self._handled:,} handled, mishap {self.made}/{total}: {what}")
            together, following = self._dice.random() < _TOGETHER, self._planned[:1]
            if together and following and following[0].thing not in self._hurt and not following[0].waits:
                self._make(self._planned.pop(0), total)
        self._hurt.discard(kind.thing)
