"""Whose Target is it: reports of a batch are matched to Targets by event, name, alias, then position.

What belongs to one Target is found with a few queries for the whole batch; Targets that the batch itself is about to
create are found in the same way, so that the result is that of taking the alerts one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from django.conf import settings
from tom_targets.models import BaseTarget, Target, TargetName

from . import positions
from .bulk import any_of
from .models import MatchMethod, TargetAlert
from .options import IngestOptions
from .renamed import renamed
from .reports import OrbitalElements, TargetReport
from .sky import ARCSEC_PER_DEG, DeclinationIndex


@dataclass(eq=False)
class KnownTarget:
    """A Target, in the database or about to be there."""

    #: None until it is created.
    pk: int | None
    name: str
    ra: float | None = None
    dec: float | None = None
    #: NON_SIDEREAL Targets have no fixed position.
    sidereal: bool = True
    #: The orbit that a new NON_SIDEREAL Target gets.
    elements: OrbitalElements | None = None


@dataclass(frozen=True)
class Match:
    """How a report found its Target."""

    target: KnownTarget
    method: MatchMethod
    separation_arcsec: float | None = None
    #: Another Target within the radius, farther away.
    second: KnownTarget | None = None


@dataclass
class TargetIndex:
    """The Targets that a batch may be about, by event, name, alias and position."""

    radius_arcsec: float
    by_pk: dict[int, KnownTarget] = field(default_factory=dict)
    events: dict[str, KnownTarget] = field(default_factory=dict)
    names: dict[str, KnownTarget] = field(default_factory=dict)
    aliases: dict[str, KnownTarget] = field(default_factory=dict)
    positions: DeclinationIndex[KnownTarget] = field(default_factory=DeclinationIndex)

    def find(self, report: TargetReport) -> Match | None:
        """The Target of a report: by event, else by its object id (name or alias), else by another name, else the nearest."""
        for key in report.event_keys:
            if key.casefold() in self.events:
                return Match(self.events[key.casefold()], MatchMethod.EVENT)
        # A retraction takes back one event, not the source it was named after.
        names = report.event_keys if report.retraction and report.event_keys else report.names
        for asked in (names[:1], names[1:]):
            for known, method in ((self.names, MatchMethod.NAME), (self.aliases, MatchMethod.ALIAS)):
                for name in asked:
                    if name in known:
                        return Match(known[name], method)
        return self._nearest(report) if self.may_match_by_position(report) else None

    def may_match_by_position(self, report: TargetReport) -> bool:
        """Only where the position is known as well as the radius asks; a survey's error counts as 0 if not given."""
        if self.radius_arcsec <= 0 or not report.has_position or report.retraction or report.moving:
            return False
        if report.position_error_deg is None:
            return report.kind == "survey"
        return report.position_error_deg * ARCSEC_PER_DEG <= self.radius_arcsec

    def _nearest(self, report: TargetReport) -> Match | None:
        if report.ra is None or report.dec is None:
            return None
        found = self.positions.within(report.ra, report.dec, self.radius_arcsec)
        if not found:
            return None
        separation, target = found[0]
        second = next((other for _, other in found[1:] if other is not target), None)
        return Match(target, MatchMethod.POSITION, separation, second)

    def add_new(self, target: KnownTarget, report: TargetReport) -> None:
        """A Target that will be created for this report: later reports of the batch find it."""
        self.names.setdefault(target.name, target)
        self.add_names(target, report)
        if target.ra is not None and target.dec is not None:
            self.positions.add(target.ra, target.dec, target)

    def move(self, target: KnownTarget, ra: float, dec: float) -> None:
        """The Target goes to another position (degrees): later reports of the batch find it there."""
        if target.ra is not None and target.dec is not None:
            self.positions.remove(target.ra, target.dec, target)
        target.ra, target.dec = ra, dec
        self.positions.add(ra, dec, target)

    def add_names(self, target: KnownTarget, report: TargetReport) -> None:
        """The names of a report now lead to this Target."""
        for name in report.names:
            if name not in self.names:
                self.aliases.setdefault(name, target)
        for key in report.event_keys:
            self.events.setdefault(key.casefold(), target)


