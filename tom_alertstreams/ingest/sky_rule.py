"""SKY: the part of the sky where an object must be to make a Target."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from .sky import ARCSEC_PER_DEG, galactic_latitude_deg, separation_arcsec

_CONE: Final = (
    "a cone in SKY is [right ascension 0 to 360, declination -90 to 90, radius above 0, up to 180], in degrees"
)
_DEC: Final = "dec in SKY is [lowest, highest] declination, within -90 and 90 degrees"
_LATITUDE: Final = "min_abs_galactic_latitude in SKY is a number of degrees, 0 to 90"


class Cone(NamedTuple):
    """A circle on the sky (ICRS, degrees)."""

    ra: float
    dec: float
    radius: float

    def separation_deg(self, ra: float, dec: float) -> float:
        """How far a position is from the centre (degrees)."""
        return separation_arcsec(self.ra, self.dec, ra, dec) / ARCSEC_PER_DEG

    def holds(self, ra: float, dec: float) -> bool:
        """The position is inside or on the edge."""
        # The difference in declination alone is no more than the separation, and costs nothing.
        return abs(dec - self.dec) <= self.radius and self.separation_deg(ra, dec) <= self.radius


@dataclass(frozen=True)
class SkyRule:
    """What SKY asks for; all that is given must hold."""

    #: Inside any of these; empty: anywhere.
    cones: tuple[Cone, ...] = ()
    #: Lowest and highest declination (degrees, both included).
    dec: tuple[float, float] | None = None
    #: At least so far from the plane of the Milky Way (degrees).
    min_abs_galactic_latitude: float | None = None

    @classmethod
    def build(cls, given: object) -> SkyRule:
        """Make the rule of what settings say.

        :raises ValueError: with what is wrong.
        """
        if isinstance(given, cls):
            return given
        if not isinstance(given, Mapping) or not given:
            raise ValueError('SKY is an object like {"cone": [150.1, 2.2, 1.5]}, {"dec": [-30, 30]} or both in one.')
        unknown = sorted(str(key) for key in given if key not in KEYS)
        if unknown:
            raise ValueError(f"SKY does not know {', '.join(unknown)}; it takes {', '.join(KEYS)}.")
        latitude = given.get("min_abs_galactic_latitude")
        return cls(
            _cones(given["cone"]) if "cone" in given else (),
            _band(given["dec"]) if "dec" in given else None,
            _number(latitude, 0, 90, _LATITUDE) if "min_abs_galactic_latitude" in given else None,
        )

    def accepts(self, ra: float | None, dec: float | None) -> bool:
        """The position (ICRS, degrees) is there. What has no position is nowhere."""
        if ra is None or dec is None:
            return False
        if self.dec is not None and not self.dec[0] <= dec <= self.dec[1]:
            return False
        if self.cones and not any(cone.holds(ra, dec) for cone in self.cones):
            return False
        least = self.min_abs_galactic_latitude
        return least is None or abs(galactic_latitude_deg(ra, dec)) >= least

    def why_not(self, ra: float | None, dec: float | None) -> str:
        """In words, which of its conditions this position fails."""
        if ra is None or dec is None:
            return "it has no position that SKY could be compared with"
        if self.dec is not None and not self.dec[0] <= dec <= self.dec[1]:
            low, high = self.dec
            return f"its declination is {dec:.5g} degrees, and SKY asks for {low:g} to {high:g}"
        if self.cones and not any(cone.holds(ra, dec) for cone in self.cones):
            cone = min(self.cones, key=lambda cone: cone.separation_deg(ra, dec) - cone.radius)
            found = f"it is {cone.separation_deg(ra, dec):.5g} degrees from RA {cone.ra:g}, Dec {cone.dec:g}"
            nearest = f", the nearest of {len(self.cones)} cones" if len(self.cones) > 1 else ""
            return f"{found}{nearest}, and SKY asks for at most {cone.radius:g}"
        latitude = galactic_latitude_deg(ra, dec)
        return (
            f"its galactic latitude is {latitude:.5g} degrees, and SKY asks for at least "
            f"{self.min_abs_galactic_latitude:g} on either side of the plane"
        )


#: What SKY may name.
KEYS: Final = ("cone", "dec", "min_abs_galactic_latitude")


def _cones(given: object) -> tuple[Cone, ...]:
    """Of one cone, or of a list of them."""
    rows = _list(given, _CONE)
    if not any(isinstance(row, list | tuple) for row in rows):
        rows = [rows]
    return tuple(_cone(row) for row in rows)


def _cone(given: object) -> Cone:
    row = _list(given, _CONE)
    if len(row) != 3:
        raise ValueError(f"{_CONE}; {given!r} is not.")
    ra, dec, radius = row
    cone = Cone(_number(ra, 0, 360, _CONE), _number(dec, -90, 90, _CONE), _number(radius, 0, 180, _CONE))
    if not cone.radius:
        raise ValueError(f"{_CONE}; {given!r} is not.")
    return cone


def _band(given: object) -> tuple[float, float]:
    row = _list(given, _DEC)
    if len(row) != 2:
        raise ValueError(f"{_DEC}; {given!r} is not.")
    low, high = (_number(value, -90, 90, _DEC) for value in row)
    if low >= high:
        raise ValueError(f"{_DEC}; {given!r} is not.")
    return low, high


def _list(given: object, asked: str) -> Sequence[object]:
    if not isinstance(given, list | tuple) or not given:
        raise ValueError(f"{asked}; {given!r} is not.")
    return given


def _number(value: object, low: float, high: float, asked: str) -> float:
    """A finite number within the bounds; a text such as 10:00:00 is none."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not low <= value <= high:  # type: ignore[arg-type, operator]
        raise ValueError(f"{asked}; {value!r} is not.")
    return float(value)  # type: ignore[arg-type]
