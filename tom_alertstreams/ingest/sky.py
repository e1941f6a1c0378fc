"""Positions on the sphere: separations, and the nearest neighbours of a position among many."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Final, Generic, TypeVar

Item = TypeVar("Item")

ARCSEC_PER_DEG = 3600.0

#: North pole of the Milky Way (ICRS, degrees), of the Hipparcos catalogue (ESA SP-1200) and ERFA's ``icrs2g``.
_GALACTIC_POLE_RA: Final = 192.85948
_GALACTIC_POLE_DEC: Final = math.radians(27.12825)
_SIN_POLE, _COS_POLE = math.sin(_GALACTIC_POLE_DEC), math.cos(_GALACTIC_POLE_DEC)


def separation_arcsec(ra_1: float, dec_1: float, ra_2: float, dec_2: float) -> float:
    """Angle between two positions (degrees in, arcsec out), by the haversine formula.

    Exact to well under a milliarcsecond for the small angles that matter here, at the poles and across RA 0 too.
    """
    phi_1, phi_2 = math.radians(dec_1), math.radians(dec_2)
    half_dec = math.sin((phi_2 - phi_1) / 2)
    half_ra = math.sin(math.radians(ra_2 - ra_1) / 2)
    haversine = half_dec * half_dec + math.cos(phi_1) * math.cos(phi_2) * half_ra * half_ra
    return math.degrees(2 * math.asin(math.sqrt(min(1.0, haversine)))) * ARCSEC_PER_DEG


def galactic_latitude_deg(ra: float, dec: float) -> float:
    """Angle from the plane of the Milky Way (degrees, north positive) of a position (ICRS, degrees).

    astropy goes by way of FK5, whose pole is some 0.01 arcsec from this one.
    """
    phi = math.radians(dec)
    sine = math.sin(phi) * _SIN_POLE + math.cos(phi) * _COS_POLE * math.cos(math.radians(ra - _GALACTIC_POLE_RA))
    return math.degrees(math.asin(max(-1.0, min(1.0, sine))))


class DeclinationIndex(Generic[Item]):
    """Positions sorted by declination: a search looks at the band that can hold a neighbour, and measures there.

    No right ascension is compared, so neither the wrap at 0/360 nor the poles need care.
    """

    def __init__(self) -> None:
        self._rows: list[tuple[float, int, float, Item]] = []

    def add(self, ra: float, dec: float, item: Item) -> None:
        """Put one position (degrees) in. The second key keeps items from being compared."""
        insort(self._rows, (dec, len(self._rows), ra, item), key=lambda row: row[:2])

    def extend(self, positions: list[tuple[float, float, Item]]) -> None:
        """Put many positions (RA, Dec in degrees, item) in at once."""
        start = len(self._rows)
        self._rows.extend((dec, start + n, ra, item) for n, (ra, dec, item) in enumerate(positions))
        self._rows.sort(key=lambda row: row[:2])

    def remove(self, ra: float, dec: float, item: Item) -> None:
        """Take out what was put in there; nothing where it was not."""
        for row in range(bisect_left(self._rows, dec, key=lambda row: row[0]), len(self._rows)):
            row_dec, _, row_ra, row_item = self._rows[row]
            if row_dec != dec:
                return
            if row_ra == ra and row_item is item:
                del self._rows[row]
                return

    def within(self, ra: float, dec: float, radius_arcsec: float) -> list[tuple[float, Item]]:
        """Separation (arcsec) and item of everything within the radius, nearest first."""
        return sorted(self._band(ra, dec, radius_arcsec), key=lambda pair: pair[0])

    def _band(self, ra: float, dec: float, radius_arcsec: float) -> Iterator[tuple[float, Item]]:
        half_width = band_half_width_deg(radius_arcsec)
        start = bisect_left(self._rows, dec - half_width, key=lambda row: row[0])
        for row in range(start, len(self._rows)):
            row_dec, _, row_ra, item = self._rows[row]
            if row_dec > dec + half_width:
                return
            separation = separation_arcsec(ra, dec, row_ra, row_dec)
            if separation <= radius_arcsec:
                yield separation, item


def band_half_width_deg(radius_arcsec: float) -> float:
    """Half the declination band (degrees) that holds everything within the radius, with room for rounding."""
    return radius_arcsec / ARCSEC_PER_DEG * (1 + 1e-9) + 1e-10