def load_index(reports: Sequence[TargetReport], options: IngestOptions) -> TargetIndex:
    """Read from the database what these reports may match."""
    index = TargetIndex(options.match_radius_arcsec)
    _load_events(index, {key.casefold() for report in reports for key in report.event_keys})
    _load_names(index, {name for report in reports for name in report.names})
    if has_match_manager():
        _ask_match_manager(index, [report for report in reports if _unknown_by_name(index, report)])
    _load_positions(index, [r for r in reports if index.may_match_by_position(r) and _unknown_by_name(index, r)])
    return index


def has_match_manager() -> bool:
    """Whether this TOM has a notion of its own of which names are the same."""
    return "Target" in getattr(settings, "MATCH_MANAGERS", {})


def others_have_made(reports: Sequence[TargetReport], index: TargetIndex, options: IngestOptions) -> bool:
    """Whether one of these reports, which had no Target in this index, would find one by now."""
    now = load_index(reports, options)
    return any(pk not in index.by_pk for pk in now.by_pk)


def _unknown_by_name(index: TargetIndex, report: TargetReport) -> bool:
    return not any(name in index.names or name in index.aliases for name in report.names)


def _load_events(index: TargetIndex, keys: set[str]) -> None:
    if not keys:
        return
    rows = TargetAlert.objects.filter(any_of("event_key", sorted(keys)), target__isnull=False).order_by("pk")
    for key, *target in rows.values_list("event_key", *_columns("target__")):
        index.events.setdefault(key, _known(index, *target))


def _load_names(index: TargetIndex, names: set[str]) -> None:
    wanted = sorted(names)
    for row in BaseTarget.objects.filter(any_of("name", wanted)).values_list(*_columns()):
        target = _known(index, *row)
        index.names[target.name] = target
    rows = TargetName.objects.filter(any_of("name", wanted))
    for alias, *row in rows.values_list("name", *_columns("target__")):
        index.aliases[alias] = _known(index, *row)
    for name, *row in renamed(names - index.names.keys() - index.aliases.keys(), _columns()):
        index.aliases[name] = _known(index, *row)


def _ask_match_manager(index: TargetIndex, reports: Sequence[TargetReport]) -> None:
    """MATCH_MANAGERS of this TOM says which names are the same. It is asked name by name, and only where it is set."""
    for name in sorted({name for report in reports for name in report.names}):
        for target in Target.matches.match_name(name)[:1]:
            index.aliases[name] = _known(index, target.pk, target.name, target.ra, target.dec, target.type)


def _load_positions(index: TargetIndex, reports: Sequence[TargetReport]) -> None:
    if not reports:
        return
    positions.compare_if_due()
    ra, dec = [report.ra or 0.0 for report in reports], [report.dec or 0.0 for report in reports]
    found = positions.near(ra, dec, index.radius_arcsec)
    # The index may be an hour behind bulk writes: what a Target is now counts.
    index.positions.extend(
        [
            (row[2], row[3], _known(index, *row))
            for row in found
            if row[4] == BaseTarget.SIDEREAL and None not in row[2:4]
        ]
    )


def _columns(prefix: str = "") -> list[str]:
    return [f"{prefix}{name}" for name in ("pk", "name", "ra", "dec", "type")]


def _known(index: TargetIndex, pk: int, name: str, ra: float | None, dec: float | None, kind: str) -> KnownTarget:
    """One object per Target, by whatever road it was found."""
    known = index.by_pk.get(pk)
    if known is None:
        known = index.by_pk[pk] = KnownTarget(pk, name, ra, dec, kind == BaseTarget.SIDEREAL)
    return known
