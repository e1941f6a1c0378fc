"""Lines of the journal of dead letters, in words: who did what, when, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from tom_alertstreams.delivery.letters import LetterFilter
from tom_alertstreams.models import LetterAction
from tom_alertstreams.redaction import redact

from .letter_filter import words_of

#: What letters became → the words for it, in this order.
_WORDS: Final = {
    "done": "done",
    "rejected": "rejected",
    "waiting": "waiting for a later try",
    "dead": "failed again",
    "dismissed": "dismissed",
}


@dataclass(frozen=True)
class JournalLine:
    """One action."""

    action: LetterAction
    #: ``dr.lee replayed 1,204``.
    deed: str
    #: ``300 of 1,204``.
    progress: str
    #: Which letters.
    chosen: str
    #: ``1,203 done, 1 failed again``.
    outcome: str
    #: Why letters were left as they were, how many.
    left: tuple[tuple[str, str], ...]


def journal(actions: Iterable[LetterAction]) -> list[JournalLine]:
    """These actions in words."""
    return [journal_line(action) for action in actions]


def journal_line(action: LetterAction) -> JournalLine:
    """One of them."""
    return JournalLine(
        action,
        f"{action.who} {action.get_kind_display()} {action.total:,}",
        f"{action.done:,} of {action.total:,}",
        words_of(LetterFilter.from_json(action.chosen)),
        outcome(action.became, sum(action.left.values())),
        tuple((redact(reason), f"{n:,}") for reason, n in action.left.items()),
    )


def outcome(became: Mapping[str, int], left: int) -> str:
    """What came of it so far."""
    parts = [f"{became[name]:,} {words}" for name, words in _WORDS.items() if became.get(name)]
    return ", ".join([*parts, *([f"{left:,} left as they were"] if left else [])]) or "nothing yet"
