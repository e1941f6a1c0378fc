"""Ages as commands take them: ``90d``, ``12h``, ``30m``."""

from __future__ import annotations

import argparse
import re
from datetime import timedelta

_UNITS = {"d": "days", "h": "hours", "m": "minutes"}


def age(text: str) -> timedelta:
    """For ``type=`` of an option.

    :raises ArgumentTypeError: it is no such age.
    """
    found = re.fullmatch(r"([0-9]{1,5})([dhm])", text.strip())
    if found is None or not int(found[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is no age: use days, hours or minutes, as in 90d, 12h, 30m")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})
