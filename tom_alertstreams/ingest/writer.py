"""A plan is carried out: Targets, names, light curves, classifications, and which alert brought them.

Everything here runs inside the transaction of the batch, with a fixed number of statements for the common case.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from django.utils import timezone
from tom_targets.models import BaseTarget

from tom_alertstreams.logs import get_logger

from .matching import KnownTarget, Match
from .models import Classification, MatchMethod, TargetAlert
from .notices import RETRACTED_EXTRA, RETRACTED_LIST, event_key, remembered
from .options import IngestOptions
from .photometry import write_photometry
from .plan import Entry, Plan
from .targets import add_to_list, create_targets, write_aliases, write_extras

logger = get_logger(__name__)

Pair = tuple[Entry, Match]


def carry_out(plan: Plan, options: IngestOptions) -> None:
    """Write what the plan says."""
    matched = plan.matched
    created = create_targets(plan.new.values(), options)
    _move_targets(plan)
    write_aliases(_new_names(plan, matched))
    points = write_photometry(
        [(_pk(match.target), entry.report.photometry) for entry, match in matched], {_pk(target) for target in created}
    )
    _write_extras(matched)
    selected = (_pk(m.target) for entry, m in matched if entry.verdict is None and not entry.report.retraction)
    add_to_list(options.target_list, selected)
    add_to_list(RETRACTED_LIST, (_pk(match.target) for entry, match in matched if entry.report.retraction))
    _write_classifications(matched)
    rows = [_target_alert(*pair, count, created) for pair, count in zip(matched, points, strict=True)]
    rows += [row for entry in plan.withdrawn for row in _memory(entry)]
    TargetAlert.objects.bulk_create(rows, ignore_conflicts=True, batch_size=500)
    _log(rows)


def _pk(target: KnownTarget) -> int:
    if target.pk is None:
        raise RuntimeError(f"Target {target.name} was planned and not created.")
    return target.pk


def _move_targets(plan: Plan) -> None:
    """To the newest notice's position, unless somebody has edited the Target since it was read."""
    for target, (ra, dec) in plan.moved_from.items():
        rows = BaseTarget.objects.filter(pk=target.pk, ra=ra, dec=dec)
        rows.update(ra=target.ra, dec=target.dec, modified=timezone.now())


def _new_names(plan: Plan, matched: Iterable[Pair]) -> set[tuple[str, int]]:
    """Names of the reports that led to no Target yet, with the Target that they lead to now."""
    return {
        (name, _pk(match.target))
        for entry, match in matched
        if not entry.report.retraction
        for name in entry.report.names
        if name != match.target.name and name not in plan.index.names and plan.index.aliases.get(name) is match.target
    }


def _write_extras(matched: Iterable[Pair]) -> None:
    added: dict[int, dict[str, object]] = {}
    replaced: dict[int, dict[str, object]] = {}
    for entry, match in matched:
        report, pk = entry.report, _pk(match.target)
        if report.retraction:
            time = report.time or timezone.now()
            replaced.setdefault(pk, {})[RETRACTED_EXTRA] = time.isoformat()
        elif entry.moves:
            replaced.setdefault(pk, {}).update(report.extras)
        else:
            for key, value in report.extras.items():
                added.setdefault(pk, {}).setdefault(key, value)
    write_extras(added, replace=False)
    write_extras(replaced, replace=True)


def _write_classifications(matched: Iterable[Pair]) -> None:
    rows = [
        Classification(
            object_id=entry.report.object_id,
            target_id=_pk(match.target),
            alert_id=entry.alert_id,
            classifier=item.classifier,
            version=item.version,
            class_name=item.class_name,
            probability=item.probability,
            ranking=item.ranking,
            time=item.time or entry.report.time,
            features=dict(item.features),
        )
        for entry, match in matched
        for item in entry.report.classifications
    ]
    Classification.objects.bulk_create(rows, ignore_conflicts=True, batch_size=1000)


def _target_alert(entry: Entry, match: Match, points: int, created: set[KnownTarget]) -> TargetAlert:
    method = match.method
    if method is MatchMethod.CREATED and match.target not in created:
        method = MatchMethod.NAME  # another process created it in the same moment
    row = _row(entry, entry.report.object_id, event_key(entry.report))
    row.target_id = _pk(match.target)
    row.match_method = method
    row.separation_arcsec = match.separation_arcsec
    row.second_candidate_id = match.second.pk if match.second else None
    row.points = points
    return row


def _memory(entry: Entry) -> list[TargetAlert]:
    return [_row(entry, object_id, key) for object_id, key in remembered(entry.report)]


def _row(entry: Entry, object_id: str, key: str) -> TargetAlert:
    alert, report = entry.alert, entry.report
    return TargetAlert(
        stream=alert.stream[:100],
        topic=alert.topic[:249],
        partition=alert.partition,
        offset=alert.offset,
        alert_id=entry.alert_id,
        object_id=object_id,
        event_key=key,
        ra=report.ra,
        dec=report.dec,
        time=report.time,
        retraction=report.retraction,
        summary=report.summary,
    )


def _log(rows: Iterable[TargetAlert]) -> None:
    """One line per topic."""
    created: Counter[tuple[str, str]] = Counter()
    updated: Counter[tuple[str, str]] = Counter()
    points: Counter[tuple[str, str]] = Counter()
    for row in rows:
        key = (row.stream, row.topic)
        points[key] += row.points
        if row.target_id is not None:
            (created if row.match_method == MatchMethod.CREATED else updated)[key] += 1
    for key in points:
        logger.debug(
            "%s, %s: %d Targets created, %d updated, %d photometry points.",
            *key, created[key], updated[key], points[key],
        )  # fmt: skip
