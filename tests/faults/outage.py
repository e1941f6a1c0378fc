"""The database is away for long, then the broker too, then the broker alone: the process waits, says so, goes on exactly."""

from __future__ import annotations

import time
from pathlib import Path

from confluent_kafka.admin import AdminClient

from tests.faults.gauges import resident_mb
from tests.faults.night import LITTLE_AHEAD, Night, Stalled, night, reading
from tests.faults.results import Result, Say, Size
from tests.faults.servers import Servers
from tests.processes import Process

_ALLOWED = 0.10
#: A member that is silent for 2 * (BATCH_SECONDS + PREPARE_TIMEOUT_S + HANDLER_TIMEOUT_S) is expelled: 3 s, which the
#: outage is longer than.
_DELIVERY = {"BATCH_SECONDS": 0.5, "PREPARE_TIMEOUT_S": 0.5, "HANDLER_TIMEOUT_S": 0.5}
#: Lines that a process may print in one outage, however long it is.
_LINES = 40


def outage(servers: Servers, folder: Path, size: Size, say: Say) -> Result:
    """One process, PostgreSQL. The broker goes when half of the database's outage is over, and is away for as long."""
    result = Result("outage")
    with night(servers, folder, delivery=_DELIVERY, config=LITTLE_AHEAD) as a_night:
        try:
            with reading(a_night, 1) as readers:
                a_night.publish(size.alerts // 3)
                a_night.drain()
                watch = _Watch(a_night, readers.kept[0], size.outage_s, result, lambda s: say(f"outage: {s}"))
                watch.database_then_broker(size.alerts // 3)
                a_night.publish(size.alerts - a_night.sent)
                a_night.drain(watch.measure)
                a_night.wait(lambda: watch.run_says("running"), "StreamRun to say that it runs")
                watch.conclude(readers.kept[0])
            result.mishaps = 2
        except Stalled as stalled:
            result.findings.append(str(stalled))
        books = a_night.audit()
        result.enter(books)
        result.findings += books.findings() + a_night.findings
    return result.end()


class _Watch:
    """What the process says, and what it uses."""

    def __init__(self, a_night: Night, process: Process, outage_s: float, result: Result, say: Say) -> None:
        self._night = a_night
        self._process = process
        self._half_s = outage_s / 2
        self._result = result
        self._say = say
        self._resident_mb = [resident_mb(process)]
        self._lines = len(self._log().splitlines())

    def _log(self) -> str:
        return self._process.log.read_text()

    def measure(self) -> None:
        """Note the memory."""
        if self._process.poll() is None:
            self._resident_mb.append(resident_mb(self._process))

    def _last_for(self, seconds: float) -> None:
        over = time.monotonic() + seconds
        while time.monotonic() < over:
            time.sleep(0.1)
            self.measure()

    def database_then_broker(self, alerts: int) -> None:
        """One outage into the other. More alerts come in the meantime."""
        servers, members = self._night.servers, self._members()
        servers.postgres.shut_down()
        try:
            self._say(f"the database is away, for {2 * self._half_s:g} s")
            self._night.publish(alerts)
            self._night.wait(lambda: "the database cannot be used" in self._log(), "the log to say that it waits")
            self._last_for(self._half_s)
            if self._members() != members:
                self._result.findings.append("the process has lost its place in the group while the database was away")
            servers.kafka.stop()
            try:
                self._say(f"the broker is away as well, for {2 * self._half_s:g} s")
                self._last_for(self._half_s)
                servers.postgres.start()
                self._say("the database is back")
                self._night.wait(lambda: self.run_says("waiting", "broker"), "StreamRun to say that it waits")
                self._last_for(self._half_s)
            finally:
                servers.kafka.start()
            self._say("the broker is back")
        finally:
            if servers.postgres.pid is None:
                servers.postgres.start()

    def _members(self) -> set[str]:
        admin = AdminClient({"bootstrap.servers": self._night.servers.kafka.bootstrap_servers, "log_level": 0})
        group = self._night.group
        return {member.member_id for member in admin.describe_consumer_groups([group])[group].result(20).members}

    def run_says(self, state: str, word: str = "") -> bool:
        """Whether the StreamRun of the process has this state, for a reason with this word."""
        return any(s == state and word in reason and pid == self._process.pid for s, reason, pid in self._night.runs())

    def conclude(self, process: Process) -> None:
        """What it came to."""
        first, most, last = self._resident_mb[0], max(self._resident_mb), self._resident_mb[-1]
        lines = self._log().splitlines()[self._lines :]
        summary = f"resident {first:.1f} MB before, {most:.1f} at most, {last:.1f} at the end; {len(lines)} log lines"
        self._result.notes.append(summary)
        if process is not self._process:
            self._result.findings.append("the process ended in the outage")
        if most / first - 1 >= _ALLOWED:
            self._result.findings.append(f"memory is not flat: {summary}")
        if len(lines) > _LINES:
            self._result.findings.append(f"{len(lines)} log lines in one outage, as:\n" + "\n".join(lines[:20]))
