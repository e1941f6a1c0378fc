"""One measurement, one row: points that a Target already has are left out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, Final, NamedTuple

from django.db import connection
from tom_dataproducts.models import PhotometryReducedDatum

from .bulk import any_of, insert, look_up, on_postgresql
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
_FIRST: Final = datetime.min.replace(tzinfo=timezone.utc)
_LAST: Final = datetime.max.replace(tzinfo=timezone.utc)

#: A Target (pk), points that an alert tells of it, and the provider's name of the object that it is about.
Points = tuple[int, Sequence[PhotometryPoint], str]


#: Target, band, whether it is a limit, and the time in windows.
Place = tuple[int, str, bool, int]


class Known(NamedTuple):
    """A point that a Target has."""

    #: Since 1970.
    microseconds: int
    magnitude: float
    source: str
    #: Primary key; of a point that is not written yet, its place among the new ones.
    number: int
    is_written: bool


#: A new point: which item of the batch brought it, its Target (pk), the point, the provider's name of the object.
Fresh = tuple[int, int, PhotometryPoint, str]


class KnownPoints:
    """The points of some Targets, to ask whether a new one is among them."""

    def __init__(self) -> None:
        self._points: dict[Place, list[Known]] = {}

    def load(self, per_target: Sequence[Points]) -> None:
        """Read the rows that these points may be."""
        rows = _rows_near(per_target) if on_postgresql() else _rows_of(per_target)
        for row, target, band, time, brightness, limit, source in rows:
            for value, is_limit in ((brightness, False), (limit, True)):
                if value is not None:
                    known = Known(_microseconds(time), value, source, row, True)
                    self._keep((target, band, is_limit, known.microseconds // _WINDOW), known)

    def add(self, target: int, point: PhotometryPoint, number: int) -> bool:
        """Note a point that will be written under this number; False where the Target has it already."""
        place, new = _place(target, point, number)
        if new is None or self._same(place, new) is not None:
            return False
        self._keep(place, new)
        return True

    def withdraw(self, target: int, point: PhotometryPoint) -> Known | None:
        """The point that is taken back, or None. It is not known any more."""
        place, taken_back = _place(target, point)
        found = None if taken_back is None else self._same(place, taken_back)
        if found is not None:
            self._points[(*place[:3], found.microseconds // _WINDOW)].remove(found)
        return found

    def _same(self, place: Place, point: Known) -> Known | None:
        """The known point that is the same measurement."""
        target, band, is_limit, window = place
        for near in (window - 1, window, window + 1):
            for known in self._points.get((target, band, is_limit, near), ()):
                time, magnitude = SAME_SOURCE if known.source == point.source else OTHER_SOURCE
                if (
                    abs(known.microseconds - point.microseconds) <= time
                    and abs(known.magnitude - point.magnitude) <= magnitude
                ):
                    return known
        return None

    def _keep(self, place: Place, point: Known) -> None:
        if place in self._points:
            self._points[place].append(point)
        else:
            self._points[place] = [point]


def _place(target: int, point: PhotometryPoint, number: int = 0) -> tuple[Place, Known | None]:
    """Where a point belongs; None for one without a value."""
    is_limit = point.magnitude is None
    value = point.limit if is_limit else point.magnitude
    time = _microseconds(point.time)
    known = None if value is None else Known(time, value, point.source, number, False)
    return (target, point.band, is_limit, time // _WINDOW), known


_COLUMNS: Final = ("pk", "target_id", "bandpass", "timestamp", "brightness", "limit", "source_name")


def _rows_near(per_target: Sequence[Points]) -> list[Any]:
    """On PostgreSQL, the rows within a second of any point: the table's own index has target, band and time."""
    asked = [(pk, point.band, point.time) for pk, points, _ in per_target for point in points]
    if not asked:
        return []
    quote = connection.ops.quote_name
    sql = (
        'SELECT p.id, p.target_id, p.bandpass, p.timestamp, p.brightness, p."limit", p.source_name '  # noqa: S608
        "FROM unnest(%s::int[], %s::text[], %s::timestamptz[]) AS r(target, band, time) CROSS JOIN LATERAL ("
        f"SELECT * FROM {quote(PhotometryReducedDatum._meta.db_table)} WHERE target_id = r.target AND bandpass = r.band "
        "AND timestamp BETWEEN r.time - interval '1 second' AND r.time + interval '1 second' OFFSET 0) AS p"
    )
    return list(dict.fromkeys(look_up(sql, [list(column) for column in zip(*asked, strict=True)])))


def _rows_of(per_target: Sequence[Points]) -> Iterable[Any]:
    """The rows of the Targets in the range of time that all points span."""
    times = [point.time for _, points, _ in per_target for point in points]
    if not times:
        return []
    targets = sorted({pk for pk, points, _ in per_target if points})
    rows = PhotometryReducedDatum.objects.filter(any_of("target_id", targets), timestamp__range=_span(times))
    return list(rows.values_list(*_COLUMNS))


def _span(times: Sequence[datetime]) -> tuple[datetime, datetime]:
    """From the first to the last, with a second to spare where the calendar has one."""
    first, last = min(times), max(times)
    return max(first, _FIRST + _MARGIN) - _MARGIN, min(last, _LAST - _MARGIN) + _MARGIN


def write_photometry(per_target: Sequence[Points], new: set[int]) -> list[int]:
    """Write what the Targets do not have yet, and remove what their survey has withdrawn.

    :param per_target: any number of times per Target.
    :param new: Targets that this batch created, which cannot have any points.
    :returns: how many points of each item were new.
    """
    known = KnownPoints()
    known.load([item for item in per_target if item[0] not in new])
    counts = [0] * len(per_target)
    fresh: list[Fresh | None] = []
    deleted: list[int] = []
    for item, (pk, points, object_id) in enumerate(per_target):
        for point in points:
            if not point.withdrawn:
                if known.add(pk, point, len(fresh)):
                    fresh.append((item, pk, point, object_id))
                    counts[item] += 1
            elif (gone := known.withdraw(pk, point)) is None:
                continue
            elif gone.is_written:
                deleted.append(gone.number)
            elif (never := fresh[gone.number]) is not None:
                counts[never[0]] -= 1
                fresh[gone.number] = None
    if deleted:
        PhotometryReducedDatum.objects.filter(pk__in=deleted).delete()
    _insert([row[1:] for row in fresh if row is not None])
    return counts


def _insert(fresh: Sequence[tuple[int, PhotometryPoint, str]]) -> None:
    points = [point for _, point, _ in fresh]
    # Two processes may write one Target at once; the constraints of the table decide between equal rows.
    insert(
        PhotometryReducedDatum,
        {
            "target_id": [pk for pk, _, _ in fresh],
            "timestamp": [point.time for point in points],
            "brightness": [point.magnitude for point in points],
            "brightness_error": [point.magnitude_error for point in points],
            "limit": [point.limit for point in points],
            "unit": ["mag"] * len(points),
            "bandpass": [point.band for point in points],
            "telescope": [point.telescope for point in points],
            "instrument": [point.instrument for point in points],
            "source_name": [point.source for point in points],
            # What detachalert knows them by.
            "source_location": [object_id for _, _, object_id in fresh],
            "exposure_time": [point.exposure_s for point in points],
            "value": [dict(point.value) for point in points],
        },
    )


def stored_point(row: Any) -> PhotometryPoint:
    """A row as a point again, as far as it tells whether two are one measurement."""
    return PhotometryPoint(row.timestamp, row.bandpass, row.brightness, limit=row.limit, source=row.source_name)


def _microseconds(time: datetime) -> int:
    return (time - _EPOCH) // _MICROSECOND
