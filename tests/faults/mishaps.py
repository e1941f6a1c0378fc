"""What can happen in a night. Each is made on entering, lasts while the block runs and for its own time, and is mended."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from random import Random

from tests.faults.night import SESSION_S, Night

_SECONDS_AWAY = (0.2, 3.0)
_MODES = {signal.SIGINT: "fast", signal.SIGQUIT: "immediate"}
_ENDS = {signal.SIGTERM: "SIGTERM", signal.SIGKILL: "SIGKILL"}


@contextmanager
def killed(night: Night, dice: Random) -> Iterator[str]:
    """A process is killed; the process manager starts another."""
    process = night.readers.kill(dice)
    yield f"kill -9 of process {process.pid}"


@contextmanager
def frozen(night: Night, dice: Random) -> Iterator[str]:
    """A process stands still for longer than its session, and then goes on as if nothing had been."""
    process, seconds = night.readers.choose(dice), SESSION_S * dice.uniform(1.4, 2.5)
    process.send_signal(signal.SIGSTOP)
    since = time.monotonic()
    try:
        yield f"SIGSTOP of process {process.pid} for {seconds:.1f} s (its session ends after {SESSION_S:g} s)"
        time.sleep(max(0.0, since + seconds - time.monotonic()))
    finally:
        process.send_signal(signal.SIGCONT)


@contextmanager
def sessions_ended(night: Night, dice: Random) -> Iterator[str]:
    """The database ends every session, as an administrator would, and takes new ones at once."""
    sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    sql += " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    yield f"pg_terminate_backend of {night.tom.query(sql)[0][0]} sessions"


@contextmanager
def database_away(night: Night, dice: Random) -> Iterator[str]:
    """PostgreSQL is stopped and started."""
    how, seconds = dice.choice(list(_MODES)), dice.uniform(*_SECONDS_AWAY)
    night.servers.postgres.shut_down(how)
    try:
        yield f"PostgreSQL stopped ({_MODES[how]}), started after {seconds:.1f} s"
        time.sleep(seconds)
    finally:
        night.servers.postgres.start()


@contextmanager
def broker_away(night: Night, dice: Random) -> Iterator[str]:
    """Kafka is stopped and started."""
    how, seconds = dice.choice(list(_ENDS)), dice.uniform(*_SECONDS_AWAY)
    night.servers.kafka.kill() if how is signal.SIGKILL else night.servers.kafka.stop()
    try:
        yield f"Kafka stopped ({_ENDS[how]}), started after {seconds:.1f} s"
        time.sleep(seconds)
    finally:
        night.servers.kafka.start()


@contextmanager
def guest(night: Night, dice: Random) -> Iterator[str]:
    """One more process joins the group, gets partitions, and leaves."""
    with night.readers.guest() as process:
        yield f"process {process.pid} joins the group, and leaves (SIGTERM)"
        night.wait(lambda: "reads " in process.log.read_text() or process.poll() is not None, "a guest to join")
        process.terminate()
        night.readers.expect_good_end(process)


@contextmanager
def locked(night: Night, dice: Random) -> Iterator[str]:
    """Another program holds SQLite's only lock for writing, for less than the time-out of 20 s."""
    seconds = dice.uniform(*_SECONDS_AWAY)
    with closing(sqlite3.connect(night.tom.folder / "tom.sqlite3", timeout=60, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield f"another program holds SQLite's lock for {seconds:.1f} s"
        time.sleep(seconds)
        other.execute("ROLLBACK")


@dataclass(frozen=True)
class Kind:
    """One kind of mishap, and the thing that it happens to: of two at once each needs its own."""

    thing: str
    make: Callable[[Night, Random], AbstractContextManager[str]]
    #: It cannot begin while another one lasts, for it waits for what that one has taken away.
    waits: bool = False


POSTGRES: Mapping[str, Kind] = {
    "kill": Kind("process", killed),
    "freeze": Kind("process", frozen),
    "sessions": Kind("database", sessions_ended),
    "database": Kind("database", database_away),
    "broker": Kind("broker", broker_away),
    "member": Kind("guest", guest, waits=True),
}
SQLITE: Mapping[str, Kind] = {
    "kill": Kind("process", killed),
    "freeze": Kind("process", frozen),
    "lock": Kind("database", locked, waits=True),  # a process that stands still may have the lock
    "broker": Kind("broker", broker_away),
}


def plan(kinds: Mapping[str, Kind], count: int, dice: Random) -> list[Kind]:
    """So many mishaps in random order, each kind as often as the others."""
    drawn = [kind for _ in range(-(-count // len(kinds))) for kind in dice.sample(list(kinds.values()), len(kinds))]
    chosen = drawn[:count]
    dice.shuffle(chosen)
    return chosen
