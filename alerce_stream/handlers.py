"""The ready-made handler: classifications of known objects are stored, wanted ones become Targets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from django.db import transaction
from django.utils import timezone
from tom_targets.models import BaseTarget, TargetName

from tom_alertstreams.alerts import Alert, Outcome
from tom_alertstreams.handlers import batch_handler
from tom_alertstreams.ingest.handlers import Judged, judge, read, write_judged
from tom_alertstreams.ingest.parsers.values import observed
from tom_alertstreams.ingest.plan import Entry
from tom_alertstreams.ingest.renamed import renamed
from tom_alertstreams.ingest.reports import TargetReport
from tom_alertstreams.ingest.rules import verdict_of_alert
from tom_alertstreams.ingest.times import from_mjd

from .first_sent import keep_first_times
from .messages import parse
from .options import AlerceOptions
from .resolver import Position, chunked, on_sky, positions_of

#: An object that ALeRCE's API does not know is asked for again after so many seconds, at least and at most, …
FIRST_DELAY_S, LONGEST_DELAY_S = 600.0, 6 * 3600.0
#: … and given up so many after the first try.
GIVE_UP_AFTER_S: Final = 48 * 3600.0


@dataclass(frozen=True)
class LookedUp:
    """What is found out about a batch before its transaction."""

    #: What the alerts say, with the positions that were found, judged by the rules.
    judged: Judged
    #: The objects among them that a Target of this TOM is named after.
    known: frozenset[str]


def look_up(alerts: list[Alert], *, options: AlerceOptions) -> LookedUp:
    """Read the messages and find the positions that new Targets will need, in bulk.

    :raises LookUpUnavailable: ALeRCE's API does not answer.
    """
    items = [read(alert, parse) for alert in alerts]
    wanted = {
        item.object_id
        for alert, item in zip(alerts, items, strict=True)
        if isinstance(item, TargetReport)
        and not item.has_position
        and verdict_of_alert(item, alert.content, options) is None
    }
    known = _stored_positions(wanted)
    positions = {name: position for name, position in known.items() if position is not None}
    positions |= positions_of(sorted(wanted - set(known)), options.find_positions, options.address)
    reports = [item if isinstance(item, Outcome) else [_placed(item, positions)] for item in items]
    return LookedUp(judge(reports, alerts, options), frozenset(known))


# Ahead: an object whose Target the batch before is about to make is looked up once more, in the cache of the resolver.
@batch_handler(options=AlerceOptions, prepare=look_up, ahead=True)
def ingest_classifications(alerts: list[Alert], found: LookedUp, *, options: AlerceOptions) -> list[Outcome]:
    """Store what ALeRCE's classifiers say of known Targets, and make Targets of what the rules select.

    ``asteroid``, ``bogus`` and ``satellite`` make none unless CLASSES names them; without rules nothing does.
    """
    outcomes = write_judged(found.judged, options)
    done = [entry for entry in found.judged.entries if outcomes[entry.index].kind == "done"]
    keep_first_times(done)
    if options.light_curves:
        # Imported only here: it needs a queue for jobs.
        from .tasks import ask_for_light_curves

        ask_for_light_curves(_with_light_curves(done, options), options)
    return [_outcome(alert, outcome, found, options) for alert, outcome in zip(alerts, outcomes, strict=True)]


def _placed(report: TargetReport, positions: dict[str, Position]) -> TargetReport:
    position = None if report.has_position else positions.get(report.object_id)
    if position is None:
        return report
    first_seen = report.first_seen or observed(position.first_mjd, from_mjd)
    return replace(report, ra=position.ra, dec=position.dec, first_seen=first_seen)


def _with_light_curves(done: Iterable[Entry], options: AlerceOptions) -> list[str]:
    """The objects whose light curves are to be fetched: those that the rules select, be their Targets new or known."""
    return [
        entry.report.object_id
        for entry in done
        if entry.verdict is None and options.wants_light_curve(entry.report.classifications[0].class_name)
    ]


def _outcome(alert: Alert, outcome: Outcome, found: LookedUp, options: AlerceOptions) -> Outcome:
    """What the rules of the alert select and nobody knows the position of is asked for again."""
    if outcome.kind != "rejected" or outcome.code != "no_position" or outcome.object_id in found.known:
        return outcome  # a known Target without a fixed position, and FOLLOW_KNOWN is off: asking would change nothing
    reason = f"{options.resolver or options.address} knows no position of {outcome.object_id}"
    return Outcome.retry(_delay_s(alert), reason, give_up_after_s=GIVE_UP_AFTER_S)


def _delay_s(alert: Alert) -> float:
    """As long as the alert is old, so that it doubles: a handler does not know how often an alert was tried.

    One of a backlog waits long at once: what the API has not heard of for hours it will hardly hear of within minutes.
    """
    age_s = 0.0 if alert.timestamp is None else (timezone.now() - alert.timestamp).total_seconds()
    return min(max(age_s, FIRST_DELAY_S), LONGEST_DELAY_S)


def _stored_positions(names: Iterable[str]) -> dict[str, Position | None]:
    """The names that a Target of this TOM goes by, or did, and where it is; None for one without a fixed position."""
    known: dict[str, Position | None] = {}
    for chunk in chunked(sorted(names)):
        aliases = TargetName.objects.filter(name__in=chunk).values_list("name", "target__ra", "target__dec")
        targets = BaseTarget.objects.filter(name__in=chunk).values_list("name", "ra", "dec")
        for rows in (aliases, targets):  # a Target's own name counts more than another's alias
            known.update({name: on_sky(ra, dec) for name, ra, dec in rows})
        with transaction.atomic():
            known |= {name: on_sky(ra, dec) for name, ra, dec in renamed(set(chunk) - known.keys(), ("ra", "dec"))}
    return known
