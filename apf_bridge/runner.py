"""Runs a step outside of any stream, from its own consumer: ``apf-run-step`` and ``manage.py runapfstep``.

Needs no Django. At least once: results are written and output is delivered before the consumer's offset is committed.
"""

from __future__ import annotations

import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

from apf_bridge.compat.core import life_cycle

#: Seconds between lines of progress.
EVERY_S: Final = 10.0


class ResultWriter(Protocol):
    """Where results go besides the step's own producer."""

    def received(self, consumer: Any, messages: list[dict[str, Any]]) -> None:
        """A batch, before the step can change it."""

    def write(self, results: list[Any]) -> None:
        """What the step made of it. When this returns, they are safe."""

    def __str__(self) -> str:
        """What became of all results so far, for people."""


class Progress(life_cycle.Watcher):
    """Counts what a step has done, says so now and then, and stops it where it has done enough.

    :param limit: messages after which the step stops, when their batch is done; None: it reads on.
    """

    def __init__(
        self,
        step: Any,
        tell: Callable[[str], None],
        writer: ResultWriter | None = None,
        limit: int | None = None,
    ) -> None:
        self.step, self.writer, self.limit = step, writer, limit
        self.read = self.done_with = self.batches = self.results = 0
        self._tell = tell
        self._results = 0
        self.began = self.told = time.monotonic()

    def received(self, message: Any) -> None:
        messages = message if life_cycle.is_batch(message) else [message]
        self.read += len(messages)
        self._results = 0
        if self.writer is not None:
            self.writer.received(self.step.consumer, messages)

    def prepared(self, results: list[Any]) -> None:
        self._results = len(results)
        if self.writer is not None and results:
            self.writer.write(results)

    def done(self) -> None:
        self.done_with = self.read
        self.batches += 1
        self.results += self._results
        if time.monotonic() - self.told >= EVERY_S:
            self.told = time.monotonic()
            self._tell(str(self))
        if self.limit is not None and self.read >= self.limit:
            life_cycle.stop(self.step)

    def __str__(self) -> str:
        elapsed = time.monotonic() - self.began
        rate = self.read / elapsed if elapsed else 0
        made = [] if self.step.contract == "1" else [f"{self.results} results"]  # 1.x produces by itself
        counts = [f"{self.done_with} done", f"{self.read - self.done_with} failed", *made]
        written = f" {self.writer}" if self.writer is not None else ""
        messages = f"{self.read} message{'' if self.read == 1 else 's'}"
        batches = f"{self.batches} batch{'' if self.batches == 1 else 'es'}"
        return f"{messages} in {batches} ({', '.join(counts)}) in {elapsed:.1f} s, {rate:.0f}/s.{written}"


@dataclass(frozen=True)
class Ending:
    """How a run has ended."""

    #: 0: the consumer ended, or the step was told to stop; 1: it failed.
    code: int
    #: For people.
    summary: str


def run(
    step: Any,
    tell: Callable[[str], None],
    tell_failure: Callable[[str], None],
    writer: ResultWriter | None = None,
    limit: int | None = None,
) -> Ending:
    """The step to its end. SIGTERM and Ctrl-C let it finish the batch in hand.

    :param tell: gets a line of progress now and then.
    :param tell_failure: gets the traceback of what failed.
    """
    progress = Progress(step, tell, writer, limit)
    name = f"{type(step).__name__} (contract {step.contract}.x)"
    try:
        with stopped_by_signals(step):
            life_cycle.run(step, progress)
    except (Exception, SystemExit) as error:  # noqa: BLE001  (sys.exit(0) is no success either: its batch is not done)
        where = life_cycle.stage_of(error) or "its consumer"
        tell_failure(f"{name} failed in {where}\n{traceback.format_exc()}")
        return Ending(
            1,
            f"{name}: {progress} Failed in {where}: {type(error).__name__}: {error}\n{_what_comes_again(progress)}",
        )
    finally:
        if hasattr(step.consumer, "close"):
            step.consumer.close()
    return Ending(0, f"{name}: {progress} {'Stopped.' if step.stopping else 'The consumer has no more.'}")


def _what_comes_again(progress: Progress) -> str:
    """Of what was in hand when a run failed."""
    if progress.read == progress.done_with:  # in pre_consume, in the consumer, in tear_down
        return "No batch was in hand: all that the step was given is done."
    if progress.step.legacy_commit:
        return "COMMIT_ORDER is legacy: the batch in hand may be committed already, and then does not come again."
    return "The batch in hand is not committed and comes again at the next start."


@contextmanager
def stopped_by_signals(step: Any) -> Iterator[None]:
    """The first signal lets the step finish its batch, whatever the step catches; a second one ends the process."""

    def stop(number: int, frame: Any) -> None:
        life_cycle.stop(step)
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
