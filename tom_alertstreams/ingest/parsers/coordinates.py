"""Coordinates as people type them: numbers, numbers as text, or sexagesimal."""

from __future__ import annotations

import re
from typing import Final

from .values import number

_SEXAGESIMAL: Final = re.compile(
    r"""^\s*(?P<sign>[+\-\u2212]?)\s*
        (?P<first>\d{1,3})\s*[:hd°\s]\s*
        (?P<minutes>\d{1,2})\s*(?:[:m'\u2032\s]\s*
        (?P<seconds>\d{1,2}(?:\.\d*)?)\s*(?:s|"|\u2033|'')?)?\s*m?\s*$""",
    re.VERBOSE | re.IGNORECASE,
)


def ra_deg(value: object) -> float | None:
    """Right ascension in degrees: a number is degrees, sexagesimal text is hours (``d`` in it makes it degrees)."""
    degrees = number(value)
    if degrees is not None or not isinstance(value, str):
        return degrees
    parsed = _sexagesimal(value)
    if parsed is None:
        return None
    return parsed if re.search("[d°]", value, re.IGNORECASE) else parsed * 15.0


def dec_deg(value: object) -> float | None:
    """Declination in degrees, from a number or from sexagesimal degrees."""
    degrees = number(value)
    return _sexagesimal(value) if degrees is None and isinstance(value, str) else degrees


def _sexagesimal(value: str) -> float | None:
    found = _SEXAGESIMAL.match(value)
    if found is None:
        return None
    minutes, seconds = float(found["minutes"]), float(found["seconds"] or 0)
    if minutes >= 60 or seconds >= 60:
        return None
    size = float(found["first"]) + minutes / 60 + seconds / 3600
    return -size if found["sign"] in ("-", "\u2212") else size
