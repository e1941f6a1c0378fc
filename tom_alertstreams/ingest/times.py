"""Times as brokers write them, turned into aware UTC datetimes: one computation for every road.

The same exposure reaches a TOM by several roads (a packet with its Julian date, a query with its modified Julian
date), and it must come out as the same microsecond on each, or one measurement becomes two rows.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from datetime import datetime, timedelta, timezone
from typing import Final

from django.utils.dateparse import parse_date, parse_datetime

_MJD_ZERO: Final = datetime(1858, 11, 17, tzinfo=timezone.utc)
_JD_OF_MJD_ZERO: Final = 2_400_000.5
_SECONDS_A_DAY: Final = 86_400.0
_MICROSECONDS_A_DAY: Final = 86_400_000_000
#: TAI - UTC in 1972, and the days (MJD, UTC) since when it is this, and one second more each. None is announced since
#: 2017; a test compares them with ERFA's.
_FIRST_OFFSET_S: Final = 10
LEAPS: Final = (
    41317, 41499, 41683, 42048, 42413, 42778, 43144, 43509, 43874, 44239, 44786, 45151, 45516, 46247, 47161, 47892,
    48257, 48804, 49169, 49534, 50083, 50630, 51179, 53736, 54832, 56109, 57204, 57754,
)  # fmt: skip
#: When they begin, in microseconds of TAI since MJD 0.
_LEAPS_TAI: Final = [
    day * _MICROSECONDS_A_DAY + (_FIRST_OFFSET_S + count) * 1_000_000 for count, day in enumerate(LEAPS)
]
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


def from_mjd_tai(mjd: float) -> datetime:
    """The UTC time of a modified Julian date in TAI (days), rounded to the microsecond from exact integers.

    The same as astropy's ``Time(mjd, format="mjd", scale="tai").utc.to_datetime()``, which has rounding errors where
    the date is half-way between two microseconds. Before 1972, when UTC was no whole number of seconds behind TAI, the
    ten seconds of 1972 are taken; a leap second counts as the first second of the next day.

    :raises ValueError: not a finite number, or outside the years 1 to 9999.
    """
    if not math.isfinite(mjd) or not _FIRST_MJD + 1 <= mjd < _LAST_MJD + 1:
        raise ValueError(f"{mjd!r} is not a modified Julian date.")
    day = math.floor(mjd)
    numerator, denominator = (mjd - day).as_integer_ratio()
    tai = day * _MICROSECONDS_A_DAY + (2 * numerator * _MICROSECONDS_A_DAY + denominator) // (2 * denominator)
    seconds = _FIRST_OFFSET_S + max(bisect_right(_LEAPS_TAI, tai) - 1, 0)
    return _MJD_ZERO + timedelta(microseconds=tai - seconds * 1_000_000)


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
