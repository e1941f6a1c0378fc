"""A progress bar where somebody watches, nothing where the output goes to a file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(text: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how many of the total are done; the function that it gives is told."""
    if not sys.stdout.isatty():
        print(f"{text} …", flush=True)
        yield lambda done: None
        return
    try:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    except ImportError:
        yield lambda done: print(f"\r{text}: {done} of {total}", end="", flush=True)
        print()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as bar:
        task = bar.add_task(text, total=total)
        yield lambda done: bar.update(task, completed=done)
