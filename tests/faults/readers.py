"""The process manager of a night: keeps ``readstreams`` running, as systemd with Restart=always would."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from types import TracebackType

from tests.processes import Process, Tom

#: Systemd's RestartSec.
_RESTART_S = 0.3
_STOP_S = 40.0
#: What readstreams says that was started while the database was away. It ends, and is started again.
_NO_DATABASE = "CommandError: the database cannot be used"
#: What the loop says when it gives the promise "nothing twice" up for a handler. None of ours asks for it.
_OUTSIDE = "From now on it runs outside"


class Readers:
    """So many processes, while the ``with`` block runs."""

    def __init__(self, tom: Tom, count: int) -> None:
        self._tom = tom
        self._count = count
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._killed: set[int] = set()
        self._all: list[Process] = []
        self._kept: list[Process] = []
        #: What ought not to have happened, in words.
        self.findings: list[str] = []
        self._keeper = threading.Thread(target=self._keep, name="keeper of readstreams", daemon=True)

    def __enter__(self) -> Readers:
        self._kept = [self._start() for _ in range(self._count)]
        self._keeper.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._keeper.join()
        for process in self._all:
            process.kill()
            process.wait()

    def _start(self) -> Process:
        process = self._tom.start("readstreams")
        self._all.append(process)
        return process

    @property
    def kept(self) -> list[Process]:
        """Those that are to run now. One may just have ended."""
        with self._lock:
            return list(self._kept)

    def log(self) -> str:
        """What all of them have printed so far."""
        return "".join(process.log.read_text() for process in list(self._all))

    def choose(self, dice: Random) -> Process:
        """One of those that are kept running."""
        return dice.choice(self.kept)

    def kill(self, dice: Random) -> Process:
        """SIGKILL to one of them."""
        return self.kill_this(self.choose(dice))

    def kill_this(self, process: Process) -> Process:
        """SIGKILL to this one."""
        with self._lock:
            self._killed.add(process.pid)
        process.kill()
        return process

    def _keep(self) -> None:
        while not self._over.wait(_RESTART_S):
            for process in self.kept:
                if process.poll() is not None:
                    self._judge(process)
                    with self._lock:
                        self._kept[self._kept.index(process)] = self._start()

    def _judge(self, process: Process) -> None:
        """One ended that was not asked to."""
        killed = process.pid in self._killed and process.returncode == -signal.SIGKILL
        if not killed and not found_no_database(process):
            self.findings.append(f"readstreams ended by itself with {process.returncode}: {tail(process)}")

    @contextmanager
    def guest(self) -> Iterator[Process]:
        """One more process that is not kept: killed at the end if it still runs."""
        process = self._start()
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def stop(self) -> None:
        """Ask all of them to stop, and look at how they did and what they said."""
        self._over.set()
        self._keeper.join()
        for process in self._kept:
            _wait_for_start(process)  # a signal to one that has just been started would find no handler yet
            process.terminate()
        for process in self._kept:
            self.expect_good_end(process)
        if _OUTSIDE in self.log():
            self.findings.append("a handler was moved out of its transaction, which none of these needs")

    def expect_good_end(self, process: Process) -> None:
        """A process that was asked to stop exits with 0, and soon."""
        try:
            code = process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.findings.append(f"readstreams, asked to stop, still ran {_STOP_S:g} s later: {_stacks(process)}")
            return
        if code != 0 and not found_no_database(process):
            self.findings.append(f"readstreams, asked to stop, ended with {code}: {tail(process)}")


def found_no_database(process: Process) -> bool:
    """It ended because the database was away when it started."""
    return process.returncode == 1 and _NO_DATABASE in process.log.read_text()


def tail(process: Process, length: int = 1500) -> str:
    """The end of what it printed."""
    return process.log.read_text()[-length:].strip()


def _wait_for_start(process: Process) -> None:
    deadline = time.monotonic() + _STOP_S
    while not process.log.stat().st_size and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)


def _stacks(process: Process) -> str:
    """The end of what it printed, with what its threads are doing."""
    process.send_signal(signal.SIGUSR1)  # night_settings
    time.sleep(1)
    return tail(process, 8000)
