"""Difference fluxes as astronomers read them: a magnitude where something was detected, else a limit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

from .values import number

#: AB magnitude of a source of 1 nJy.
NJY_ZERO_POINT: Final = 31.4

_MAGNITUDES_PER_RATIO: Final = 2.5 / math.log(10)


@dataclass(frozen=True)
class Brightness:
    """What a flux says: a magnitude with its error, or a limit (AB)."""

    #: The signed flux and its error (nJy), as JSON beside the point.
    value: dict[str, Any]
    magnitude: float | None = None
    magnitude_error: float | None = None
    limit: float | None = None


def brightness(flux: object, error: object, snr: float, zero_point: float = NJY_ZERO_POINT) -> Brightness | None:
    """The brightness of a source with this difference flux, or None where flux and error are not both measured.

    The flux is signed: below zero the source is fainter than in the reference, which is no detection of it.

    :param snr: a flux of at least so many times its error is a detection; the limit is so many errors.
    :param zero_point: AB magnitude of a source of flux 1.
    """
    measured, sigma = number(flux), number(error)
    if measured is None or sigma is None or sigma <= 0:
        return None
    scale = 1.0 if zero_point == NJY_ZERO_POINT else 10 ** (0.4 * (NJY_ZERO_POINT - zero_point))
    value = {"flux_njy": measured * scale, "flux_error_njy": sigma * scale}
    if measured < snr * sigma:
        return Brightness(value, limit=zero_point - 2.5 * math.log10(snr * sigma))
    magnitude = zero_point - 2.5 * math.log10(measured)
    return Brightness(value, magnitude, _MAGNITUDES_PER_RATIO * sigma / measured)
