"""A progress bar where somebody watches, nothing where the output goes to a file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_WIDTH = 30


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Gives a function that is told how many are done, of how many."""
    out = sys.stderr
    if not out.isatty():
        yield lambda done, total: None
        return

    def show(done: int, total: int) -> None:
        filled = _WIDTH * done // max(total, 1)
        out.write(f"\r{what} [{'#' * filled}{'.' * (_WIDTH - filled)}] {done:,} of {total:,}")
        out.flush()

    try:
        yield show
    finally:
        out.write("\n")
