"""A plan is carried out: Targets, names, light curves, classifications, and which alert brought them.

Everything here runs inside the transaction of the batch, with a fixed number of statements for the common case.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

from django.conf import settings
from django.utils import timezone
from tom_targets.models import BaseTarget

from tom_alertstreams.logs import get_logger

from . import positions
from .bulk import any_of, insert, on_postgresql
from .class_rule import lists_of
from .matching import KnownTarget, Match, others_have_made
from .models import Classification, MatchMethod, TargetAlert, TargetPosition
from .notices import RETRACTED_EXTRA, RETRACTED_LIST, remembered, withdrawn_events
from .options import IngestOptions
from .photometry import write_photometry
from .plan import Entry, Plan
from .targets import add_to_list, create_targets, newest_point, run_hooks, show_points, write_aliases, write_extras

logger = get_logger(__name__)

Pair = tuple[Entry, Match]


def still_holds(plan: Plan, options: IngestOptions) -> bool:
    """Whether what the plan was made from is still so; from now until the transaction ends nobody else changes it.

    Where another process has created a Target beside one of ours or of an event that we withdraw, or has withdrawn an
    event of ours, or where somebody has deleted a Target, the plan is to be made anew.
    """
    if not on_postgresql():
        return True  # whoever writes is alone
    withdrawn = [entry.report for entry in plan.withdrawn]
    if plan.new or withdrawn:
        positions.wait_for_creators()
        if others_have_made([*plan.new_reports, *withdrawn], plan.index, options):
            return False
        if withdrawn_events(plan.new_reports):
            return False
    seconds = (match.second for _, match in plan.matched if match.second)
    targets = (*(target for _, target in plan.measured), *seconds)
    known = {target.pk for target in targets if target.pk is not None}
    locked = BaseTarget.objects.filter(any_of("pk", sorted(known))).order_by("pk").select_for_update(no_key=True)
    return len(locked.values_list("pk")) == len(known)


def carry_out(plan: Plan, options: IngestOptions) -> None:
    """Write what the plan says."""
    matched = plan.matched
    created = create_targets(plan.new.values(), options)
    _move_targets(plan)
    write_aliases(_new_names(plan, matched))
    # Else whoever may view a Target may view its points.
    shown = bool(options.groups) and not getattr(settings, "TARGET_PERMISSIONS_ONLY", True)
    since = newest_point() if shown else 0
    measured = plan.measured
    counts = write_photometry(
        [(_pk(target), entry.report.photometry, entry.report.object_id) for entry, target in measured],
        {_pk(target) for target in created},
    )
    points = {entry: count for (entry, _), count in zip(measured, counts, strict=True)}
    if shown:
        show_points(since, (_pk(target) for entry, target in measured if points[entry]), options.groups)
    _write_extras(matched, {_pk(target) for target in created})
    _put_on_lists(matched, options)
    add_to_list(RETRACTED_LIST, (_pk(match.target) for entry, match in matched if entry.withdraws))
    _write_classifications(matched)
    rows = [_target_alert(entry, match, points[entry], created) for entry, match in matched]
    rows += [row for entry in plan.withdrawn for row in _memory(entry)]
    insert(TargetAlert, {name: [row[n] for row in rows] for n, name in enumerate(_COLUMNS)})
    _log(rows)
    run_hooks(created, options)


def _pk(target: KnownTarget) -> int:
    if target.pk is None:
        raise RuntimeError(f"Target {target.name} was planned and not created.")
    return target.pk


def _move_targets(plan: Plan) -> None:
    """To the newest notice's position, unless somebody has edited the Target since it was read."""
    for target, (ra, dec) in plan.moved_from.items():
        rows = BaseTarget.objects.filter(pk=target.pk, ra=ra, dec=dec)
        if rows.update(ra=target.ra, dec=target.dec, modified=timezone.now()):
            TargetPosition.objects.filter(target_id=target.pk).delete()
            positions.write([(_pk(target), target.ra, target.dec)])


def _new_names(plan: Plan, matched: Iterable[Pair]) -> set[tuple[str, int]]:
    """Names of the reports that led to no Target yet, with the Target that they lead to now."""
    return {
        (name, _pk(match.target))
        for entry, match in matched
        if not entry.report.retraction
        for name in entry.report.names
        if name != match.target.name and name not in plan.index.names and plan.index.aliases.get(name) is match.target
    }


