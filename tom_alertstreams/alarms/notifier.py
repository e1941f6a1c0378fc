"""What a way of telling somebody is: a frozen dataclass with a ``tell``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from tom_alertstreams.exceptions import ConfigurationError
from tom_alertstreams.models import Alarm

_REASON_LENGTH = 2000
#: Seconds. What is told by nobody for minutes is told by another process, and several servers may be silent at once.
LONGEST_TIMEOUT_S = 60


@dataclass(frozen=True)
class Item:
    """What is wrong with one stream, or is not any more."""

    #: Label of the stream.
    stream: str
    kind: Alarm.Kind
    #: What is wrong, in a few words; where it is over, how the stream is now.
    words: str
    #: Why, in words; may be empty, and may hold what an alert or a handler said.
    reason: str
    #: What to do; empty: nothing.
    advice: str
    began: datetime
    is_over: bool = False

    @property
    def headline(self) -> str:
        """In one line."""
        return f"{self.stream}: over, {self.words}" if self.is_over else f"{self.stream}: {self.words}"

    @property
    def text(self) -> str:
        """In some lines."""
        began = f"{self.began.astimezone(timezone.utc):%Y-%m-%d %H:%M} UTC"
        reason = self.reason if len(self.reason) <= _REASON_LENGTH else f"{self.reason[:_REASON_LENGTH]}…"
        lines = [f"it had begun at {began}" if self.is_over else f"since {began}", *reason.splitlines(), self.advice]
        return "\n    ".join([self.headline, *(line for line in lines if line)])


@dataclass(frozen=True)
class Notice:
    """What is told at once: one mail, one message."""

    items: tuple[Item, ...]
    #: What comes after them, as how often it is told again.
    closing: str = ""

    @property
    def subject(self) -> str:
        """In one line of 200 characters at most, without line breaks."""
        first, more = self.items[0].headline, len(self.items) - 1
        text = " ".join(f"{first}{f', and {more} more' if more else ''}".split())
        return text if len(text) <= 200 else f"{text[:199]}…"

    @property
    def text(self) -> str:
        """All of it."""
        return "\n\n".join([*(item.text for item in self.items), *([self.closing] if self.closing else [])])


class Notifier:
    """A way of telling somebody. Derive a frozen dataclass from it: its fields are the OPTIONS, in lower case.

    ``__post_init__`` may raise :class:`~tom_alertstreams.exceptions.ConfigurationError` where they cannot be used; system
    checks show that. One instance tells everything, from a thread that is not a stream's.
    """

    def secrets(self) -> Iterable[str]:
        """Texts that must never be shown: they are blanked in logs and in what is kept."""
        return ()

    def tell(self, notice: Notice) -> None:
        """Tell it, within seconds: whoever waits for an answer needs a time-out.

        Any exception means that nobody was told. Then it is called again with what is wrong a minute later.
        """
        raise NotImplementedError


def check_timeout(given: Any) -> None:
    """:raises ConfigurationError: nothing can be asked with such a TIMEOUT_S."""
    is_number = isinstance(given, (int, float)) and not isinstance(given, bool)
    if not is_number or not 0 < given <= LONGEST_TIMEOUT_S:
        raise ConfigurationError(
            f"TIMEOUT_S is {given!r}.", hint=f"It is a number of seconds above 0, to {LONGEST_TIMEOUT_S}."
        )
