"""Watches the streams of a process from a thread of its own: slow handlers are named, a stream that is stuck is shown.

A stream is stuck when its loop has not gone round for as long as the broker lets a consumer be silent
(``max.poll.interval.ms``). Nothing can be done to it from outside: the stacks of all threads are logged, its StreamRun
says so, and whoever runs the process decides.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol

from django import db
from django.db import connections

from tom_alertstreams.conf import StreamSettings
from tom_alertstreams.logs import get_logger
from tom_alertstreams.models import StreamRun

from .failures import clean, text_of
from .runs import InHand, Status

logger = get_logger(__name__)

_LOOK_EVERY_S = 1.0


def longest_silence_s(stream: StreamSettings) -> float:
    """How long a consumer may be without a poll before its group gives its partitions to others."""
    settings = [stream.delivery, *(topic.delivery for topic in stream.topics)]
    return 2 * max(delivery.batch_seconds + delivery.handler_timeout_s for delivery in settings)


class Watched(Protocol):
    """A stream's thread."""

    status: Status

    @property
    def settings(self) -> StreamSettings:
        """With HANDLER_TIMEOUT_S and BATCH_SECONDS."""

    def is_alive(self) -> bool:
        """Whether it still runs."""


class Watchdog:
    """Looks at every stream once a second while the ``with`` block runs."""

    def __init__(self, threads: Sequence[Watched]) -> None:
        self._threads = threads
        self._over = threading.Event()
        self._told: dict[str, InHand] = {}
        self._stuck: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="alertstream-watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        # It may be waiting for the same lock as the stream it watches.
        self._thread.join(2.0)

    def _run(self) -> None:
        while not self._over.wait(_LOOK_EVERY_S):
            for thread in self._threads:
                self._look(thread)

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
            if status.label in self._stuck:
                self._stuck.discard(status.label)
                logger.warning("%s: goes on", status.label)
        elif status.label not in self._stuck:
            self._stuck.add(status.label)
            self._report_stuck(status, silent_s)

    def _report_stuck(self, status: Status, silent_s: float) -> None:
        doing = f"in {status.in_hand}" if status.in_hand is not None else "outside of any handler"
        reason = f"has not moved for {silent_s:.0f} s, {doing}. If it does not go on by itself, restart readstreams."
        logger.error("%s %s\n%s", status.label, reason, stacks(), extra={"stream": status.label})
        if status.run_id is None:  # the database was away when this life began
            return
        try:
            # Whatever it does next, the stream writes its own state over this.
            StreamRun.objects.filter(pk=status.run_id).update(
                state=StreamRun.State.STUCK, reason=clean(reason, 10_000), last_error=clean(reason, 10_000)
            )
        except (
            db.Error
        ) as error:  # as on SQLite, whose lock the stuck handler holds; then the age of its heartbeat tells
            logger.error("%s: that it is stuck could not be written: %s", status.label, text_of(error))
        finally:
            connections.close_all()


def stacks() -> str:
    """What every thread of this process is doing, without the values of its variables."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return "\n".join(
        f"Thread {names.get(ident, ident)}:\n{''.join(traceback.format_stack(frame))}"
        for ident, frame in sys._current_frames().items()
    )
