"""The sky in HEALPix cells: what lies near a position is found by an index on whole numbers.

Cells are numbered in the nested scheme at the finest order, 29 (Górski et al. 2005, ApJ 622, 759): then a cell of any
coarser order is one range of numbers, and one index serves every radius.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from .sky import ARCSEC_PER_DEG

#: The finest order whose cells have 64-bit numbers; a cell is 0.4 milliarcseconds wide.
FINEST_ORDER: Final = 29
#: Width of a cell of order 0 (arcsec): the square root of a twelfth of the sphere.
_WIDTH_AT_ORDER_0: Final = math.degrees(math.sqrt(math.pi / 3)) * ARCSEC_PER_DEG
#: Cells that are searched are so many times as wide as the radius: few positions lie near an edge, where neighbouring
#: cells must be searched too, and few strangers lie inside.
_WIDTHS_PER_RADIUS: Final = 32
#: A cell is no square: it may be narrower than the root of its area by a third. Whoever is farther from every edge than
#: so many radii, measured in widths, has the whole circle inside.
_SAFE_RADII: Final = 2.5
#: Cells of the coarsest orders bend too much for that: there the neighbours are always searched.
_FIRST_STRAIGHT_ORDER: Final = 6


@dataclass(frozen=True)
class Ranges:
    """Ranges of cells of the finest order, both ends included: ``low[i]`` to ``high[i]``, sorted, each once."""

    low: list[int]
    high: list[int]


def cells_of(ra: Sequence[float], dec: Sequence[float]) -> list[int]:
    """The finest cells of positions (degrees)."""
    found: list[int] = _locate(ra, dec, FINEST_ORDER)[0].tolist()
    return found


def ranges_around(ra: Sequence[float], dec: Sequence[float], radius_arcsec: float) -> Ranges:
    """Ranges of cells that hold everything within the radius of any of these positions (degrees), and more."""
    import numpy as np
    from astropy_healpix import neighbours

    order = _order_for(radius_arcsec)
    cells, x, y = _locate(ra, dec, order)
    edge = np.minimum(np.minimum(x, 1 - x), np.minimum(y, 1 - y))
    margin = _SAFE_RADII * radius_arcsec * 2**order / _WIDTH_AT_ORDER_0 if order >= _FIRST_STRAIGHT_ORDER else 1.0
    with np.errstate(invalid="ignore"):  # it says so of a neighbour that is missing
        around = neighbours(cells[edge < margin], 2**order, order="nested").ravel()
    # Where three cells of order 0 meet, a cell has seven neighbours; the eighth is -1.
    wanted = np.unique(np.concatenate((cells, around[around >= 0])))
    shift = 2 * (FINEST_ORDER - order)
    return Ranges((wanted << shift).tolist(), (((wanted + 1) << shift) - 1).tolist())


def _order_for(radius_arcsec: float) -> int:
    """The finest order whose cells are wide enough for this radius; 0 where none is."""
    widest = _WIDTH_AT_ORDER_0 / (_WIDTHS_PER_RADIUS * max(radius_arcsec, 1e-3))
    return min(FINEST_ORDER, max(0, math.floor(math.log2(widest))))


def _locate(ra: Sequence[float], dec: Sequence[float], order: int) -> tuple[Any, Any, Any]:
    """Cells of positions at this order, and where in them (0 to 1 along both edges)."""
    import numpy as np
    from astropy import units
    from astropy_healpix import lonlat_to_healpix

    longitude, latitude = (np.asarray(values, dtype=float) * units.deg for values in (ra, dec))
    found: tuple[Any, Any, Any] = lonlat_to_healpix(longitude, latitude, 2**order, return_offsets=True, order="nested")
    return found
