"""Replays and dismissals with a name to them: a row of LetterAction is the journal, and the job that goes on from it.

A page works at a job for some seconds a request, so that it can show how far it has come; a command works at it to the
end. Whoever stops leaves the row as it is, and anybody may go on from there.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import Any, Final

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from tom_alertstreams.models import DeadLetter, LetterAction

from .failures import clean
from .letters import LetterFilter, dismiss
from .replay import BUSY, ReplayReport, replay
from .source import AlertSource

MEANWHILE: Final = "settled or tried by somebody else meanwhile, or in a step that was cut off"
#: Letters that are looked up at once.
_AT_ONCE = 200
#: How long one holds a job; a process that was killed keeps it to itself for as long. Should a handler take longer, somebody
#: else may have it then: the leases of the letters still see to it that nothing is done twice.
_HELD = timedelta(seconds=60)
_NOTED_EVERY_S = 2.0
_REASON_LENGTH = 1000

FindSource = Callable[[str], AlertSource]


def begin(kind: LetterAction.Kind, who: str, chosen: LetterFilter) -> LetterAction:
    """Note who wants what. Nothing is done yet: :func:`work_on`."""
    now = timezone.now()
    chosen = chosen.unsettled
    total = chosen.rows(now).filter(updated_at__lt=now).count()
    return LetterAction.objects.create(kind=kind, who=who[:255], started=now, chosen=chosen.as_json(), total=total)


def wanted(action: LetterAction) -> QuerySet[DeadLetter]:
    """The letters that it has still to do, or has left. What anybody has tried since it began is not among them."""
    rows = LetterFilter.from_json(action.chosen).rows(action.started)
    return rows.filter(updated_at__lt=action.started, pk__gt=action.reached)


def work_on(action: LetterAction, find_source: FindSource, seconds: float, who: str) -> bool:
    """Go on with it for about so many seconds; one letter or one call of a handler may take longer.

    :param who: is named in the journal beside whoever began it.
    :returns: False: somebody else is at it just now. In both cases the action is as the database has it.
    """
    with _holding(action) as held:
        deadline = time.monotonic() + seconds
        if held and who not in action.who.split(", "):
            _add(action, who=f"{action.who}, {who}"[:255])
        while held and action.finished is None and time.monotonic() < deadline:
            if not _some(action, find_source, deadline):
                break
    action.refresh_from_db()
    return held


def replay_all(action: LetterAction, find_source: FindSource) -> Iterator[ReplayReport]:
    """Replay to the end, topic by topic, as :func:`~.replay.replay` does. Whoever stops to iterate may go on later.

    Where somebody else has the job, or takes it over, the last report says so, and the rest is left to him.
    """
    noted, noted_at = Counter[str](), time.monotonic()
    with _holding(action) as held, closing(replay(wanted(action), find_source)) as steps:
        report = ReplayReport(0)
        try:
            for report in steps:
                if time.monotonic() - noted_at > _NOTED_EVERY_S:
                    held = _add(action, _outcomes(report) - noted, held_until=timezone.now() + _HELD)
                    noted, noted_at = _outcomes(report), time.monotonic()
                if not held:
                    break
                yield report
        finally:
            _add(action, _outcomes(report) - noted)
        held = held and _add(action, left=report.left, finished=timezone.now())
    if not held:
        report.left += Counter({BUSY: report.total - report.finished})
        yield report


def dismiss_all(action: LetterAction) -> Iterator[int]:
    """Dismiss to the end, or until somebody else has the job.

    :returns: for each step, how many it has dismissed.
    """
    with _holding(action) as held:
        for dismissed in dismiss(wanted(action)) if held else ():
            held = _add(action, {"dismissed": dismissed}, held_until=timezone.now() + _HELD)
            yield dismissed
            if not held:
                break
        if held:
            _add(action, rest=BUSY, finished=timezone.now())


@contextmanager
def _holding(action: LetterAction) -> Iterator[bool]:
    """Claim it, read it anew, and give it back unless it was lost meanwhile; whether it could be claimed."""
    now = timezone.now()
    until = now + _HELD
    free = LetterAction.objects.filter(Q(held_until=None) | Q(held_until__lte=now), pk=action.pk, finished=None)
    held = free.update(held_until=until) == 1
    action.refresh_from_db()
    if held:
        action.held_until = until  # the claim: whatever else the row has by now is another's
    try:
        yield held
    finally:
        if held:
            _add(action, held_until=None)


def _some(action: LetterAction, find_source: FindSource, deadline: float) -> bool:
    """Do the next letters, or find that there are none.

    :returns: False: time was up before they were all done, or somebody else has the job. They come again then, but for
        those that were tried.
    """
    began = time.monotonic()
    rows = wanted(action)
    pks = list(rows.values_list("pk", flat=True)[:_AT_ONCE])
    letters = rows.filter(pk__in=pks)
    deadline += time.monotonic() - began  # to look for words may take longer than the whole step
    if not pks:
        return _add(action, rest=MEANWHILE, finished=timezone.now())
    if action.kind == LetterAction.Kind.DISMISS:
        dismissed = sum(dismiss(letters))
        return _add(action, {"dismissed": dismissed}, {BUSY: len(pks) - dismissed}, reached=pks[-1])
    report = ReplayReport(0)
    with closing(replay(letters, find_source)) as steps:
        try:
            for report in steps:
                # Something is finished in every step: else none of them would ever come further.
                if 0 < report.finished < report.total and time.monotonic() >= deadline:
                    return False
        finally:
            _add(action, _outcomes(report))
    # Why letters were left is noted once they are passed over: until then it is found out again in every step.
    return _add(action, left=report.left, reached=pks[-1], held_until=timezone.now() + _HELD)


def _outcomes(report: ReplayReport) -> Counter[str]:
    return Counter({name: report.became[name] for name in ("done", "rejected", "waiting", "dead")})


def _add(
    action: LetterAction,
    became: Mapping[str, int] | None = None,
    left: Mapping[str, int] | None = None,
    *,
    rest: str = "",
    **changes: Any,
) -> bool:
    """Count, and change fields; they are as the database has them then.

    :param rest: why all others were left as they were.
    :returns: False: the claim was lost. Then only what became of letters is counted: the rest is his who has it now.
    """
    with transaction.atomic():
        row = LetterAction.objects.select_for_update().get(pk=action.pk)
        held = row.held_until == action.held_until
        if not held:
            left, rest, changes = None, "", {}
        for name, more in (("became", became), ("left", left)):
            counts = Counter(getattr(row, name))
            counts.update({clean(what, _REASON_LENGTH): n for what, n in (more or {}).items()})
            changes[name] = {what: n for what, n in counts.items() if n > 0}
        if rest and (others := row.total - sum(changes["became"].values()) - sum(changes["left"].values())) > 0:
            changes["left"][rest] = changes["left"].get(rest, 0) + others
        for name, value in changes.items():
            setattr(row, name, value)
            setattr(action, name, value)
        row.save(update_fields=list(changes))
    return held
