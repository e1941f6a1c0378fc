"""Keeps the rows of streams alive while their own threads are in a handler, and says in them that a stream is stuck.

From a thread of its own: a database that does not answer holds up neither the watchdog nor a stream, and whoever stops the
process does not wait for it. Nothing is written where the stream's own thread writes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any, Final, Protocol

from django import db
from django.db import connections
from django.utils import timezone

from tom_alertstreams.logs import get_logger
from tom_alertstreams.models import StreamRun

from .failures import clean, text_of
from .runs import HEARTBEAT_S, InHand, Status

logger = get_logger(__name__)

#: A stream that has not written its row for so long is busy. Less than what status.py takes for a sign of a new process.
_SILENT_S: Final = 2 * HEARTBEAT_S
_LOOK_EVERY_S = 1.0


class Beating(Protocol):
    """A stream's thread."""

    status: Status

    def is_alive(self) -> bool:
        """Whether it still runs."""


class Heartbeats:
    """Writes for streams that cannot, from :meth:`start` until :meth:`stop`."""

    def __init__(self, threads: Sequence[Beating]) -> None:
        self._threads = threads
        self._over = threading.Event()
        #: Stream → ``time.monotonic()`` when it was tried last, and what was said then of its being stuck.
        self._tried: dict[str, tuple[float, str]] = {}
        self._thread = threading.Thread(target=self._run, name="alertstream-heartbeats", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End. It may be waiting for the same lock as a stream: then it is left behind."""
        self._over.set()
        self._thread.join(2.0)

    def _run(self) -> None:
        while not self._over.wait(_LOOK_EVERY_S):
            self.look()

    def look(self) -> None:
        """Write what is due now."""
        for thread in self._threads:
            status, run_id = thread.status, thread.status.run_id
            # None: the database was away when this life began.
            if run_id is not None and thread.is_alive() and not self._over.is_set() and self._is_due(status):
                self._write(run_id, status)

    def _is_due(self, status: Status) -> bool:
        """Every 10 s while the stream is silent; at once where it has just been found stuck."""
        # Before its first turn nobody can tell a stream that hangs from one that works.
        if status.beat_at is None or status.moved_at is None:
            return False
        now = time.monotonic()
        tried_at, said = self._tried.get(status.label, (float("-inf"), ""))
        if status.stuck and status.stuck != said:
            return True
        return now - tried_at >= HEARTBEAT_S and (bool(status.stuck) or now - status.beat_at > _SILENT_S)

    def _write(self, run_id: int, status: Status) -> None:
        stuck, (_, said) = status.stuck, self._tried.get(status.label, (0.0, ""))
        self._tried[status.label] = time.monotonic(), stuck
        # It has committed nothing since its own last heartbeat.
        fields: dict[str, Any] = {"heartbeat": timezone.now(), "rate": 0.0, **_long_call(status.in_hand)}
        if stuck:
            # Whatever it does next, the stream writes its own state over this.
            fields |= {
                "state": StreamRun.State.STUCK,
                "reason": clean(stuck, 10_000),
                "last_error": clean(stuck, 10_000),
            }
        try:
            StreamRun.objects.filter(pk=run_id, ended=None).update(**fields)
        except db.Error as error:  # as on SQLite, whose lock the handler holds; then the age of its heartbeat tells
            if stuck and stuck != said:
                logger.error(
                    "%s: that it is stuck could not be written: %s", status.label, text_of(error),
                    extra={"stream": status.label},
                )  # fmt: skip
        finally:
            connections.close_all()


def _long_call(in_hand: InHand | None) -> dict[str, str]:
    """What a handler is at that takes longer than it may; the stream itself takes the words back when it goes on."""
    if in_hand is None or (took_s := time.monotonic() - in_hand.since) <= in_hand.limit_s:
        return {}
    return {"reason": clean(f"{in_hand}: at work for {took_s:.0f} s, longer than HANDLER_TIMEOUT_S", 10_000)}
