"""Reading numbers, texts and times from content whose types nobody promises."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tom_alertstreams.ingest.times import from_any


def number(value: object) -> float | None:
    """The finite number a value holds, also as text; None for anything else, NaN and booleans included."""
    if value is None or isinstance(value, bool):
        return None
    try:
        result = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return result if math.isfinite(result) else None


def text(value: object) -> str:
    """A text or an integer as text without blanks around it; everything else is empty.

    Integers stay exact: survey ids pass 2**53, where floats lose digits.
    """
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return ""


def texts(value: object) -> tuple[str, ...]:
    """The non-empty texts of a value that is one text or a list of them."""
    items = value if isinstance(value, list | tuple) else [value]
    return tuple(word for word in map(text, items) if word)


def mapping(value: object) -> Mapping[str, Any]:
    """The value where it is an object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def mappings(value: object) -> list[Mapping[str, Any]]:
    """The objects of a list, the rest left out."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list | tuple) else []


def time(value: object) -> datetime | None:
    """The UTC time a value holds (JD, MJD or ISO 8601), or None."""
    if value is None or value == "" or isinstance(value, bool):
        return None
    try:
        return from_any(value)
    except ValueError:
        return None
