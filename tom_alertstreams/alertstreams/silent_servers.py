"""Servers that have not answered lately: each message that is stored on one would hold its stream up by a time-out."""

from __future__ import annotations

import threading
import time
from typing import Final
from urllib.parse import urlsplit

#: Nothing is asked of one for so long.
_SILENT_S: Final = 60.0
#: The longest that a stream then waits for the first question, which goes on without it.
_FIRST_WAIT_S: Final = 1.0
#: Addresses come with messages, and anybody may send those.
_MOST: Final = 100


class SilentServers:
    """Remembers them until they answer; the latest few of them. Safe between threads."""

    def __init__(self) -> None:
        #: Host and port → when it may be asked again (``time.monotonic()``).
        self._asked_again_at: dict[str, float] = {}
        self._lock = threading.Lock()

    def patience_s(self, url: str, usual_s: float) -> float:
        """How long to wait for an answer from this address now; 0 is not to ask."""
        with self._lock:
            at = self._asked_again_at.get(_server(url))
        if at is None:
            return usual_s
        return min(_FIRST_WAIT_S, usual_s) if time.monotonic() >= at else 0.0

    def note(self, url: str) -> None:
        """It has not answered."""
        with self._lock:
            self._asked_again_at.pop(_server(url), None)  # to the end, as the latest
            self._asked_again_at[_server(url)] = time.monotonic() + _SILENT_S
            if len(self._asked_again_at) > _MOST:
                del self._asked_again_at[next(iter(self._asked_again_at))]

    def answers(self, url: str) -> None:
        """It has answered, whatever it said."""
        with self._lock:
            self._asked_again_at.pop(_server(url), None)


def _server(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2].lower()[:300]
