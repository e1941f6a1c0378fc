"""Where a direction is on the map, beside astropy and Snyder."""

from __future__ import annotations

import numpy as np
import pytest

from tom_alertstreams.views.mollweide import HALF_WIDTH, galactic, graticule, labels, mollweide


def test_galactic_as_astropy_has_it() -> None:
    from astropy import units
    from astropy.coordinates import SkyCoord

    random = np.random.default_rng(8)
    ra, dec = random.uniform(0, 360, 1000), np.degrees(np.arcsin(random.uniform(-1, 1, 1000)))
    expected = SkyCoord(ra * units.deg, dec * units.deg).galactic
    ours = SkyCoord(*(angle * units.deg for angle in galactic(ra, dec)), frame="galactic")
    assert ours.separation(expected).arcsec.max() < 0.1


def test_the_centre_of_the_galaxy_is_in_the_middle() -> None:
    assert np.allclose(mollweide(*galactic(266.40499, -28.93617)), 0, atol=1e-5)


def test_the_map_as_astropy_has_it() -> None:
    from astropy.wcs import WCS

    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.cdelt = ["RA---MOL", "DEC--MOL"], [-1, 1]
    random = np.random.default_rng(8)
    lon = random.uniform(0, 360, 1000)
    lat = np.concatenate([np.degrees(np.arcsin(random.uniform(-1, 1, 995))), [90, -90, 89.999, -89.99, 0]])
    expected = wcs.all_world2pix(np.column_stack([lon, lat]), 0) + 1
    assert np.allclose(np.column_stack(mollweide(lon, lat)), np.radians(expected), atol=2e-5)


def test_snyders_own_example() -> None:
    """50° S and 15° from the middle, on page 366; his x increases to the right."""
    assert np.allclose(mollweide(15, -50), [-0.1788845, -0.9208758], atol=1e-7)


def test_longitude_increases_to_the_left_and_wraps_at_180() -> None:
    x, _ = mollweide([0, 90, 180, 180.001, 270, 359.999, 360, -90], np.zeros(8))
    half = HALF_WIDTH
    assert np.allclose(x, [0, -half / 2, -half, half, half / 2, 0, 0, half / 2], atol=1e-4)


def test_equal_areas_stay_equal() -> None:
    random = np.random.default_rng(8)
    lon, lat = random.uniform(0, 360, 200_000), np.degrees(np.arcsin(random.uniform(-1, 1, 200_000)))
    x, y = mollweide(lon, lat)
    assert np.all((x / HALF_WIDTH) ** 2 + (y / 2**0.5) ** 2 <= 1 + 1e-9)
    for x0, y0 in ((-2, 0), (-0.5, 0.9), (1.5, -0.4)):
        share = np.mean((np.abs(x - x0) < 0.25) & (np.abs(y - y0) < 0.25))
        assert share == pytest.approx(0.25 / (4 * np.pi), rel=0.05)


def test_the_graticule_is_one_line_with_gaps() -> None:
    x, y = graticule()
    assert len(x) == len(y)
    assert [place for place, value in enumerate(x) if value is None] == [
        place for place, value in enumerate(y) if value is None
    ]
    assert max(value for value in x if value is not None) == pytest.approx(HALF_WIDTH, abs=1e-3)
    assert [label["text"] for label in labels()] == ["60°", "120°", "240°", "300°", "-60°", "-30°", "+30°", "+60°"]


def test_no_alert_is_no_point() -> None:
    for frame in (mollweide([], []), galactic(np.array([]), np.array([]))):
        assert [len(axis) for axis in frame] == [0, 0]
