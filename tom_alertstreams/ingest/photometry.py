"""One measurement, one row: points that a Target already has are left out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from django.db import connection
from tom_dataproducts.models import PhotometryReducedDatum

from .bulk import any_of, insert, on_postgresql, run
from .reports import PhotometryPoint

#: Of two points of one band the times (microseconds) and magnitudes may differ by this much and be one measurement:
#: brokers write times as JD or MJD, and magnitudes with 32 or 64 bits.
SAME_SOURCE: Final = (5_000, 0.0005)
#: The same where two sources tell of it, for one may round what the other does not.
OTHER_SOURCE: Final = (1_000_000, 0.001)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND: Final = timedelta(microseconds=1)
_WINDOW: Final = 1_000_000
_MARGIN: Final = timedelta(seconds=1)

#: A Target (pk) and points that alerts tell of it.
Points = tuple[int, Sequence[PhotometryPoint]]


class KnownPoints:
    """The points of some Targets, to ask whether a new one is among them."""

    def __init__(self) -> None:
        # (target, band, is a limit) → time in windows → (microseconds, magnitude, source, row)
        self._points: dict[tuple[int, str, bool], dict[int, list[tuple[int, float, str, int | None]]]] = defaultdict(
            dict
        )

    def load(self, per_target: Sequence[Points]) -> None:
        """Read the rows that these points may be."""
        rows = _rows_near(per_target) if on_postgresql() else _rows_of(per_target)
        for row, target, band, time, brightness, limit, source in rows:
            for value, is_limit in ((brightness, False), (limit, True)):
                if value is not None:
                    self._keep((target, band, is_limit), (_microseconds(time), value, source, row))

    def add(self, target: int, point: PhotometryPoint) -> bool:
        """Note a point; False where the Target has it already."""
        found = self._find(target, point)
        if found is None:
            return False
        key, place, same = found
        if same is None:
            self._keep(key, place)
        return same is None

    def withdraw(self, target: int, point: PhotometryPoint) -> int | None:
        """The row of a point that is taken back, or None. It is not known any more."""
        found = self._find(target, point)
        if found is None or found[2] is None:
            return None
        key, _, same = found
        self._points[key][same[0] // _WINDOW].remove(same)
        row: int | None = same[3]
        return row

    def _find(self, target: int, point: PhotometryPoint) -> Any:
        """Where a point belongs, and the known one that is the same measurement; None for a point without a value."""
        is_limit = point.magnitude is None
        value = point.limit if is_limit else point.magnitude
        if value is None:
            return None
        key, time = (target, point.band, is_limit), _microseconds(point.time)
        windows = self._points.get(key)
        place = (time, value, point.source, None)
        if windows:
            for window in range(time // _WINDOW - 1, time // _WINDOW + 2):
                for known in windows.get(window, ()):
                    within, magnitudes = SAME_SOURCE if known[2] == point.source else OTHER_SOURCE
                    if abs(known[0] - time) <= within and abs(known[1] - value) <= magnitudes:
                        return key, place, known
        return key, place, None

    def _keep(self, key: tuple[int, str, bool], place: tuple[int, float, str, int | None]) -> None:
        self._points[key].setdefault(place[0] // _WINDOW, []).append(place)


_COLUMNS: Final = ("pk", "target_id", "bandpass", "timestamp", "brightness", "limit", "source_name")


def _rows_near(per_target: Sequence[Points]) -> list[Any]:
    """On PostgreSQL, the rows within a second of any point: the table's own index has target, band and time."""
    asked = [(pk, point.band, point.time) for pk, points in per_target for point in points]
    if not asked:
        return []
    quote = connection.ops.quote_name
    sql = (
        'SELECT p.id, p.target_id, p.bandpass, p.timestamp, p.brightness, p."limit", p.source_name '  # noqa: S608
        "FROM unnest(%s::int[], %s::text[], %s::timestamptz[]) AS r(target, band, time) CROSS JOIN LATERAL ("
        f"SELECT * FROM {quote(PhotometryReducedDatum._meta.db_table)} WHERE target_id = r.target AND bandpass = r.band "
        "AND timestamp BETWEEN r.time - interval '1 second' AND r.time + interval '1 second' OFFSET 0) AS p"
    )
    return list(dict.fromkeys(run(sql, [list(column) for column in zip(*asked, strict=True)])))


def _rows_of(per_target: Sequence[Points]) -> Iterable[Any]:
    """The rows of the Targets in the range of time that all points span."""
    times = [point.time for _, points in per_target for point in points]
    if not times:
        return []
    targets = sorted({pk for pk, points in per_target if points})
    span = (min(times) - _MARGIN, max(times) + _MARGIN)
    rows = PhotometryReducedDatum.objects.filter(any_of("target_id", targets), timestamp__range=span)
    return list(rows.values_list(*_COLUMNS))


def write_photometry(per_target: Sequence[Points], new: set[int]) -> list[int]:
    """Write what the Targets do not have yet, and remove what their survey has withdrawn.

    :param per_target: any number of times per Target.
    :param new: Targets that this batch created, which cannot have any points.
    :returns: how many points of each item were new.
    """
    known = KnownPoints()
    known.load([item for item in per_target if item[0] not in new])
    counts: list[int] = []
    fresh: list[tuple[int, PhotometryPoint]] = []
    withdrawn: list[int] = []
    for pk, points in per_target:
        before = len(fresh)
        for point in points:
            if point.withdrawn:
                withdrawn += [row for row in [known.withdraw(pk, point)] if row is not None]
            elif known.add(pk, point):
                fresh.append((pk, point))
        counts.append(len(fresh) - before)
    if withdrawn:
        PhotometryReducedDatum.objects.filter(pk__in=withdrawn).delete()
    _insert(fresh)
    return counts


def _insert(fresh: Sequence[tuple[int, PhotometryPoint]]) -> None:
    points = [point for _, point in fresh]
    # Two processes may write one Target at once; the constraints of the table decide between equal rows.
    insert(
        PhotometryReducedDatum,
        {
            "target_id": [pk for pk, _ in fresh],
            "timestamp": [point.time for point in points],
            "brightness": [point.magnitude for point in points],
            "brightness_error": [point.magnitude_error for point in points],
            "limit": [point.limit for point in points],
            "unit": ["mag"] * len(points),
            "bandpass": [point.band for point in points],
            "telescope": [point.telescope for point in points],
            "instrument": [point.instrument for point in points],
            "source_name": [point.source for point in points],
            "exposure_time": [point.exposure_s for point in points],
            "value": [dict(point.value) for point in points],
        },
    )


def _microseconds(time: datetime) -> int:
    return (time - _EPOCH) // _MICROSECOND
