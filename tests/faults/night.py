"""One night: alerts through Kafka into a TOM of its own, whatever is done to the processes and servers meanwhile."""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg

from tests.faults.audit import Books, audit, ends
from tests.faults.readers import Readers
from tests.faults.servers import Servers
from tests.processes import Tom

PARTITIONS = 4
SESSION_S = 1.5
#: Shortened by settings: when Kafka gives up a member, and how soon a client finds a broker that is back.
QUICK = {
    "session.timeout.ms": int(1000 * SESSION_S),
    "heartbeat.interval.ms": 300,
    "fetch.wait.max.ms": 10,
    "reconnect.backoff.max.ms": 1000,
}
#: What is fetched ahead is memory too, some 60 MB by default while there is more to fetch. Little, so that a leak shows.
LITTLE_AHEAD = {"queued.max.messages.kbytes": 1024, "queued.min.messages": 1000, "max.partition.fetch.bytes": 65_536}
#: Of an alert that fails.
TRIES = 3
_DELIVERY = {"RETRY": {"TOTAL": TRIES, "MIN_WAIT_S": 0.2, "MAX_WAIT_S": 1, "BACKOFF": 2}}
#: As often as an alert of each way of being called.
EVENLY = ("one", "each", "many")
#: Longer than anything that is waited for between two alerts: the loop's longest pause is 30 s.
_STALL_S = 120.0
_AWAY = (psycopg.OperationalError, sqlite3.OperationalError)


class Stalled(Exception):
    """Nothing moves any more."""


class Night:
    """A TOM, its topics, and what was sent to them."""

    #: How many alerts are handled.
    how_far = "SELECT coalesce(sum(next_offset), 0) FROM tom_alertstreams_streampartition"

    def __init__(self, servers: Servers, tom: Tom, token: str, mix: Sequence[str]) -> None:
        self.servers = servers
        self.tom = tom
        self.sent = 0
        self.group = f"night-{token}"
        #: A topic for each handler, called like it.
        self.topics = {handler: f"{handler}-{token}" for handler in dict.fromkeys(mix)}
        self.findings: list[str] = []
        self.readers = Readers(tom, 0)
        self._mix = mix

    def publish(self, count: int, poisoned: Container[int] = (), *, padding: int = 0) -> None:
        """Send more alerts, numbered on from the last; they are on the broker when this returns.

        :param poisoned: numbers of those that their handler cannot take.
        :param padding: bytes that nobody reads.
        """
        for number in range(self.sent, self.sent + count):
            turn, place = divmod(number, len(self._mix))
            content = {"n": number, "poison": number in poisoned, "padding": "x" * padding}
            topic = self.topics[self._mix[place]]
            self.servers.kafka.produce(topic, json.dumps(content), partition=turn % PARTITIONS)
        self.servers.kafka.flush(120)
        self.sent += count

    # --- how far -----------------------------------------------------------------------------------------------------

    def handled(self) -> int | None:
        """How many alerts the offsets in the database have passed; None while it is away."""
        try:
            rows = self.tom.query(self.how_far)
        except _AWAY:
            return None
        return int(rows[0][0])

    def wait_handled(self, target: int, watch: Callable[[], Any] = lambda: None) -> None:
        """Wait until so many alerts are handled.

        :param watch: called again and again meanwhile.
        :raises Stalled: nothing has moved for long.
        """
        last, since = self.handled(), time.monotonic()
        while last is None or last < target:
            if time.monotonic() - since > _STALL_S:
                raise Stalled(f"no alert handled for {_STALL_S:.0f} s, {last} of {target}. {self.states()}")
            time.sleep(0.05)
            watch()
            if (now := self.handled()) != last:
                last, since = now, time.monotonic()

    def wait(self, condition: Callable[[], Any], what: str, timeout_s: float = 60) -> Any:
        """The first true value of a condition. :raises Stalled: it does not come true."""
        deadline = time.monotonic() + timeout_s
        while not (value := condition()):
            if time.monotonic() > deadline:
                raise Stalled(f"waited {timeout_s:.0f} s for {what}. {self.states()}")
            time.sleep(0.05)
        return value

    def runs(self) -> list[tuple[str, str, int]]:
        """State, reason and pid of the streams that have not ended, the youngest first; none while the database is away."""
        sql = "SELECT state, reason, pid FROM tom_alertstreams_streamrun WHERE ended IS NULL ORDER BY id DESC"
        try:
            return self.tom.query(sql)  # type: ignore[return-value]
        except _AWAY:
            return []

    def states(self) -> str:
        """What the processes say of themselves."""
        alive = {process.pid: process.poll() is None for process in self.readers.kept}
        rows = [f"pid {pid} {state} {reason}" for state, reason, pid in self.runs() if alive.get(pid)]
        logs = [process.log.read_text()[-1500:] for process in self.readers.kept]
        return "\n".join(["StreamRun: " + "; ".join(rows), *logs])

    # --- its end -------------------------------------------------------------------------------------------------------

    def drain(self, watch: Callable[[], Any] = lambda: None) -> dict[tuple[str, int], int]:
        """Wait until everything that the broker has is handled.

        :returns: where each partition ends.
        """
        sent = ends(self.servers.kafka, list(self.topics.values()))
        if sum(sent.values()) < self.sent:
            raise Stalled(f"{self.sent:,} alerts were sent and acknowledged, and the broker has {sum(sent.values()):,}")
        self.wait_handled(sum(sent.values()), watch)
        return sent

    def audit(self) -> Books:
        """What is there now, as against what the broker has."""
        return audit(self.tom, ends(self.servers.kafka, list(self.topics.values())))


@contextmanager
def night(
    servers: Servers,
    folder: Path,
    *,
    sqlite: bool = False,
    mix: Sequence[str] = EVENLY,
    delivery: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
    settings: str = "tests.faults.night_settings",
) -> Iterator[Night]:
    """A TOM with empty tables and a topic for each handler of ``mix``, without a process yet.

    :param folder: for its logs and its SQLite; made here.
    :param mix: which handler the alerts are for, in turn.
    """
    token = uuid.uuid4().hex[:6]
    folder.mkdir()
    with ExitStack() as stack:
        tom = Tom(folder, None if sqlite else stack.enter_context(servers.database()), settings)
        tom.migrate()
        a_night = Night(servers, tom, token, mix)
        for topic in a_night.topics.values():
            stack.enter_context(servers.topic(topic, PARTITIONS))
        paths = {topic: f"tests.faults.handlers.{handler}" for handler, topic in a_night.topics.items()}
        options = {
            "BOOTSTRAP_SERVERS": servers.kafka.bootstrap_servers,
            "GROUP_ID": a_night.group,
            "TOPIC_HANDLERS": paths,
            "CONFIG": {**QUICK, **(config or {})},
        }
        stream = {"NAME": "tom_alertstreams.alertstreams.kafka.KafkaAlertStream", "LABEL": "night", "OPTIONS": options}
        tom.streams = [{**stream, "DELIVERY": {**_DELIVERY, **(delivery or {})}}]
        yield a_night


@contextmanager
def reading(a_night: Night, count: int) -> Iterator[Readers]:
    """``readstreams``, kept running so many times."""
    with Readers(a_night.tom, count) as readers:
        a_night.readers = readers
        try:
            yield readers
            readers.stop()
        finally:
            a_night.findings += readers.findings
