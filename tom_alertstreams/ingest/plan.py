"""What a batch of reports is to do: which Targets are created, followed, moved or marked, and what is rejected.

Reports are taken in order, as if each were alone; nothing is written here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from django.utils import timezone

from tom_alertstreams.alerts import Alert, Outcome

from .bulk import any_of
from .cleaning import check_name, cleaned
from .extras import with_extras
from .matching import KnownTarget, Match, TargetIndex, load_index
from .models import MatchMethod, TargetAlert
from .notices import EventHistory
from .options import IngestOptions
from .reports import TargetReport
from .rules import position_verdict, verdict


@dataclass(eq=False)
class Entry:
    """One report of one alert on its way."""

    #: Of the alert in the batch.
    index: int
    alert: Alert
    report: TargetReport
    #: Natural key of the alert.
    alert_id: str
    #: What a new Target would be called.
    target_name: str
    #: Why the rules would not make a Target of it; None where they would.
    verdict: str | None = None
    match: Match | None = None
    #: The event that it is stored under; empty for what is no event.
    event: str = ""
    #: It takes back the last event of its Target, which is marked.
    withdraws: bool = False
    #: A newer notice of the event: its Target goes where it says, with its values.
    moves: bool = False
    #: Nothing is done for it, and this is why.
    rejected: str | None = None
    #: It has been ingested before.
    repeated: bool = False
    #: The Target that it went to when it came by another stream or topic: this copy may have points that it lacks.
    completes: KnownTarget | None = None

    @property
    def target(self) -> KnownTarget | None:
        """The Target that its points belong to."""
        return self.match.target if self.match is not None else self.completes

    @property
    def road(self) -> tuple[str, str]:
        """The stream and the topic that it came by, as TargetAlert has them."""
        return self.alert.stream[:100], self.alert.topic[:249]

    @property
    def key(self) -> tuple[str, str]:
        """What TargetAlert knows an alert by that was ingested."""
        return self.alert_id, self.report.object_id

    def reset(self) -> None:
        """Forget what was decided, for another plan."""
        self.match, self.moves, self.rejected, self.repeated, self.completes = None, False, None, False, None
        self.event, self.withdraws = "", False

    def repeats(self, target: KnownTarget | None, road: tuple[str, str], options: IngestOptions) -> None:
        """It came before, by this road, and went to this Target."""
        self.repeated = True
        if road != self.road and self.report.photometry and (self.verdict is None or options.follow_known):
            self.completes = target

    @property
    def outcome(self) -> Outcome:
        """What becomes of the alert as far as this report is concerned."""
        if self.rejected is not None:
            return Outcome.rejected(self.rejected, self.report.object_id)
        return Outcome.done()


@dataclass
class Plan:
    """The decisions for one batch."""

    entries: list[Entry]
    index: TargetIndex
    #: Targets to create, by name.
    new: dict[str, KnownTarget] = field(default_factory=dict)
    #: The reports that they are made of.
    new_reports: list[TargetReport] = field(default_factory=list)
    #: Target → position it had in the database before the batch moved it.
    moved_from: dict[KnownTarget, tuple[float | None, float | None]] = field(default_factory=dict)

    @property
    def matched(self) -> list[tuple[Entry, Match]]:
        """What concerns a Target."""
        return [(entry, entry.match) for entry in self.entries if entry.match is not None]

    @property
    def measured(self) -> list[tuple[Entry, KnownTarget]]:
        """What may bring points, with the Target that they belong to."""
        return [(entry, entry.target) for entry in self.entries if entry.target is not None]

    @property
    def withdrawn(self) -> list[Entry]:
        """Retractions that came before their events."""
        return [
            entry
            for entry in self.entries
            if entry.report.retraction and entry.match is None and not entry.repeated and entry.rejected is None
        ]


def make_plan(entries: list[Entry], options: IngestOptions) -> Plan:
    """Decide for each entry, reading from the database in bulk."""
    for entry in entries:
        entry.reset()
    _mark_repeated(entries, options)
    pending = [entry for entry in entries if not entry.repeated]
    reports = [entry.report for entry in pending]
    plan = Plan(entries, load_index(reports, options))
    history = EventHistory()
    if keys := {key.casefold() for report in reports for key in report.event_keys}:
        history.load(plan.index.by_pk.values(), keys)
    quota = _Quota(options.max_new_per_day)
    taken: dict[tuple[str, str], Entry] = {}
    for entry in pending:
        # What comes twice in this batch is done with the first, unless that one was rejected: then so is this one.
        if (first := taken.get(entry.key)) is not None:
            entry.repeats(first.target, first.road, options)
            continue
        _decide(entry, plan, history, quota, options)
        if entry.rejected is None:
            taken[entry.key] = entry
    return plan


def _decide(entry: Entry, plan: Plan, history: EventHistory, quota: _Quota, options: IngestOptions) -> None:
    report = entry.report
    # Of an event that is known or not: else the same notices in another order would leave other rows.
    if report.event_keys and not report.retraction and (code := position_verdict(report, options)) is not None:
        entry.rejected = code
        return
    match = plan.index.find(report)
    if match is None and report.retraction:
        history.note_withdrawn(report)
        return
    if match is None:
        entry.rejected = "retracted" if history.is_withdrawn(report) else entry.verdict
        if entry.rejected is None and not quota.take(entry.alert.stream):
            entry.rejected = "limit"
        if entry.rejected is not None:
            return
        match = _new_target(entry, plan)
    elif entry.verdict is not None and not options.follow_known and not report.retraction:
        entry.rejected = entry.verdict
        return
    entry.match = match
    entry.event = history.event_of(report, match.target, plan.index)
    plan.index.add_names(match.target, report)
    if report.retraction:
        entry.withdraws = history.withdraw(report, match.target, entry.event)
        return
    if report.ra is not None and report.dec is not None and history.may_move(report, match, entry.event):
        target = match.target
        if target.pk is not None and (target.ra, target.dec) != (report.ra, report.dec):
            plan.moved_from.setdefault(target, (target.ra, target.dec))
        plan.index.move(target, report.ra, report.dec)
        entry.moves = True
    history.note(report, match, entry.event)


def _new_target(entry: Entry, plan: Plan) -> Match:
    report = entry.report
    name = entry.target_name
    if report.moving:
        target = KnownTarget(None, name, sidereal=False, elements=report.elements)
    else:
        target = KnownTarget(None, name, report.ra, report.dec)
    plan.new[name] = target
    plan.new_reports.append(report)
    plan.index.add_new(target, report)
    return Match(target, MatchMethod.CREATED)


def judged(index: int, alert: Alert, report: TargetReport, options: IngestOptions, content: object) -> Entry:
    """An entry with the verdict of the rules, its report fit for the database.

    :raises PermanentError: the report cannot be stored.
    """
    report = cleaned(with_extras(report, content, options))
    name = options.target_name(report.object_id, stream=alert.stream, topic=alert.topic)
    if name != report.object_id:
        check_name(name)
        report = replace(report, aliases=(*report.aliases, name))
    refused = None if report.retraction else verdict(report, content, options)
    return Entry(index, alert, report, report.alert_id or alert.digest, name, refused)


def _mark_repeated(entries: Sequence[Entry], options: IngestOptions) -> None:
    """Alerts that were ingested before are done already."""
    known = TargetAlert.objects.filter(any_of("alert_id", sorted({entry.alert_id for entry in entries})))
    columns = ("alert_id", "object_id", "stream", "topic", "target_id", "target__name")
    seen = {row[:2]: row[2:] for row in known.values_list(*columns)}
    # The rows that remember a retraction are named after the ids of its event.
    remembered = {alert_id for alert_id, _ in seen}
    for entry in entries:
        if entry.key in seen:
            *road, pk, name = seen[entry.key]
            entry.repeats(None if pk is None else KnownTarget(pk, name), tuple(road), options)
        elif entry.report.retraction and entry.alert_id in remembered:
            entry.repeated = True


class _Quota:
    """How many Targets each stream may still create within 24 hours."""

    def __init__(self, per_day: int) -> None:
        self._per_day = per_day
        self._left: dict[str, int] = {}

    def take(self, stream: str) -> bool:
        """Use one of what is left."""
        if stream not in self._left:
            since = timezone.now() - timedelta(hours=24)
            created = TargetAlert.objects.filter(
                stream=stream, created__gt=since, match_method=MatchMethod.CREATED
            ).count()
            self._left[stream] = self._per_day - created
        if self._left[stream] <= 0:
            return False
        self._left[stream] -= 1
        return True
