"""What happens to a simulated object in the course of a night: what it is, and what the classifiers make of it when."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from alerce_stream.resolver import Position

#: Class of the light curve → its branch, as ALeRCE's light-curve classifier has them.
BRANCHES: Final[Mapping[str, str]] = {
    "SNIa": "Transient", "SNIbc": "Transient", "SNII": "Transient", "SLSN": "Transient",
    "QSO": "Stochastic", "AGN": "Stochastic", "Blazar": "Stochastic", "CV/Nova": "Stochastic", "YSO": "Stochastic",
    "LPV": "Periodic", "E": "Periodic", "DSCT": "Periodic", "RRL": "Periodic", "CEP": "Periodic",
    "Periodic-Other": "Periodic",
}  # fmt: skip
STAMP_OF_BRANCH: Final = {"Transient": "SN", "Stochastic": "AGN", "Periodic": "VS"}
#: What the simulated objects are, in turn.
_KINDS: Final = ("SNIa", "SNII", "QSO", "RRL", "asteroid", "SNIa", "AGN", "bogus", "LPV", "satellite")
#: Of the whole time, in which objects are first seen.
_FIRST_SEEN: Final = 0.7
#: The first light curve is classified with at least so much, the last one with at least so much.
_LEAST: Final = (0.45, 0.75)
_MOST: Final = 0.98


@dataclass(frozen=True)
class SimulatedObject:
    """A source on the sky, and what it is."""

    oid: str
    position: Position
    #: Of the light-curve classifier; or asteroid, bogus, satellite, which have no light curve.
    class_name: str
    #: What the classifiers take it for at first.
    first_class: str

    @property
    def has_light_curve(self) -> bool:
        """It is classified by its light curve too."""
        return self.class_name in BRANCHES


@dataclass(frozen=True)
class Moment:
    """One classifier looks at the object."""

    #: Of the whole time, from 0 to 1.
    when: float
    stamp: bool
    class_name: str
    #: The least that it gives to this class.
    least: float


def draw(dice: random.Random, number: int, changing: float, *, numbered: bool) -> SimulatedObject:
    """The object of this number.

    :param changing: how many of those with a light curve are taken for something else at first.
    :param numbered: its name is a number, as Rubin's.
    """
    letters = "".join(dice.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(7))
    oid = str(170_028_000_000_000_000 + dice.randrange(10**12)) if numbered else f"ZTF26{letters}"
    position = Position(round(dice.uniform(0, 360), 6), round(dice.uniform(-30, 85), 6))
    class_name = _KINDS[number % len(_KINDS)]
    first = class_name
    if class_name in BRANCHES and dice.random() < changing:
        first = dice.choice([name for name in BRANCHES if name != class_name])
    return SimulatedObject(oid, position, class_name, first)


def story(dice: random.Random, item: SimulatedObject, light_curves: int) -> Iterator[Moment]:
    """A look at its first image, and then so many at its light curve, more and more sure."""
    seen = dice.uniform(0, _FIRST_SEEN)
    yield Moment(seen, True, STAMP_OF_BRANCH.get(BRANCHES.get(item.first_class, ""), item.first_class), 0.5)
    if not item.has_light_curve:
        return
    moments = sorted(dice.uniform(seen, 1) for _ in range(light_curves))
    for turn, when in enumerate(moments, start=1):
        sure = turn / light_curves
        class_name = item.class_name if 2 * turn > light_curves else item.first_class
        yield Moment(when, False, class_name, _LEAST[0] + (_LEAST[1] - _LEAST[0]) * sure)


def probabilities(dice: random.Random, classes: Sequence[str], best: str, least: float) -> dict[str, float]:
    """Of this class at least so much, and more than of any other; four digits, so that 32 bits hold them."""
    top = round(dice.uniform(least, _MOST), 4)
    # Shares that differ by less than a factor of two: of two others neither gets more than the best.
    shares = {name: dice.uniform(0.5, 1) for name in classes if name != best}
    scale = (1 - top) / sum(shares.values())
    return {name: top if name == best else round(shares[name] * scale, 4) for name in classes}
