"""Watches the streams of a process from a thread of its own: slow handlers are named, a stream that is stuck is shown.

A stream is stuck when its loop has not gone round for as long as the broker lets a consumer be silent
(``max.poll.interval.ms``). Nothing can be done to it from outside: the stacks of all threads are logged, its StreamRun
says so, and whoever runs the process decides. Who cannot look into the database watches a file instead: it is touched as long
as no stream is stuck. A broker or a database that is away makes none stuck, for the loop goes round while it waits.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol

from tom_alertstreams.conf import StreamSettings
from tom_alertstreams.logs import get_logger

from .heartbeats import Heartbeats
from .runs import InHand, Status

logger = get_logger(__name__)

_LOOK_EVERY_S = 1.0


def longest_silence_s(stream: StreamSettings) -> float:
    """How long a consumer may be without a poll before its group gives its partitions to others.

    What waits is leased to it for as long.
    """
    settings = [stream.delivery, *(topic.delivery for topic in stream.topics)]
    return 2 * max(given.batch_seconds + given.prepare_timeout_s + given.handler_timeout_s for given in settings)


class Watched(Protocol):
    """A stream's thread."""

    status: Status

    @property
    def settings(self) -> StreamSettings:
        """With HANDLER_TIMEOUT_S, PREPARE_TIMEOUT_S and BATCH_SECONDS."""

    def is_alive(self) -> bool:
        """Whether it still runs."""


class Watchdog:
    """Looks at every stream once a second while the ``with`` block runs."""

    def __init__(self, threads: Sequence[Watched], liveness_file: Path | None = None) -> None:
        self._threads = threads
        self._liveness_file = liveness_file
        self._touched = True
        self._over = threading.Event()
        self._told: dict[str, InHand] = {}
        self._heartbeats = Heartbeats(threads)
        self._thread = threading.Thread(target=self._run, name="alertstream-watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        self._thread.start()
        self._heartbeats.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(2.0)
        self._heartbeats.stop()
        if self._liveness_file is not None:
            with suppress(OSError):
                self._liveness_file.unlink()

    def _run(self) -> None:
        self._touch()
        while not self._over.wait(_LOOK_EVERY_S):
            for thread in self._threads:
                self._look(thread)
            if not any(thread.status.stuck for thread in self._threads) and not self._over.is_set():
                self._touch()

    def _touch(self) -> None:
        if self._liveness_file is None:
            return
        try:
            self._liveness_file.touch()
        except OSError as error:
            if self._touched:
                logger.error("the liveness file cannot be touched: %s", error)
            self._touched = False
        else:
            self._touched = True

    def _look(self, thread: Watched) -> None:
        status, now = thread.status, time.monotonic()
        in_hand, moved_at = status.in_hand, status.moved_at
        if (
            in_hand is not None
            and now - in_hand.since > in_hand.limit_s
            and self._told.get(status.label) is not in_hand
        ):
            self._told[status.label] = in_hand
            logger.warning(
                "%s: %s takes longer than %g s (HANDLER_TIMEOUT_S) and is still at it",
                status.label, in_hand, in_hand.limit_s, extra={"stream": status.label},
            )  # fmt: skip
        silent_s = 0.0 if moved_at is None or not thread.is_alive() else now - moved_at
        if silent_s <= longest_silence_s(thread.settings):
            if status.stuck:
                status.stuck = ""
                logger.warning("%s: goes on", status.label, extra={"stream": status.label})
        elif not status.stuck:
            self._report_stuck(status, silent_s)

    @staticmethod
    def _report_stuck(status: Status, silent_s: float) -> None:
        doing = f"in {status.in_hand}" if status.in_hand is not None else "outside of any handler"
        reason = f"has not moved for {silent_s:.0f} s, {doing}. If it does not go on by itself, restart readstreams."
        logger.error("%s %s\n%s", status.label, reason, stacks(), extra={"stream": status.label})
        status.stuck = reason


def stacks() -> str:
    """What every thread of this process is doing, without the values of its variables."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return "\n".join(
        f"Thread {names.get(ident, ident)}:\n{''.join(traceback.format_stack(frame))}"
        for ident, frame in sys._current_frames().items()
    )
