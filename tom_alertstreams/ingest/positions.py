"""TargetPosition follows the Targets, and is asked what lies near.

Targets that this app writes bring their position with them. Those made, moved and deleted elsewhere are followed by
signal; bulk writes send none, so all are compared when a stream begins to read, and hourly.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from tom_targets.models import BaseTarget

from tom_alertstreams.logs import get_logger

from .bulk import insert, look_up, on_postgresql
from .cells import Ranges, cells_of, ranges_around
from .models import TargetPosition

logger = get_logger(__name__)

#: A Target near some position: pk, name, RA, Dec (degrees), type.
Neighbour = tuple[int, str, float, float, str]

_COMPARE_EVERY_S: Final = 3600.0
#: Targets in one statement, and in one transaction of ``reindextargets``.
CHUNK: Final = 10_000
#: Ranges in one query of the ORM: each is a branch of an OR.
_RANGES: Final = 400
#: Of PostgreSQL's advisory locks: who creates Targets, or withdraws events without one, holds it until the commit.
_CREATING: Final = 0x544F4D_414C5254

_compared_at: float | None = None
#: The streams of a process compare once for all of them; a batch that has come upon another's comparison makes its own.
_comparing: Final = threading.Lock()


def write(targets: Iterable[tuple[int, float | None, float | None]]) -> None:
    """Positions of Targets that have none yet: pk, RA and Dec (degrees). Those without coordinates get none."""
    rows = [(pk, ra, dec) for pk, ra, dec in targets if ra is not None and dec is not None]
    if rows:
        pks, ras, decs = (list(column) for column in zip(*rows, strict=True))
        insert(TargetPosition, {"target_id": pks, "ra": ras, "dec": decs, "cell": cells_of(ras, decs)})


def rewrite(target: Any) -> None:
    """The position of a Target that was saved: as it is now, or none."""
    # Whoever saves may have written numbers as texts, as the toolkit's import of CSV does: they are numbers in the table.
    ra, dec = (BaseTarget._meta.get_field(name).to_python(getattr(target, name)) for name in ("ra", "dec"))
    TargetPosition.objects.filter(target_id=target.pk).exclude(ra=ra, dec=dec).delete()
    if target.type != BaseTarget.SIDEREAL:
        TargetPosition.objects.filter(target_id=target.pk).delete()
    elif _on_the_sky(ra, dec):
        write([(target.pk, ra, dec)])


def near(ra: Sequence[float], dec: Sequence[float], radius_arcsec: float) -> list[Neighbour]:
    """Every Target within the radius of any of these positions (degrees), and some that are a little farther."""
    if not len(ra):
        return []
    ranges = ranges_around(ra, dec, radius_arcsec)
    return _near_in_columns(ranges) if on_postgresql() else _near_by_orm(ranges)


def _near_in_columns(ranges: Ranges) -> list[Neighbour]:
    quote = connection.ops.quote_name
    # OFFSET 0 keeps the planner, which does not know how few are found, from reading a whole table instead.
    sql = (
        "SELECT t.* FROM unnest(%s::bigint[], %s::bigint[]) AS r(low, high) "  # noqa: S608  (names of tables)
        f"CROSS JOIN LATERAL (SELECT target_id FROM {quote(TargetPosition._meta.db_table)} "
        "WHERE cell BETWEEN r.low AND r.high OFFSET 0) AS p "
        f"CROSS JOIN LATERAL (SELECT id, name, ra, dec, type FROM {quote(BaseTarget._meta.db_table)} "
        "WHERE id = p.target_id OFFSET 0) AS t"
    )
    return sorted(look_up(sql, [ranges.low, ranges.high]))


def _near_by_orm(ranges: Ranges) -> list[Neighbour]:
    columns = ("target_id", "target__name", "target__ra", "target__dec", "target__type")
    found: dict[int, Neighbour] = {}
    pairs = list(zip(ranges.low, ranges.high, strict=True))
    for start in range(0, len(pairs), _RANGES):
        inside = Q()
        for low, high in pairs[start : start + _RANGES]:
            inside |= Q(cell__gte=low, cell__lte=high)
        for row in TargetPosition.objects.filter(inside).values_list(*columns):
            found[row[0]] = row
    return [found[pk] for pk in sorted(found)]


def wait_for_creators() -> None:
    """Until the transaction ends nobody else creates Targets, or withdraws events that have none: what they did is seen.

    Two processes with two names of one object would else each make a Target of it, and of an event and its retraction
    neither would know the other. SQLite has one writer anyway.
    """
    if on_postgresql():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_CREATING])


# --- following what others do -----------------------------------------------------------------------------------------


def compare_if_due() -> None:
    """Compare all positions with the Targets, when this process first asks and then hourly."""
    # Inside a transaction nobody waits: whoever is comparing may wait for what that transaction has written.
    ours = _comparing.acquire(blocking=not connection.in_atomic_block)
    try:
        if _compared_at is not None and time.monotonic() - _compared_at < _COMPARE_EVERY_S:
            return
        began = time.monotonic()
        removed, added = compare(_warn_of_many)
        if removed or added:
            logger.info("positions: %d removed and %d added, which bulk writes had changed", removed, added)
        # Only once it is committed: else what was found out would be lost, and not looked for again.
        transaction.on_commit(lambda: _note_compared(began))
    finally:
        if ours:
            _comparing.release()


def _warn_of_many(done: int) -> None:
    if done == CHUNK:
        logger.warning(
            "Many Targets have no entry in the index of positions yet; it is made now. "
            "After an upgrade ./manage.py reindextargets does it beforehand."
        )


def _note_compared(moment: float) -> None:
    global _compared_at
    _compared_at = moment


def compare(progress: Callable[[int], object] = lambda done: None) -> tuple[int, int]:
    """Remove positions that are no longer those of their Target, and add what is missing.

    :param progress: hears after each chunk how many were added so far.
    :returns: how many were removed, and how many were added.
    """
    as_stored = Q(target__type=BaseTarget.SIDEREAL, target__ra=F("ra"), target__dec=F("dec"))
    removed, _ = TargetPosition.objects.exclude(as_stored).delete()
    done, last = 0, 0
    while rows := list(without_position().filter(pk__gt=last).order_by("pk").values_list("pk", "ra", "dec")[:CHUNK]):
        with transaction.atomic():
            write(rows)
        done, last = done + len(rows), rows[-1][0]
        progress(done)
    return removed, done


def without_position() -> QuerySet[Any]:
    """Sidereal Targets with coordinates that the index does not have."""
    indexed = TargetPosition.objects.filter(target=OuterRef("pk"))
    targets: QuerySet[Any] = BaseTarget.objects.filter(
        ~Exists(indexed), type=BaseTarget.SIDEREAL, ra__range=(-360, 720), dec__range=(-90, 90)
    )
    return targets


def _on_the_sky(ra: float | None, dec: float | None) -> bool:
    return ra is not None and dec is not None and -360 <= ra <= 720 and -90 <= dec <= 90
