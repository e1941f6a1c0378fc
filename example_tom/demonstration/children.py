"""Processes that the demo starts, and ends."""

from __future__ import annotations

import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Final

MANAGE: Final = Path(__file__).resolve().parent.parent / "manage.py"
#: ``readstreams`` finishes the alert in hand; it needs a moment.
_PATIENCE_S: Final = 35


class ChildDied(RuntimeError):
    """A process that should run on has ended."""


class Child:
    """One command of ``manage.py`` in a process of its own; its output goes to a file."""

    def __init__(self, log: Path, *arguments: str) -> None:
        self.log = log
        self._name = arguments[0]
        with log.open("wb") as output:
            # In a session of its own: Ctrl-C on the terminal reaches the demo alone, which then stops its children in order.
            self._process = subprocess.Popen(  # noqa: S603  (our own command)
                [sys.executable, str(MANAGE), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def check(self) -> None:
        """:raises ChildDied: it has ended."""
        if self._process.poll() is not None:
            last = self.log.read_text(errors="replace").strip().splitlines()[-5:]
            raise ChildDied(f"{self._name} has ended ({self._process.returncode}):\n  " + "\n  ".join(last))

    def ask_to_stop(self) -> None:
        """Send SIGTERM; :meth:`close` waits."""
        if self._process.poll() is None:
            self._process.terminate()

    def close(self) -> None:
        """Wait until it has ended; end it by force if it does not."""
        self.ask_to_stop()
        try:
            self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def free_port(first: int = 8000, count: int = 100) -> int:
    """The first port of 127.0.0.1 from here upwards that nobody uses."""
    for port in range(first, first + count):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"No port from {first} to {first + count - 1} is free.")


def wait_for_page(url: str, server: Child, stopping: Event) -> bool:
    """Wait until the web server answers; False if we were told to stop meanwhile.

    :raises ChildDied: it has ended.
    """
    while not stopping.wait(0.2):
        server.check()
        try:
            with urllib.request.urlopen(url, timeout=30):  # noqa: S310  (http://127.0.0.1)
                return True
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            continue
    return False
