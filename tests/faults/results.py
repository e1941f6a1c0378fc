"""What a proof came to, and the table of all."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.faults.audit import Books

Say = Callable[[str], None]


@dataclass(frozen=True)
class Size:
    """How much a proof is made to bear."""

    alerts: int
    mishaps: int
    seed: int
    outage_s: float


@dataclass
class Result:
    """One line of the table, and what is told below it."""

    proof: str
    alerts: int = 0
    mishaps: int = 0
    lost: int = 0
    twice: int = 0
    #: Dead letters that are left.
    dead: int = 0
    seconds: float = 0.0
    #: What was measured, for whoever wants to know.
    notes: list[str] = field(default_factory=list)
    #: What is wrong. The proof has failed where there is anything.
    findings: list[str] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic, repr=False)

    def enter(self, books: Books) -> None:
        """Take the numbers of an audit."""
        self.alerts, self.lost, self.twice = books.alerts, len(books.lost), len(books.twice)
        self.dead = sum(n for state, n in books.letters.items() if state in ("open", "waiting"))

    def end(self) -> Result:
        """Stop the clock."""
        self.seconds = time.monotonic() - self._began
        return self

    @property
    def verdict(self) -> str:
        """In one word."""
        return "FAILED" if self.findings else "holds"


_COLUMNS = ("proof", "alerts", "mishaps", "lost", "twice", "dead", "seconds", "verdict")


def table(results: Sequence[Result]) -> str:
    """The results, with a line for each, and below it what was measured and what is wrong."""
    rows = [
        (r.proof, *(f"{n:,}" for n in (r.alerts, r.mishaps, r.lost, r.twice, r.dead)), f"{r.seconds:.0f}", r.verdict)
        for r in results
    ]
    widths = [max(map(len, column)) for column in zip(_COLUMNS, *rows, strict=True)]
    lines = []
    for row in (_COLUMNS, *rows):
        cells = [
            cell.ljust(width) if column in ("proof", "verdict") else cell.rjust(width)
            for column, cell, width in zip(_COLUMNS, row, widths, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    lines += [""] + [f"{result.proof}: {note}" for result in results for note in result.notes]
    lines += [f"{result.proof}: FAILED: {finding}" for result in results for finding in result.findings]
    return "\n".join(lines)


def say(line: str) -> None:
    """To the operator, at once."""
    print(line, flush=True)
