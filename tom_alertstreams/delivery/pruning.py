"""Deletes old rows that nothing needs any more. What says where reading goes on, and what is to be repaired, stays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import F, Q, QuerySet, Window
from django.db.models.functions import Rank
from django.utils import timezone

from tom_alertstreams.models import Alarm, DeadLetter, LetterAction, OutcomeCount, Rejection, StreamRun

#: Rows deleted in one transaction.
_AT_ONCE = 500
#: A stream that has written no heartbeat for so long does not run, though its process could not say so any more.
_SILENT = timedelta(days=1)


@dataclass(frozen=True)
class Prunable:
    """Old rows of one table."""

    #: What they are, in words.
    what: str
    rows: QuerySet[Any]


def prunable(older_than: timedelta) -> list[Prunable]:
    """What may be deleted, table by table. Dead letters that are open or waiting are never among it."""
    now = timezone.now()
    before = now - older_than
    settled = DeadLetter.objects.filter(state__in=(DeadLetter.State.REPLAYED, DeadLetter.State.DISMISSED))
    # The last life of a stream says whether its fuse has blown.
    place = Window(Rank(), partition_by=[F("stream"), F("group_id")], order_by=F("heartbeat").desc())
    last = StreamRun.objects.alias(place=place).filter(place=1)
    ended = Q(ended__lt=before) | Q(ended=None, heartbeat__lt=min(before, now - _SILENT))
    return [
        Prunable("dead letters, replayed or dismissed", settled.filter(updated_at__lt=before)),
        # Those that nobody has gone on with for so long too: their letters can be chosen anew.
        Prunable("replays and dismissals", LetterAction.objects.filter(started__lt=before)),
        Prunable("runs of streams that have ended", StreamRun.objects.filter(ended).exclude(pk__in=last.values("pk"))),
        Prunable("counts of outcomes, by the hour", OutcomeCount.objects.filter(hour__lt=before - timedelta(hours=1))),
        Prunable("rejections", Rejection.objects.filter(time__lt=before)),
        Prunable("alarms that are over", Alarm.objects.filter(over__lt=before)),
    ]


def delete(old: Prunable) -> Iterator[int]:
    """Delete them in short transactions.

    :returns: for each, how many rows it has deleted.
    """
    while pks := list(old.rows.order_by("pk").values_list("pk", flat=True)[:_AT_ONCE]):
        # With the condition again: a row may have changed meanwhile.
        deleted, _ = old.rows.filter(pk__in=pks).delete()
        yield deleted
        if not deleted:
            return
