"""Dotted paths into the content of an alert, for example ``candidate.rb`` or ``data.targets.0.name``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

#: What :func:`find` returns where nothing is; a field may hold None.
MISSING: Final = object()


def find(content: object, parts: Sequence[str]) -> object:
    """What the content holds at the end of a path, given as its parts, or MISSING."""
    for part in parts:
        if isinstance(content, Mapping):
            content = content.get(part, MISSING)
        elif isinstance(content, Sequence) and not isinstance(content, str | bytes) and part.isdecimal():
            content = content[int(part)] if int(part) < len(content) else MISSING
        else:
            return MISSING
    return content