def _write_extras(matched: Iterable[Pair], new: set[int]) -> None:
    added: dict[int, dict[str, object]] = {}
    replaced: dict[int, dict[str, object]] = {}
    for entry, match in matched:
        report, pk = entry.report, _pk(match.target)
        if entry.withdraws:
            time = report.time or timezone.now()
            replaced.setdefault(pk, {})[RETRACTED_EXTRA] = time.isoformat()
        elif report.retraction:
            continue
        elif entry.moves:
            replaced.setdefault(pk, {}).update(report.extras)
        else:
            for key, value in report.extras.items():
                added.setdefault(pk, {}).setdefault(key, value)
    for pk in new & added.keys():  # what the alert says counts more than the default of EXTRA_FIELDS
        replaced[pk] = added.pop(pk) | replaced.get(pk, {})
    write_extras(added, replace=False)
    write_extras(replaced, replace=True)


def _write_classifications(matched: Iterable[Pair]) -> None:
    rows = [
        (
            entry.report.object_id, _pk(match.target), entry.alert_id, item.classifier, item.version, item.class_name,
            item.probability, item.ranking, item.time or entry.report.time, dict(item.features),
        )
        for entry, match in matched
        for item in entry.report.classifications
    ]  # fmt: skip
    names = (
        "object_id", "target_id", "alert_id", "classifier", "version", "class_name", "probability", "ranking", "time",
        "features",
    )  # fmt: skip
    insert(Classification, {name: [row[n] for row in rows] for n, name in enumerate(names)})


def _put_on_lists(matched: Iterable[Pair], options: IngestOptions) -> None:
    """What the rules select, each on the lists of the classes that selected it."""
    if not options.target_list:
        return
    lists: dict[str, set[int]] = {}
    for entry, match in matched:
        if entry.verdict is None and not entry.report.retraction:
            classes = (item.class_name for item in options.class_rule.selecting(entry.report.classifications))
            for name in lists_of(options.target_list, classes):
                lists.setdefault(name, set()).add(_pk(match.target))
    for name in sorted(lists):
        add_to_list(name, lists[name])


#: Columns of TargetAlert that are written.
_COLUMNS: Final = (
    "stream", "topic", "partition", "offset", "alert_id", "object_id", "event_key", "ra", "dec", "time", "retraction",
    "summary", "target_id", "match_method", "separation_arcsec", "second_candidate_id", "points",
)  # fmt: skip
Row = tuple[Any, ...]


def _target_alert(entry: Entry, match: Match, points: int, created: set[KnownTarget]) -> Row:
    method = match.method
    if method is MatchMethod.CREATED and match.target not in created:
        method = MatchMethod.NAME  # another process created it in the same moment
    second = match.second.pk if match.second else None
    return (
        *_of_alert(entry, entry.report.object_id, entry.event),
        _pk(match.target), method.value, match.separation_arcsec, second, points,
    )  # fmt: skip


def _memory(entry: Entry) -> list[Row]:
    return [
        (*_of_alert(entry, object_id, key), None, MatchMethod.NONE.value, None, None, 0)
        for object_id, key in remembered(entry.report)
    ]


def _of_alert(entry: Entry, object_id: str, key: str) -> Row:
    alert, report = entry.alert, entry.report
    return (
        *entry.road, alert.partition, alert.offset, entry.alert_id, object_id, key, report.ra, report.dec, report.time,
        report.retraction, report.summary,
    )  # fmt: skip


def _log(rows: Sequence[Row]) -> None:
    """One line per topic."""
    if not logger.isEnabledFor(logging.DEBUG):
        return
    created: Counter[tuple[str, str]] = Counter()
    updated: Counter[tuple[str, str]] = Counter()
    points: Counter[tuple[str, str]] = Counter()
    for row in (dict(zip(_COLUMNS, row, strict=True)) for row in rows):
        key = (row["stream"], row["topic"])
        points[key] += row["points"]
        if row["target_id"] is not None:
            (created if row["match_method"] == MatchMethod.CREATED else updated)[key] += 1
    for key in points:
        logger.debug(
            "%s, %s: %d Targets created, %d updated, %d photometry points.",
            *key, created[key], updated[key], points[key],
        )  # fmt: skip
