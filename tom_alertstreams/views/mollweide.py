"""The whole sky on a plane, areas as they are: Mollweide's projection, longitude to the left as seen from inside."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

import numpy as np

Array = Any

#: From ICRS to galactic coordinates: ESA, The Hipparcos and Tycho Catalogues (SP-1200, 1997), vol. 1, eq. 1.5.11.
_TO_GALACTIC: Final = np.array(
    [
        [-0.0548755604, -0.8734370902, -0.4838350155],
        [+0.4941094279, -0.4448296300, +0.7469822445],
        [-0.8676661490, -0.1980763734, +0.4559837762],
    ]
)
#: Half the width of the map; it is half as high as it is wide.
HALF_WIDTH: Final = 2 * 2**0.5


def galactic(ra: Array, dec: Array) -> tuple[Array, Array]:
    """Galactic longitude and latitude of ICRS positions; all in degrees."""
    ra, dec = np.radians(ra), np.radians(dec)
    x, y, z = _TO_GALACTIC @ np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
    return np.degrees(np.arctan2(y, x)) % 360, np.degrees(np.arctan2(z, np.hypot(x, y)))


def mollweide(longitude: Array, latitude: Array) -> tuple[Array, Array]:
    """Where a direction (degrees) is on the map; longitude 0 is in its middle, and 180 at its left edge.

    J. P. Snyder, Map Projections: A Working Manual (USGS Professional Paper 1395, 1987), eq. 31-1 to 31-4.
    """
    longitude, latitude = np.asarray(longitude, float), np.radians(np.asarray(latitude, float))
    from_middle = np.radians(longitude - 360 * np.ceil(longitude / 360 - 0.5))  # above -180°, and up to 180°
    wanted = np.pi * np.sin(latitude)
    doubled = latitude.copy()  # twice the auxiliary angle
    for _ in range(_STEPS):
        slope = np.maximum(1 + np.cos(doubled), 1e-12)  # it vanishes at the poles
        doubled = np.clip(doubled - (doubled + np.sin(doubled) - wanted) / slope, -np.pi, np.pi)
    angle = doubled / 2
    return -HALF_WIDTH / np.pi * from_middle * np.cos(angle), 2**0.5 * np.sin(angle)


#: Newton's steps. They halve the error at the poles, and are done after a few elsewhere.
_STEPS: Final = 30


@lru_cache(maxsize=1)
def graticule() -> tuple[list[float | None], list[float | None]]:
    """Meridians and parallels every 30°, and the edge, as one line with gaps (None)."""
    x: list[float | None] = []
    y: list[float | None] = []
    for line_x, line_y in _lines():
        x += [*map(_rounded, line_x), None]
        y += [*map(_rounded, line_y), None]
    return x, y


@lru_cache(maxsize=1)
def labels() -> list[dict[str, Any]]:
    """Degrees at some lines of the graticule."""
    places = [(longitude, 0, f"{longitude}°") for longitude in (60, 120, 240, 300)]
    places += [(0, latitude, f"{latitude:+d}°") for latitude in (-60, -30, 30, 60)]
    x, y = mollweide([place[0] for place in places], [place[1] for place in places])
    return [
        {"x": round(px, 4), "y": round(py, 4), "text": text}
        for px, py, (_, _, text) in zip(x.tolist(), y.tolist(), places, strict=True)
    ]


def _rounded(value: float) -> float:
    return round(float(value), 4)


def _lines() -> Iterator[tuple[Array, Array]]:
    along = np.linspace(-90, 90, 61)
    for longitude in (*range(0, 360, 30), 180 + 1e-9):  # the edge is there twice
        yield mollweide(np.full_like(along, longitude), along)
    around = np.linspace(180, -180 + 1e-9, 61)
    for latitude in range(-60, 61, 30):
        yield mollweide(around, np.full_like(around, latitude))
