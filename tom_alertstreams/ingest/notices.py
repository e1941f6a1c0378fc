"""Notices of one event after another: a newer one may move the Target, a retraction marks it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from django.db.models import Q

from .bulk import any_of
from .matching import KnownTarget, Match, TargetIndex
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
    #: Target → its events, by the key that their alerts are stored with → withdrawn.
    events: dict[KnownTarget, dict[str, bool]] = field(default_factory=lambda: defaultdict(dict))
    #: Events withdrawn before there was a Target.
    withdrawn: set[str] = field(default_factory=set)

    def load(self, targets: Iterable[KnownTarget], keys: Iterable[str]) -> None:
        """Read what concerns these Targets and events."""
        by_pk = {target.pk: target for target in targets if target.pk is not None}
        made_or_placed = Q(match_method=MatchMethod.CREATED) | ~Q(event_key="")
        columns = ("target_id", "match_method", "event_key", "ra", "dec", "time", "retraction")
        rows = TargetAlert.objects.filter(made_or_placed, any_of("target_id", sorted(by_pk))).values_list(*columns)
        for pk, method, key, ra, dec, time, retraction in rows:
            target = by_pk[pk]
            if method == MatchMethod.CREATED:
                self.created.add(target)
            if key:
                self.events[target][key] = retraction or self.events[target].get(key, False)
            if key and ra is not None and dec is not None and time is not None:
                self.positions[target].append((key, ra, dec, time))
        self.withdrawn |= _withdrawn(keys)

    def event_of(self, report: TargetReport, target: KnownTarget, index: TargetIndex) -> str:
        """The key that an alert of this Target is stored with: of one event always the same, whichever of its ids come.

        An id that no alert is stored with, and that is a name of the Target, came with another one: of the Target's
        event where it has one only, else of nobody knows which.
        """
        keys, events = [key.casefold() for key in report.event_keys], self.events[target]
        if stored := [key for key in keys if key in events]:
            return stored[0]
        is_name = any(target in (index.names.get(key), index.aliases.get(key)) for key in report.event_keys)
        return next(iter(events)) if is_name and len(events) == 1 else next(iter(keys), "")

    def note(self, report: TargetReport, match: Match, event: str) -> None:
        """A notice of this batch was taken in."""
        if match.method is MatchMethod.CREATED:
            self.created.add(match.target)
        if event:
            self.events[match.target].setdefault(event, False)
        if event and report.ra is not None and report.dec is not None and report.time is not None:
            self.positions[match.target].append((event, report.ra, report.dec, report.time))

    def withdraw(self, report: TargetReport, target: KnownTarget, event: str) -> bool:
        """An event is taken back: whether no other is left that the Target stands for."""
        if not event:  # it names what is retracted otherwise
            return True
        events = self.events[target]
        known = events.keys() & {key.casefold() for key in report.event_keys}
        events.update(dict.fromkeys((event, *known), True))
        return all(events.values())

    def note_withdrawn(self, report: TargetReport) -> None:
        """A retraction of this batch found no Target."""
        self.withdrawn.update(key.casefold() for key in report.event_keys)

    def is_withdrawn(self, report: TargetReport) -> bool:
        """A retraction of this event came first."""
        return any(key.casefold() in self.withdrawn for key in report.event_keys)

    def may_move(self, report: TargetReport, match: Match, event: str) -> bool:
        """The Target goes where this notice says.

        Only a Target that ingest created and that stands where an earlier notice of this event put it (so nobody
        edited it), and only by a newer notice.
        """
        target = match.target
        if match.method is MatchMethod.CREATED or target not in self.created or not target.sidereal:
            return False
        if not event or report.ra is None or report.dec is None or report.time is None:
            return False
        here = (target.ra, target.dec)
        issued = [time for key, ra, dec, time in self.positions[target] if key == event and (ra, dec) == here]
        return bool(issued) and report.time > max(issued)


def withdrawn_events(reports: Iterable[TargetReport]) -> set[str]:
    """Those events of these reports that are known to be withdrawn and have no Target. Without events, no query."""
    keys = {key.casefold() for report in reports for key in report.event_keys}
    return _withdrawn(keys) if keys else set()


def _withdrawn(keys: Iterable[str]) -> set[str]:
    rows = TargetAlert.objects.filter(any_of("event_key", sorted(keys)), retraction=True, target__isnull=True)
    return set(rows.values_list("event_key", flat=True))


def remembered(report: TargetReport) -> Sequence[tuple[str, str]]:
    """(object id, event key) of the rows that remember a retraction without a Target: one for each id of the event."""
    return [(key, key.casefold()) for key in report.event_keys] or [(report.object_id, "")]
