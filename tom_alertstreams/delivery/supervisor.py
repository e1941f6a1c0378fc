"""Runs every stream in its own thread, starts it again when it fails, and stops all of them in time."""

from __future__ import annotations

import faulthandler
import os
import random
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from django.db import connections

from tom_alertstreams.conf import StreamSettings
from tom_alertstreams.exceptions import StreamStopped, describe
from tom_alertstreams.logs import get_logger
from tom_alertstreams.redaction import redact

from .failures import public_text_of, text_of, traceback_of
from .runs import State, Status
from .source import Control
from .watchdog import Watchdog

logger = get_logger(__name__)

_FIRST_RESTART_S, _LONGEST_RESTART_S = 1.0, 300.0
#: A life longer than this was a good one: the next restart is quick again.
_GOOD_LIFE_S = 60.0
_REPORT_S = 60.0
_TICK_S = 0.2
#: The exit code when every stream has stopped for something that only a person can mend: starting again helps nobody.
NEEDS_YOU = 3
#: More than it takes to report once SHUTDOWN_S is over.
_GRACE_S = 5.0


class Stream(Protocol):
    """What the supervisor needs of a stream."""

    @property
    def stops_when_asked(self) -> bool:
        """Whether it ends soon after ``control.stopping`` is set. A 1.x ``listen()`` knows nothing of it."""

    @property
    def settings(self) -> StreamSettings:
        """Its label, for names and log lines."""

    def deliver(self, control: Control, status: Status) -> None:
        """Run until told to stop, or until there is nothing more to read."""


class StreamThread(threading.Thread):
    """One stream, started again with growing waits when it fails."""

    def __init__(self, stream: Stream, control: Control) -> None:
        # A daemon: when the time to shut down is over, the process may end in spite of a handler that hangs.
        super().__init__(name=f"alertstream-{stream.settings.label}", daemon=True)
        self.stream = stream
        self.control = control
        self.status = Status(stream.settings.label)
        #: It has ended by itself and not because of an error.
        self.succeeded = False
        #: It has stopped for good: its fuse, a gap, another database.
        self.needs_you = False

    def run(self) -> None:
        pause_s = _FIRST_RESTART_S
        try:
            while not self.control.stopping.is_set():
                began = time.monotonic()
                try:
                    self.stream.deliver(self.control, self.status)
                    self.succeeded = True
                    return
                except StreamStopped as error:
                    self._report(error, State(error.state))
                    self.needs_you = True
                    return
                except:  # noqa: E722  (one stream's trouble is its own, also what is made to end a program)
                    raised = sys.exc_info()[1]  # confluent_kafka can raise its KafkaError, which is no exception
                    self._report(raised if isinstance(raised, BaseException) else RuntimeError(repr(raised)))
                finally:
                    # Until its next life has begun nobody expects it to move, nor is a row its own.
                    self.status.moved_at = self.status.run_id = None
                if self.control.once:
                    return
                if time.monotonic() - began > _GOOD_LIFE_S:
                    pause_s = _FIRST_RESTART_S
                wait_s = pause_s * random.uniform(0.8, 1.2)  # noqa: S311  (so that streams do not all come back at once)
                extra = {"stream": self.status.label}
                logger.warning("%s: starts again in %.0f s", self.status.label, wait_s, extra=extra)
                self.control.stopping.wait(wait_s)
                pause_s = min(2 * pause_s, _LONGEST_RESTART_S)
            self.succeeded = self.status.connected
        finally:
            connections.close_all()

    @property
    def settings(self) -> StreamSettings:
        """Those of the stream."""
        return self.stream.settings

    def could_run(self, out_of_time: bool) -> bool:
        """Whether this stream did what it was started for.

        :param out_of_time: it was stopped because its time was over; then a broker that never let it in is a failure.
        """
        if not self.stream.stops_when_asked:
            return self.succeeded or self.is_alive()
        return self.status.connected if out_of_time else self.succeeded

    def _report(self, error: BaseException, state: State = State.DOWN) -> None:
        """Say why this life has ended. Whatever goes wrong with that, the next one begins."""
        try:
            self._tell(error, state)
        except BaseException:  # noqa: BLE001  (what an error says of itself may raise anything)
            self.status.say(state, type(error).__name__)

    def _tell(self, error: BaseException, state: State) -> None:
        whole = text_of(error) if state is not State.DOWN else f"{type(error).__name__}: {text_of(error)}"
        self.status.say(state, public_text_of(error), whole)
        extra = {**describe(error), "stream": self.status.label}
        logger.error("%s is %s: %s", self.status.label, state.label, whole, extra=extra)
        logger.debug("%s", redact(traceback_of(error)), extra=extra)


