"""Light curves of supernovae as a survey telescope sees them: in g and r, with clouds, noise and limits."""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

Template = Sequence[tuple[float, float]]

#: Class → band → (days from the maximum, magnitudes below it). Before the first entry there is nothing.
TEMPLATES: Final[Mapping[str, Mapping[str, Template]]] = {
    "SNIa": {
        "g": ((-18, 5.0), (-14, 2.3), (-10, 0.9), (-5, 0.2), (0, 0.0), (5, 0.15), (10, 0.6), (15, 1.15), (20, 1.7),
              (30, 2.5), (60, 3.4)),
        "r": ((-18, 4.9), (-14, 2.2), (-10, 0.9), (-5, 0.25), (0, 0.08), (5, 0.15), (10, 0.45), (15, 0.65), (20, 0.72),
              (27, 1.0), (40, 1.8), (60, 2.6)),
    },
    "SNIbc": {
        "g": ((-15, 4.5), (-10, 1.3), (-5, 0.3), (0, 0.0), (5, 0.35), (10, 0.95), (20, 1.9), (40, 2.6)),
        "r": ((-15, 4.3), (-10, 1.2), (-5, 0.3), (0, -0.1), (5, 0.0), (10, 0.35), (20, 1.0), (40, 1.7)),
    },
    "SNII": {
        "g": ((-9, 4.5), (-6, 1.3), (-3, 0.3), (0, 0.0), (10, 0.3), (20, 0.8), (40, 1.5), (70, 2.0)),
        "r": ((-9, 4.5), (-6, 1.4), (-3, 0.45), (0, 0.15), (10, 0.1), (20, 0.15), (40, 0.25), (70, 0.4)),
    },
}  # fmt: skip

#: Days of history that come with an alert.
HISTORY_DAYS: Final = 30


@dataclass(frozen=True)
class Visit:
    """One exposure."""

    time: datetime
    band: str
    #: Nothing fainter is found (mag).
    depth: float
    #: None where nothing was found.
    magnitude: float | None = None
    error: float | None = None


@dataclass(frozen=True)
class Supernova:
    """How bright it is, when."""

    class_name: str
    maximum: datetime
    #: Magnitude in g at maximum.
    peak: float

    @classmethod
    def draw(cls, class_name: str, tonight: datetime, choice: random.Random) -> Supernova:
        """One that is bright enough to be seen tonight, on its way up or down."""
        last = {"SNIa": 17, "SNIbc": 12, "SNII": 22}[class_name]
        maximum = tonight - timedelta(days=choice.uniform(-7 if class_name == "SNIa" else -4, last))
        return cls(class_name, maximum, choice.uniform(16.4, 18.2))

    def magnitude(self, time: datetime, band: str) -> float | None:
        """Without noise; None before the explosion."""
        template = TEMPLATES[self.class_name][band]
        day = (time - self.maximum) / timedelta(days=1)
        if day < template[0][0]:
            return None
        after = bisect(template, (day, float("inf")))
        if after == len(template):
            return self.peak + template[-1][1] + 0.02 * (day - template[-1][0])
        (day_0, drop_0), (day_1, drop_1) = template[after - 1], template[after]
        return self.peak + drop_0 + (drop_1 - drop_0) * (day - day_0) / (day_1 - day_0)

    def visit(self, time: datetime, band: str, choice: random.Random) -> Visit:
        """Look at it once."""
        depth = round(choice.gauss(20.5, 0.25), 3)
        true = self.magnitude(time, band)
        if true is None or true > depth:
            return Visit(time, band, depth)
        # One fifth of a magnitude at the limit is 5 sigma; bright sources are limited by the calibration.
        error = (0.02**2 + (0.2 * 10 ** (0.4 * (true - depth))) ** 2) ** 0.5
        return Visit(time, band, depth, round(choice.gauss(true, error), 4), round(error, 4))

    def history(self, tonight: datetime, choice: random.Random) -> list[Visit]:
        """The exposures of the nights before tonight, in order; two nights of five are cloudy."""
        visits = []
        for day in range(HISTORY_DAYS, 0, -1):
            if choice.random() < 0.4:
                continue
            for band in ("g", "r"):
                time = tonight - timedelta(days=day) + timedelta(hours=choice.uniform(3, 12))
                visits.append(self.visit(time, band, choice))
        return sorted(visits, key=lambda visit: visit.time)
