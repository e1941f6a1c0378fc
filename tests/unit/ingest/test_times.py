"""Times come out as the TOM Toolkit's data services store them."""

from __future__ import annotations

import warnings
from datetime import date, datetime, timedelta, timezone
from fractions import Fraction

import erfa
import pytest
from astropy.time import Time
from hypothesis import given
from hypothesis import strategies as st

from tom_alertstreams.ingest.times import LEAPS, from_any, from_iso, from_jd, from_mjd, from_mjd_tai


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=timezone.utc)  # type: ignore[arg-type, misc]


@given(st.floats(57754.0, 62000.0))
def test_mjd_is_astropys_to_the_microsecond(mjd: float) -> None:
    expected = Time(mjd, format="mjd", scale="utc").to_datetime(timezone.utc)
    assert from_mjd(mjd) == expected


def microseconds(mjd: float) -> Fraction:
    """Of the exact value of a float, since MJD 0."""
    return Fraction(mjd) * 86_400_000_000


@given(st.floats(41318.0, 62000.0))
def test_mjd_tai_is_astropys_to_the_microsecond(mjd: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a year beyond the table of leap seconds is dubious
        expected = Time(mjd, format="mjd", scale="tai").utc
        try:
            moment = expected.to_datetime(timezone.utc)
        except ValueError:  # within a leap second, which a datetime cannot hold
            return
    off = abs((from_mjd_tai(mjd) - moment) // timedelta(microseconds=1))
    # astropy adds rounding errors of its own: half-way between two microseconds it may take the other one.
    half_way = abs(microseconds(mjd) % 1 - Fraction(1, 2)) < Fraction(1, 1000)
    assert off <= (1 if half_way else 0)


@given(st.floats(41318.0, 62000.0))
def test_mjd_tai_is_rounded_from_the_exact_value(mjd: float) -> None:
    tai = (from_mjd_tai(mjd) - datetime(1858, 11, 17, tzinfo=timezone.utc)) / timedelta(microseconds=1)
    seconds = (Fraction(tai) - microseconds(mjd)) / 1_000_000
    assert abs(seconds - round(seconds)) <= Fraction(1, 2_000_000)
    assert -37 <= round(seconds) <= -10


@pytest.mark.parametrize(
    ("mjd", "expected"),
    [
        (61105.25, utc(2026, 3, 6, 5, 59, 23)),
        (57754 + 37 / 86400, utc(2017, 1, 1)),
        (57754 + 35.5 / 86400, utc(2016, 12, 31, 23, 59, 59, 500000)),
        (57754 + 36.5 / 86400, utc(2017, 1, 1, 0, 0, 0, 500000)),  # in the leap second
        (57204.5, utc(2015, 7, 1, 11, 59, 24)),
        (57203.5, utc(2015, 6, 30, 11, 59, 25)),
        (40587.0, utc(1969, 12, 31, 23, 59, 50)),
    ],
)
def test_leap_seconds(mjd: float, expected: datetime) -> None:
    assert from_mjd_tai(mjd) == expected


def test_the_leap_seconds_are_erfas() -> None:
    """Fails when one is announced: then it is missing in the table."""
    rows = [row for row in erfa.leap_seconds.get() if row["year"] >= 1972]
    days = [date(int(row["year"]), int(row["month"]), 1).toordinal() - date(1858, 11, 17).toordinal() for row in rows]
    assert tuple(days) == LEAPS
    assert [int(row["tai_utc"]) for row in rows] == list(range(10, 10 + len(LEAPS)))


@pytest.mark.parametrize("jd", [2458574.6289815, 2458814.6358333, 2459000.5, 2459000.4999999])
def test_jd_is_the_mjd_that_alerce_derives(jd: float) -> None:
    assert from_jd(jd) == Time(jd - 2400000.5, format="mjd", scale="utc").to_datetime(timezone.utc)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-05-08T07:38:01.151Z", utc(2024, 5, 8, 7, 38, 1, 151000)),
        ("2024-05-08T07:38:01.151", utc(2024, 5, 8, 7, 38, 1, 151000)),
        ("2024-09-18 07:19:03.518831+00:00", utc(2024, 9, 18, 7, 19, 3, 518831)),
        ("2024-09-18T09:19:03+02:00", utc(2024, 9, 18, 7, 19, 3)),
        ("2024-06-01T00:05:00.00Z", utc(2024, 6, 1, 0, 5)),
        ("2023-04-09", utc(2023, 4, 9)),
    ],
)
def test_iso_without_a_zone_is_utc(text: str, expected: datetime) -> None:
    assert from_iso(text) == expected


def test_numbers_are_told_apart_by_their_size() -> None:
    assert from_any("2461000.75") == from_any(61000.25) == datetime(2025, 11, 21, 6, tzinfo=timezone.utc)
    for value in ("nan", 12.5, "yesterday", 5e9):
        with pytest.raises(ValueError, match=r"is n"):
            from_any(value)


@pytest.mark.parametrize("mjd", [float("nan"), float("inf"), 1e12, -1e12])
def test_what_is_no_date(mjd: float) -> None:
    for from_days in (from_mjd, from_mjd_tai):
        with pytest.raises(ValueError, match="not a modified Julian date"):
            from_days(mjd)
