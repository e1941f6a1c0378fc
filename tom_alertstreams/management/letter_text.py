"""Dead letters in words, for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pprint import pformat
from shlex import quote
from typing import Any

from tom_alertstreams.delivery.letter_content import (
    DUMP_BYTES,
    Unreadable,
    bytes_text,
    decoded,
    dump,
    headers,
    headline,
    place,
    times,
)
from tom_alertstreams.delivery.letters import LetterGroup
from tom_alertstreams.delivery.source import AlertSource
from tom_alertstreams.models import DeadLetter

#: Characters of the content that are shown; --raw gives all.
_CONTENT_LENGTH = 20_000


def group_lines(group: LetterGroup) -> Iterator[str]:
    """A cause and how often it was met."""
    yield f"{times(group)} since {moment(group.first_failed_at)}: {headline(group.error_class, group.error)}"
    where = f"{group.handler or 'no handler'}, stream {group.stream}, {group.topics}"
    waiting = f"; {group.waiting:,} of them wait for their next try" if group.waiting else ""
    yield f"    {where}{waiting}; fingerprint {quote(group.fingerprint)}; for example {group.example}"


def letter_line(letter: DeadLetter) -> str:
    """One dead letter in a line."""
    error = headline(letter.error_class, letter.error)
    return f"{letter.pk}  {letter.state}  {moment(letter.first_failed_at)}  {place(letter)}  {letter.handler}  {error}"


def letter_page(letter: DeadLetter, find_source: Callable[[str], AlertSource]) -> Iterator[str]:
    """All that is known of a dead letter."""
    yield f"dead letter {letter.pk}: {letter.get_state_display()}"
    facts = {
        "alert": place(letter),
        "stream": letter.stream,
        "group": letter.group_id,
        "cluster": letter.cluster,
        "sent": moment(letter.timestamp) if letter.timestamp else "",
        "handler": letter.handler or "none",
        "tries": str(letter.attempts),
        "first failed": moment(letter.first_failed_at),
        "last change": moment(letter.updated_at),
        "next try": moment(letter.next_attempt_at) if letter.next_attempt_at else "",
        "being tried": f"until {moment(letter.leased_until)} at most" if letter.leased_until else "",
        "fingerprint": letter.fingerprint,
        "key": bytes_text(bytes(letter.key)) if letter.key is not None else "",
    }
    for name, value in facts.items():
        if value:
            yield f"  {name:13}{value}"
    for name, value in headers(letter):
        yield f"  {'header':13}{name}: {value}"
    yield f"\n{letter.error_class}: {letter.error}"
    if letter.traceback:
        yield f"\n{letter.traceback.rstrip()}"
    yield ""
    yield from _content_lines(letter, find_source)


def moment(time: datetime) -> str:
    """A time to the minute."""
    return f"{time.astimezone(timezone.utc):%Y-%m-%d %H:%M} UTC"


def printable(text: str) -> str:
    """What strangers have sent must not move the cursor or colour the terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def _content_lines(letter: DeadLetter, find_source: Callable[[str], AlertSource]) -> Iterator[str]:
    raw = b"" if letter.raw is None else bytes(letter.raw)
    size = f"{len(raw):,} bytes; " if letter.raw is not None else ""
    try:
        content = decoded(letter, find_source)
        text = content if isinstance(content, str) else pformat(_shortened(content), width=110, sort_dicts=False)
    except Exception as error:  # noqa: BLE001  (or whatever an object's repr meets)
        yield f"{size}{error}" if isinstance(error, Unreadable) else f"{size}not decoded: {error}"
        yield from dump(raw)
        if len(raw) > DUMP_BYTES:
            yield f"… {len(raw) - DUMP_BYTES:,} more; --raw FILE writes all of them"
    else:
        yield f"{size}content:"
        yield text[:_CONTENT_LENGTH]
        if len(text) > _CONTENT_LENGTH:
            yield "… cut here; --raw FILE writes all of it"


def _shortened(value: Any) -> Any:
    """The content without its images."""
    if isinstance(value, dict):
        return {key: _shortened(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_shortened(inner) for inner in value]
    return f"({len(value):,} bytes)" if isinstance(value, bytes) and len(value) > 100 else value
