"""One measurement, one row: points that a Target already has are left out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Final

from tom_dataproducts.models import PhotometryReducedDatum

from .matching import chunks
from .reports import PhotometryPoint

#: Of two points of one band the times (s) and magnitudes may differ by this much and be one measurement: brokers
#: write times as JD or MJD, and magnitudes with 32 or 64 bits.
SAME_TIME_S: Final = 0.005
SAME_MAGNITUDE: Final = 0.0005

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND: Final = timedelta(microseconds=1)
_WINDOW: Final = round(SAME_TIME_S * 1_000_000)


class KnownPoints:
    """The points of some Targets, to ask whether a new one is among them."""

    def __init__(self) -> None:
        # (target, band, is a limit) → time in windows → (microseconds, magnitude)
        self._points: dict[tuple[int, str, bool], dict[int, list[tuple[int, float]]]] = defaultdict(dict)

    def load(self, targets: Sequence[int], points: Iterable[PhotometryPoint]) -> None:
        """Read the rows of these Targets in the range of time that the points span."""
        times = [point.time for point in points]
        if not targets or not times:
            return
        margin = timedelta(seconds=SAME_TIME_S)
        span = (min(times) - margin, max(times) + margin)
        columns = ("target_id", "bandpass", "timestamp", "brightness", "limit")
        for chunk in chunks(sorted(targets)):
            rows = PhotometryReducedDatum.objects.filter(target_id__in=chunk, timestamp__range=span)
            for target, band, time, brightness, limit in rows.values_list(*columns):
                for value, is_limit in ((brightness, False), (limit, True)):
                    if value is not None:
                        self._keep((target, band, is_limit), _microseconds(time), value)

    def add(self, target: int, point: PhotometryPoint) -> bool:
        """Note a point; False where the Target has it already."""
        is_limit = point.magnitude is None
        value = point.limit if is_limit else point.magnitude
        if value is None:
            return False
        key, time = (target, point.band, is_limit), _microseconds(point.time)
        windows = self._points[key]
        for window in range(time // _WINDOW - 1, time // _WINDOW + 2):
            for known_time, known_value in windows.get(window, ()):
                if abs(known_time - time) <= _WINDOW and abs(known_value - value) <= SAME_MAGNITUDE:
                    return False
        self._keep(key, time, value)
        return True

    def _keep(self, key: tuple[int, str, bool], time: int, value: float) -> None:
        self._points[key].setdefault(time // _WINDOW, []).append((time, value))


def write_photometry(per_target: Sequence[tuple[int, Sequence[PhotometryPoint]]], new: set[int]) -> list[int]:
    """Write what the Targets do not have yet.

    :param per_target: (pk of the Target, points), any number of times per Target.
    :param new: Targets that this batch created, which cannot have any points.
    :returns: how many points of each item were new.
    """
    known = KnownPoints()
    old = sorted({pk for pk, points in per_target if points and pk not in new})
    known.load(old, (point for pk, points in per_target if pk not in new for point in points))
    counts, rows = [], []
    for pk, points in per_target:
        fresh = [_row(pk, point) for point in points if known.add(pk, point)]
        counts.append(len(fresh))
        rows.extend(fresh)
    # Two processes may write one Target at once; the constraints of the table decide between equal rows.
    PhotometryReducedDatum.objects.bulk_create(rows, ignore_conflicts=True, batch_size=1000)
    return counts


def _row(target: int, point: PhotometryPoint) -> PhotometryReducedDatum:
    return PhotometryReducedDatum(
        target_id=target,
        timestamp=point.time,
        brightness=point.magnitude,
        brightness_error=point.magnitude_error,
        limit=point.limit,
        unit="mag",
        bandpass=point.band,
        telescope=point.telescope,
        instrument=point.instrument,
        source_name=point.source,
        exposure_time=point.exposure_s,
        value=dict(point.value),
    )


def _microseconds(time: datetime) -> int:
    return (time - _EPOCH) // _MICROSECOND
