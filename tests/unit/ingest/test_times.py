"""Times come out as the TOM Toolkit's data services store them."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from astropy.time import Time
from hypothesis import given
from hypothesis import strategies as st

from tom_alertstreams.ingest.times import from_any, from_iso, from_jd, from_mjd


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=timezone.utc)  # type: ignore[arg-type, misc]


@given(st.floats(57754.0, 62000.0))
def test_mjd_is_astropys_to_the_microsecond(mjd: float) -> None:
    expected = Time(mjd, format="mjd", scale="utc").to_datetime(timezone.utc)
    assert from_mjd(mjd) == expected


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
    with pytest.raises(ValueError, match="not a modified Julian date"):
        from_mjd(mjd)
