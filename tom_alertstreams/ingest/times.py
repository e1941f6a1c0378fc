"""Times as brokers write them, turned into aware UTC datetimes: one computation for every road.

The same exposure reaches a TOM by several roads (a packet with its Julian date, a query with its modified Julian
date), and it must come out as the same microsecond on each, or one measurement becomes two rows.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone
from typing import Final

from django.utils.dateparse import parse_date, parse_datetime

_MJD_ZERO: Final = datetime(1858, 11, 17, tzinfo=timezone.utc)
_JD_OF_MJD_ZERO: Final = 2_400_000.5
_SECONDS_A_DAY: Final = 86_400.0
#: 0001-01-01 and 9999-12-31 as MJD: what a datetime can hold.
_FIRST_MJD: Final = -678_575
_LAST_MJD: Final = 2_973_483
#: Number-like dates: what is a Julian date and what a modified one.
_JD_RANGE: Final = (2_400_000.5, 2_600_000.0)
_MJD_RANGE: Final = (1_000.0, 150_000.0)


def from_mjd(mjd: float) -> datetime:
    """The UTC time of a modified Julian date (UTC, days), to the microsecond.

    The operations and their order are those of ERFA's ``d2tf``, which astropy's ``Time.to_datetime`` uses, so the
    result is the one the TOM Toolkit's data services store. Days that end in a leap second count as 86,400 s.

    :raises ValueError: not a finite number, or outside the years 1 to 9999.
    """
    if not math.isfinite(mjd) or not _FIRST_MJD <= mjd < _LAST_MJD + 1:
        raise ValueError(f"{mjd!r} is not a modified Julian date.")
    day = math.floor(mjd)
    microseconds = math.floor(1e6 * (_SECONDS_A_DAY * (mjd - day)) + 0.5)
    return _MJD_ZERO + timedelta(days=day, microseconds=microseconds)


def from_jd(jd: float) -> datetime:
    """The UTC time of a Julian date (UTC, days). A float64 resolves 40 microseconds.

    :raises ValueError: not a finite number, or outside the years 1 to 9999.
    """
    return from_mjd(jd - _JD_OF_MJD_ZERO)


def from_iso(text: str) -> datetime:
    """The UTC time of an ISO 8601 date or date and time. Without a zone it is UTC, as alerts mean it.

    :raises ValueError: not such a text.
    """
    text = text.strip()
    time = parse_datetime(text)
    if time is None:
        day = parse_date(text)
        if day is None:
            raise ValueError(f"{text!r} is not an ISO 8601 time.")
        time = datetime(day.year, day.month, day.day, tzinfo=timezone.utc)
    if time.tzinfo is None:
        return time.replace(tzinfo=timezone.utc)
    try:
        return time.astimezone(timezone.utc)
    except OverflowError as error:
        raise ValueError(f"{text!r} is outside the years 1 to 9999.") from error


def from_any(value: object) -> datetime:
    """The UTC time of a number or text: JD (2,400,000.5 to 2.6 million), MJD (1,000 to 150,000), else ISO 8601.

    :raises ValueError: none of these.
    """
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return from_iso(str(value))
    if _JD_RANGE[0] <= number <= _JD_RANGE[1]:
        return from_jd(number)
    if _MJD_RANGE[0] <= number <= _MJD_RANGE[1]:
        return from_mjd(number)
    raise ValueError(f"{value!r} is neither a Julian date nor a modified one.")