class Supervisor:
    """Runs streams until all have ended, a signal asks to stop, or ``max_runtime_s`` is over."""

    def __init__(
        self,
        streams: Sequence[Stream],
        control: Control,
        *,
        shutdown_s: float,
        max_runtime_s: float | None = None,
        liveness_file: Path | None = None,
    ) -> None:
        """:param liveness_file: touched every second, unless a stream is stuck; gone at the end."""
        self.control = control
        self.threads = [StreamThread(stream, control) for stream in streams]
        self._shutdown_s = shutdown_s
        self._max_runtime_s = max_runtime_s
        self._liveness_file = liveness_file

    def run(self) -> int:
        """
        :returns: the exit code: 0; 1 where no stream could run or one did not stop in time; NEEDS_YOU.
        """
        began = reported = time.monotonic()
        with self._signals() as heard, Watchdog(self.threads, self._liveness_file):
            for thread in self.threads:
                thread.start()
            while any(thread.is_alive() for thread in self.threads) and not self.control.stopping.is_set():
                if select.select([heard], [], [], _TICK_S)[0]:
                    logger.info("stopping: the alerts in hand are finished first")
                    break
                now = time.monotonic()
                if self._max_runtime_s is not None and now - began >= self._max_runtime_s:
                    logger.info("the time given by --max-runtime is over")
                    return self._stop(out_of_time=True)
                if now - reported >= _REPORT_S:
                    reported = now
                    self.report()
            return self._stop()

    def report(self) -> None:
        """One log line per stream: what this process did since it started."""
        for thread in self.threads:
            tally, status = thread.status.tally, thread.status
            logger.info(
                "%s is %s: received %d, done %d, rejected %d, retried %d, dead %d, lag %s",
                status.label, status.state.label, tally["received"], tally["done"], tally["rejected"], tally["waiting"],
                tally["dead"], "unknown" if status.lag is None else status.lag,
                extra={"stream": status.label},
            )  # fmt: skip

    def _stop(self, *, out_of_time: bool = False) -> int:
        """Let every stream finish the alert in hand."""
        deadline = time.monotonic() + self._shutdown_s
        stopping = [thread for thread in self.threads if thread.stream.stops_when_asked]
        with _exit_after(self._shutdown_s + _GRACE_S):
            self.control.stopping.set()
            for thread in stopping:
                thread.join(max(0.0, deadline - time.monotonic()))
            self.report()
        if late := [thread.status.label for thread in stopping if thread.is_alive()]:
            logger.error(
                "%s did not stop within %.0f s (SHUTDOWN_S): what it was doing is rolled back and comes again",
                ", ".join(late), self._shutdown_s,
            )  # fmt: skip
            return 1
        if any(thread.could_run(out_of_time) for thread in self.threads):
            return 0
        return NEEDS_YOU if all(thread.needs_you for thread in self.threads) else 1

    @contextmanager
    def _signals(self) -> Iterator[socket.socket]:
        """The first SIGTERM or SIGINT makes what is returned readable, the second one exits at once."""
        heard, told = socket.socketpair()

        def stop(number: int, _frame: Any) -> None:
            if self.control.stopping.is_set():
                os._exit(128 + number)
            # No logging here: the signal may have interrupted a log call that holds the lock.
            self.control.stopping.ask()
            told.send(b"!")

        with heard, told:
            if threading.current_thread() is not threading.main_thread():
                yield heard
                return
            before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
            try:
                yield heard
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)


@contextmanager
def _exit_after(seconds: float) -> Iterator[None]:
    """If the block takes longer: show what every thread does, and end the process with 1.

    Also where Python itself stands still because a C library keeps its lock.
    """
    if sys.__stderr__ is None:
        yield
        return
    faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
