"""Notices of one event after another: a newer one may move the Target, a retraction marks it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from django.db.models import Q

from .bulk import any_of
from .matching import KnownTarget, Match
from .models import MatchMethod, TargetAlert
from .reports import TargetReport

#: TargetList of the Targets whose events were withdrawn, and the extra field that holds when.
RETRACTED_LIST: Final = "Retracted"
RETRACTED_EXTRA: Final = "retracted"


@dataclass
class EventHistory:
    """What earlier notices said of the Targets and events of a batch."""

    #: Targets that ingest created.
    created: set[KnownTarget] = field(default_factory=set)
    #: Target → (event, position, issued) of each notice that gave a position.
    positions: dict[KnownTarget, list[tuple[str, float, float, datetime]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    #: Events withdrawn before there was a Target.
    withdrawn: set[str] = field(default_factory=set)

    def load(self, targets: Iterable[KnownTarget], keys: Iterable[str]) -> None:
        """Read what concerns these Targets and events."""
        by_pk = {target.pk: target for target in targets if target.pk is not None}
        made_or_placed = Q(match_method=MatchMethod.CREATED) | ~Q(event_key="")
        columns = ("target_id", "match_method", "event_key", "ra", "dec", "time")
        rows = TargetAlert.objects.filter(made_or_placed, any_of("target_id", sorted(by_pk))).values_list(*columns)
        for pk, method, key, ra, dec, time in rows:
            target = by_pk[pk]
            if method == MatchMethod.CREATED:
                self.created.add(target)
            if key and ra is not None and dec is not None and time is not None:
                self.positions[target].append((key, ra, dec, time))
        self.withdrawn |= _withdrawn(keys)

    def note(self, report: TargetReport, match: Match) -> None:
        """A notice of this batch was taken in."""
        if match.method is MatchMethod.CREATED:
            self.created.add(match.target)
        key = event_key(report)
        if key and report.ra is not None and report.dec is not None and report.time is not None:
            self.positions[match.target].append((key, report.ra, report.dec, report.time))

    def note_withdrawn(self, report: TargetReport) -> None:
        """A retraction of this batch found no Target."""
        self.withdrawn.update(key.casefold() for key in report.event_keys)

    def is_withdrawn(self, report: TargetReport) -> bool:
        """A retraction of this event came first."""
        return any(key.casefold() in self.withdrawn for key in report.event_keys)

    def may_move(self, report: TargetReport, match: Match) -> bool:
        """The Target goes where this notice says.

        Only a Target that ingest created and that stands where an earlier notice of this event put it (so nobody
        edited it), and only by a newer notice.
        """
        target = match.target
        if match.method is MatchMethod.CREATED or target not in self.created or not target.sidereal:
            return False
        if not report.event_keys or report.ra is None or report.dec is None or report.time is None:
            return False
        keys = {key.casefold() for key in report.event_keys}
        here = (target.ra, target.dec)
        issued = [time for key, ra, dec, time in self.positions[target] if key in keys and (ra, dec) == here]
        return bool(issued) and report.time > max(issued)


def withdrawn_events(reports: Iterable[TargetReport]) -> set[str]:
    """Those events of these reports that are known to be withdrawn and have no Target. Without events, no query."""
    keys = {key.casefold() for report in reports for key in report.event_keys}
    return _withdrawn(keys) if keys else set()


def _withdrawn(keys: Iterable[str]) -> set[str]:
    rows = TargetAlert.objects.filter(any_of("event_key", sorted(keys)), retraction=True, target__isnull=True)
    return set(rows.values_list("event_key", flat=True))


def event_key(report: TargetReport) -> str:
    """The key that is stored with an alert, or nothing."""
    return report.event_keys[0].casefold() if report.event_keys else ""


def remembered(report: TargetReport) -> Sequence[tuple[str, str]]:
    """(object id, event key) of the rows that remember a retraction without a Target: one for each id of the event."""
    return [(key, key.casefold()) for key in report.event_keys] or [(report.object_id, "")]
