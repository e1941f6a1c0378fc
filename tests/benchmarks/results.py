"""What was measured: a line for each, the table of all, and the file that keeps them."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Line:
    """One measure: ours, what it is compared with in the same run, and what has to come out."""

    row: str
    measure: str
    #: One number for each repeat.
    ours: Sequence[float] = ()
    beside: str = ""
    others: Sequence[float] = ()
    #: What ``value`` must reach; None: nothing is asked, it is only told.
    bound: float | None = None
    #: It must not be more than the bound.
    at_most: bool = False
    unit: str = "alerts/s"
    #: Why it could not be measured here.
    reason: str = ""
    #: What went wrong.
    error: str = ""
    #: For whoever wants to know more.
    notes: Sequence[str] = ()

    @property
    def value(self) -> float | None:
        """Ours to the other's; where less is better (``at_most``) the other's to ours; ours where there is no other."""
        if not self.ours:
            return None
        if not self.others:
            return median(self.ours)
        ours, others = median(self.ours), median(self.others)
        return others / ours if self.at_most else ours / others

    @property
    def missed(self) -> bool:
        """It was measured, and is not what it must be."""
        if self.value is None or self.bound is None:
            return False
        return self.value > self.bound if self.at_most else self.value < self.bound

    @property
    def verdict(self) -> str:
        """In one word."""
        if self.error:
            return "CRASHED"
        if self.value is None:
            return "left out"
        if self.bound is None:
            return "told"
        return "MISSED" if self.missed else "reached"

    def as_json(self) -> dict[str, Any]:
        """For bench.json."""
        return {
            "row": self.row, "measure": self.measure, "ours": list(self.ours), "beside": self.beside,
            "others": list(self.others), "unit": self.unit, "value": self.value, "bound": self.bound,
            "at_most": self.at_most, "verdict": self.verdict, "reason": self.reason, "error": self.error,
            "notes": list(self.notes),
        }  # fmt: skip


@dataclass
class Report:
    """All lines of one run."""

    command: str
    lines: list[Line] = field(default_factory=list)
    began: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    #: How many programs wanted a core in the minute before; much more than 0: something else was running.
    load_before: float = field(default_factory=lambda: os.getloadavg()[0])

    def table(self) -> str:
        """A line for each measure, and below it what else there is to say."""
        columns = ("row", "measure", "ours", "", "beside", "ratio", "must be", "")
        rows = [_cells(line) for line in self.lines]
        widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
        right = (2, 4, 5, 6)
        text = [
            "  ".join(
                cell.rjust(width) if n in right else cell.ljust(width)
                for n, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in (columns, *rows)
        ]
        for line in self.lines:
            text += [f"{line.row}: {note}" for note in line.notes]
            if line.reason:
                text.append(f"{line.row}: left out: {line.reason}")
            if line.error:
                text.append(f"{line.row}: CRASHED: {line.error}")
        return "\n".join(text)

    def write(self, path: Path) -> None:
        """As JSON, with the machine."""
        content = {
            "command": self.command,
            "began": self.began.isoformat(timespec="seconds"),
            "ended": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "load_before": round(self.load_before, 2),
            "machine": machine(),
            "lines": [line.as_json() for line in self.lines],
        }
        path.write_text(json.dumps(content, indent=1) + "\n")


def machine() -> dict[str, Any]:
    """Where it ran, and with what."""
    packages = ("Django", "tomtoolkit", "psycopg", "confluent-kafka", "fastavro")
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in packages},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _cells(line: Line) -> tuple[str, ...]:
    ours = _number(median(line.ours)) if line.ours else ""
    ratio = "" if line.value is None or not line.others else f"{line.value:.2f}"
    if line.others and line.value is not None and line.value >= 10:
        ratio = f"{line.value:.0f}"
    bound = "" if line.bound is None else f"{'≤' if line.at_most else '≥'} {line.bound:g}"
    others = f"{line.beside} {_number(median(line.others))}" if line.others else line.beside
    return (line.row, line.measure, ours, line.unit if ours else "", others, ratio, bound, line.verdict)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
