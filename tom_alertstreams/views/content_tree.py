"""The content of an alert as a tree to fold and unfold, bounded in every direction: strangers have sent it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from tom_alertstreams.redaction import redact

#: Lines of the tree in all, lines below one another, levels.
LINES: Final = 2000
CHILDREN: Final = 200
LEVELS: Final = 20
#: Characters of a text, and of a name.
TEXT_LENGTH: Final = 2000
NAME_LENGTH: Final = 200
_BYTES_SHOWN = 32


@dataclass(frozen=True)
class TreeRow:
    """One step of drawing the tree: open a branch, close it, a leaf, or a note that something is left out."""

    kind: str
    name: str = ""
    text: str = ""
    #: Whether a branch is unfolded at first.
    unfolded: bool = False


def tree(value: Any) -> list[TreeRow]:
    """The rows that draw it. Secrets are blanked."""
    return list(_rows("", value, 0, [LINES]))


def _rows(name: str, value: Any, level: int, lines: list[int]) -> Iterator[TreeRow]:
    """``lines`` holds how many may still be drawn."""
    lines[0] -= 1
    items = _items(value)
    if items is None:
        yield TreeRow("leaf", name, _text(value))
        return
    size = len(items)
    brackets = "[ ]" if isinstance(value, (list, tuple)) else "{ }"
    if not size or level >= LEVELS:
        note = "" if not size else f" … {size:,} inside: too deep to be shown"
        yield TreeRow("leaf", name, brackets + note)
        return
    yield TreeRow("open", name, f"{brackets} {size:,}", unfolded=level < 2)
    shown = 0
    for key, inner in islice(_pairs(value, items), CHILDREN):
        if lines[0] <= 0:
            break
        yield from _rows(_cut(str(key), NAME_LENGTH), inner, level + 1, lines)
        shown += 1
    if shown < size:
        yield TreeRow("note", text=f"… {size - shown:,} more are not shown: download the bytes to see all")
    yield TreeRow("close")


def _items(value: Any) -> Any:
    """What is inside, with a length; None: the value is a leaf."""
    if isinstance(value, (Mapping, list, tuple)):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):  # messages of Hopskotch
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return None


def _pairs(value: Any, items: Any) -> Iterable[tuple[Any, Any]]:
    return enumerate(items) if isinstance(value, (list, tuple)) else items.items()


def _text(value: Any) -> str:
    if isinstance(value, (bytes, bytearray, memoryview)):
        raw = bytes(value[:_BYTES_SHOWN])
        return f"({len(value):,} bytes) {raw.hex(' ')}{' …' if len(value) > _BYTES_SHOWN else ''}"
    if isinstance(value, str):
        return _cut(value, TEXT_LENGTH)
    try:
        return _cut(repr(value), TEXT_LENGTH)
    except Exception as error:  # noqa: BLE001  (whatever an object's repr meets)
        return f"({type(value).__name__} that cannot be shown: {type(error).__name__})"


def _cut(text: str, length: int) -> str:
    text = redact(text[: 2 * length]) if len(text) > length else redact(text)
    return text if len(text) <= length else f"{text[:length]}… (cut here)"
