"""The alarms that go on, in the database: however many processes look, one of them tells.

A row is there from when something was first seen to be wrong. Whoever tells it claims it before, by compare-and-set of the
time when it was told last. A claim is a time from which it is due again soon: what a process has claimed that died is told by
another one. What is over is told when it has been so for a while; until then ``told`` is before ``over``, and the row begins
again where the trouble does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django import db
from django.db.models import F, Q
from django.utils import timezone

from tom_alertstreams.conf import LEFT_OUT_OF, switched_off
from tom_alertstreams.delivery.failures import clean, text_of
from tom_alertstreams.logs import get_logger
from tom_alertstreams.models import Alarm
from tom_alertstreams.status import WHOLE_SETTING, StreamStatus, dead_letters_of_an_hour, stream_statuses

from .notifier import LONGEST_TIMEOUT_S, Item, Notice
from .options import AlarmSettings
from .rules import Trouble, judge

logger = get_logger(__name__)

#: A claim is worth so long, and as much longer as servers may be silent for: more than all notifiers take together.
_CLAIM = timedelta(minutes=5)

Seen = dict[tuple[str, str], "Trouble | None"]


@dataclass(frozen=True)
class _Claimed:
    """A row that is ours to tell, and how it was before."""

    row: Alarm
    item: Item
    told_before: datetime | None


def _gone(label: str) -> str:
    """Why a stream is not looked at any more."""
    if label in (WHOLE_SETTING, LEFT_OUT_OF):  # there while something is wrong with it
        return "it can be read again"
    return "it is switched off" if label in switched_off() else "it is not in ALERT_STREAMS any more"


class Book:
    """Looks at all streams, and tells what is wrong or over."""

    def __init__(self, settings: AlarmSettings) -> None:
        self.settings = settings
        #: Notifiers that failed where another one told it: what they have to tell still. Lives as long as the process.
        self._owed: dict[int, tuple[Item, ...]] = {}

    def look(self) -> bool:
        """Look once. Five queries where all is well.

        :returns: whether everything that had to be told was told.
        :raises django.db.Error: the database is away.
        """
        now = timezone.now()
        statuses = stream_statuses(now)
        letters = dead_letters_of_an_hour(now)
        seen: Seen = {
            (status.label[:100], kind.value): trouble
            for status in statuses
            for kind, trouble in judge(status, letters.get(status.label, 0), self.settings, now).items()
        }
        going_on = self._going_on(seen, now)
        claimed = [one for row in going_on if (one := self._claim(row, seen, statuses, now))]
        ok = self._pay()
        return self._tell(claimed) and ok

    # --- rows --------------------------------------------------------------------------------------------------------

    @staticmethod
    def _going_on(seen: Seen, now: datetime) -> list[Alarm]:
        """The rows of all that is wrong or has been; those of what is new are made."""
        open_or_ending = Alarm.objects.filter(Q(over=None) | Q(told__lt=F("over")))
        rows = {(row.stream, row.kind): row for row in open_or_ending}
        new = [
            Alarm(stream=stream, kind=kind, began=now, reason=clean(trouble.reason, 10_000))
            for (stream, kind), trouble in seen.items()
            if trouble is not None and (stream, kind) not in rows
        ]
        if new:
            Alarm.objects.bulk_create(new, ignore_conflicts=True)
            return list(open_or_ending.all())
        return list(rows.values())

    def _claim(self, row: Alarm, seen: Seen, statuses: Sequence[StreamStatus], now: datetime) -> _Claimed | None:
        """The row, if it has something to be told and nobody else tells it."""
        label, kind = row.stream, Alarm.Kind(row.kind)
        by_label = {status.label[:100]: status for status in statuses}
        status = by_label.get(label)
        if status is None and WHOLE_SETTING in by_label:  # it may be in what cannot be read
            return None
        if status is None:
            return self._end(row, Item(label, kind, _gone(label), "", "", row.began, True), now)
        if (label, row.kind) not in seen:
            return None
        trouble = seen[label, row.kind]
        if trouble is None:
            return self._end(row, Item(label, kind, f"it is {status.words}", "", "", row.began, True), now)
        if not self._begins_again(row) or not self._is_due(row, now):
            return None
        claim = now - self._repeat + self._claim_lasts
        mine = Alarm.objects.filter(pk=row.pk, over=None, told=row.told)
        if not mine.update(told=claim, reason=clean(trouble.reason, 10_000)):
            return None
        return _Claimed(row, Item(label, kind, trouble.words, trouble.reason, trouble.advice, row.began), row.told)

    def _is_due(self, row: Alarm, now: datetime) -> bool:
        if row.told is not None:
            return now - row.told >= self._repeat
        return now - row.began >= self._patience(row)

    def _patience(self, row: Alarm) -> timedelta:
        """A stream that comes and goes is told of once."""
        return timedelta(minutes=self.settings.down_minutes if row.kind == Alarm.Kind.DOWN else 0)

    @property
    def _repeat(self) -> timedelta:
        # Never shorter than a claim: what is being told is not due.
        return max(timedelta(hours=self.settings.repeat_hours), 2 * self._claim_lasts)

    @property
    def _claim_lasts(self) -> timedelta:
        return _CLAIM + len(self.settings.notifiers) * timedelta(seconds=LONGEST_TIMEOUT_S)

    @staticmethod
    def _begins_again(row: Alarm) -> bool:
        """False where another process has just told that it was over: then it is a new alarm, at the next look."""
        if row.over is None:
            return True
        try:
            same = Alarm.objects.filter(pk=row.pk, over=row.over, told=row.told).update(over=None)
        except db.IntegrityError:  # it has a new row already
            return False
        return bool(same)

    def _end(self, row: Alarm, item: Item, now: datetime) -> _Claimed | None:
        """It is over. Who was never told of it need not hear that either."""
        if row.told is None:
            Alarm.objects.filter(pk=row.pk, over=None, told=None).delete()
            return None
        mine = Alarm.objects.filter(pk=row.pk, told=row.told)
        if row.over is None:
            row.over = now
            if not mine.filter(over=None).update(over=now):
                return None
        if now - row.over < self._patience(row) or not mine.filter(over=row.over).update(told=now):
            return None
        return _Claimed(row, item, row.told)

    # --- telling -----------------------------------------------------------------------------------------------------

    def _tell(self, claimed: Sequence[_Claimed]) -> bool:
        if not claimed:
            return True
        items = tuple(one.item for one in claimed)
        failed = [number for number in range(len(self.settings.notifiers)) if not self._ask(number, items)]
        if len(failed) == len(self.settings.notifiers):
            self._give_back(claimed)
            return False
        for number in failed:
            self._owe(number, items)
        now = timezone.now()
        going_on = [one.row.pk for one in claimed if not one.item.is_over]
        # One that is over meanwhile keeps its claim, which is before that: so the end of it is told.
        Alarm.objects.filter(pk__in=going_on, over=None).update(told=now)
        for item in items:
            logger.info("told: %s", item.headline, extra={"stream": item.stream})
        return not failed

    @staticmethod
    def _give_back(claimed: Iterable[_Claimed]) -> None:
        """Nobody was told: as before, so that it is tried again at the next look."""
        for one in claimed:
            Alarm.objects.filter(pk=one.row.pk).update(told=one.told_before)

    def _pay(self) -> bool:
        """Ask notifiers again that have failed where another one did not; each gets one notice of all that it missed."""
        for number, items in list(self._owed.items()):
            if self._ask(number, items):
                del self._owed[number]
        return not self._owed

    def _owe(self, number: int, items: tuple[Item, ...]) -> None:
        newest: Mapping[tuple[str, str], Item] = {
            (item.stream, item.kind.value): item for item in (*self._owed.get(number, ()), *items)
        }
        self._owed[number] = tuple(newest.values())

    def _ask(self, number: int, items: tuple[Item, ...]) -> bool:
        notifier = self.settings.notifiers[number]
        try:
            notifier.tell(Notice(items, self._closing(items)))
        except (Exception, SystemExit) as error:  # noqa: BLE001  (whatever a mail server, a library or the user's code raises)
            name = type(notifier).__name__
            logger.error("alarm not told by %s: %s: %s", name, type(error).__name__, text_of(error))
            return False
        return True

    def _closing(self, items: Iterable[Item]) -> str:
        if all(item.is_over for item in items):
            return ""
        return f"It is told again every {self.settings.repeat_hours:g} h while it lasts, and once it is over."
