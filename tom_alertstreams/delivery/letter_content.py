"""What is in a dead letter, for people: its content as the stream decodes it today, its bytes, where it comes from."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Any, Final

from tom_alertstreams.models import DeadLetter
from tom_alertstreams.redaction import redact

from .letters import LetterGroup
from .source import AlertSource
from .waiting import restore

DUMP_BYTES: Final = 512
_DUMP_WIDTH = 16
_BYTES_LENGTH = 200
_HEADLINE_LENGTH = 300


class Unreadable(Exception):
    """The content cannot be shown; the message says why."""


def decoded(letter: DeadLetter, find_source: Callable[[str], AlertSource]) -> Any:
    """The content, as the stream of today's settings decodes it.

    :raises Unreadable: it cannot be decoded, or there is none.
    """
    if letter.raw is None:
        raise Unreadable("no content: it is a tombstone")
    try:
        return restore(find_source(letter.stream), letter).content
    except Exception as error:  # whatever the stream's decoder meets
        raise Unreadable(f"not decoded: {error}") from error


def headers(letter: DeadLetter) -> list[tuple[str, str]]:
    """The headers of the message, in words."""
    return [
        (str(name), "none" if value is None else bytes_text(base64.b64decode(value))) for name, value in letter.headers
    ]


def place(letter: DeadLetter) -> str:
    """Where the alert comes from; a stream that reads by its own ``listen()`` does not tell all of it."""
    return f"{letter.topic}[{letter.partition}]@{letter.offset}" if letter.partition >= 0 else letter.topic


def headline(error_class: str, error: str) -> str:
    """The first line of an error; secrets are blanked."""
    return redact(f"{error_class}: {error.partition(chr(10))[0]}")[:_HEADLINE_LENGTH]


def times(group: LetterGroup) -> str:
    """How often a cause was met."""
    return "once" if group.count == 1 else f"{group.count:,} times"


def bytes_text(value: bytes) -> str:
    """A key or a header: text where it is text; secrets are blanked."""
    try:
        text = redact(value.decode())
    except UnicodeDecodeError:
        text = value[:_BYTES_LENGTH].hex(" ")
    return text if len(text) <= _BYTES_LENGTH else f"{text[:_BYTES_LENGTH]}… ({len(value):,} bytes)"


def dump(beginning: bytes) -> Iterator[str]:
    """The first bytes in hex and as text; not more than DUMP_BYTES of them."""
    for start in range(0, min(len(beginning), DUMP_BYTES), _DUMP_WIDTH):
        part = beginning[start : start + _DUMP_WIDTH]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        yield f"{start:06x}  {part.hex(' '):{3 * _DUMP_WIDTH}} {text}"
