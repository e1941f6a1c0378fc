"""``readstreams`` as a process whose log is a file: it can be read meanwhile, and a long one holds nobody up."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.processes import ROOT, Tom


@contextmanager
def readstreams(tom: Tom, log: Path) -> Iterator[subprocess.Popen[str]]:
    """Killed at the end if it still runs."""
    with log.open("a") as file:
        command = [sys.executable, "-m", "django", "readstreams"]
        process = subprocess.Popen(command, env=tom.environment(), cwd=ROOT, text=True, stdout=file, stderr=file)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
