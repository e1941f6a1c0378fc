"""Reading numbers, texts and times from content whose types nobody promises."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from tom_alertstreams.ingest.times import from_any

#: Magnitudes that something in the sky has, from the Sun's to what no telescope reaches: 99 and -999 mean none.
MAGNITUDE_RANGE: Final = (-30.0, 50.0)
#: What has a survey's date was observed in these years: 0 and dates in seconds mean none.
YEARS: Final = range(1900, 2200)


def number(value: object) -> float | None:
    """The finite number a value holds, also as text; None for anything else, NaN and booleans included."""
    if type(value) is float:
        return value if math.isfinite(value) else None
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
    """The UTC time a value holds (JD, MJD or ISO 8601), or None, also outside of the years of observations."""
    if value is None or value == "" or isinstance(value, bool):
        return None
    try:
        moment = from_any(value)
    except (ValueError, OverflowError):
        return None
    return moment if moment.year in YEARS else None


def observed(days: object, from_days: Callable[[float], datetime]) -> datetime | None:
    """The UTC time that ``from_days`` makes of a survey's date, or None where it is no date of an observation."""
    date = number(days)
    if date is None:
        return None
    try:
        moment = from_days(date)
    except ValueError:
        return None
    return moment if moment.year in YEARS else None


def magnitude(value: object) -> float | None:
    """A magnitude, or None also for the numbers that stand for none."""
    found = number(value)
    return found if found is not None and MAGNITUDE_RANGE[0] <= found < MAGNITUDE_RANGE[1] else None


def magnitude_error(value: object) -> float | None:
    """The error of a magnitude, or None also for the numbers that stand for none."""
    found = number(value)
    return found if found is not None and 0 <= found < MAGNITUDE_RANGE[1] else None
