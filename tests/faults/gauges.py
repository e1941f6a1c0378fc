"""What a process uses: read from /proc, and from the database it is connected to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.processes import OBSERVER, Process, Tom


@dataclass(frozen=True)
class Gauge:
    """One reading."""

    handled: int
    resident_mb: float
    threads: int
    sockets: int
    #: Of the TOM's database, without ours.
    sessions: int


def read(process: Process, tom: Tom, handled: int) -> Gauge:
    """Read them all now. :raises OSError: the process has ended."""
    folder = Path(f"/proc/{process.pid}")
    status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
    sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name <> %s"
    return Gauge(
        handled,
        resident_mb(process),
        int(status["Threads"]),
        sum(_is_socket(link) for link in (folder / "fd").iterdir()),
        int(tom.query(sql, [OBSERVER])[0][0]),
    )


def resident_mb(process: Process) -> float:
    """Memory that it really has."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
    return int(status["VmRSS"].split()[0]) / 1024


def spread(numbers: Sequence[int]) -> str:
    """One number where they are all the same, else from where to where."""
    return f"{min(numbers)}" if min(numbers) == max(numbers) else f"{min(numbers)} to {max(numbers)}"


def _is_socket(link: Path) -> bool:
    try:
        return os.readlink(link).startswith("socket:")
    except OSError:  # closed meanwhile
        return False
