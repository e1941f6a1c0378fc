"""What streams did lately: alerts by hour and by outcome, and their lives. One query each, however many streams there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Count, F, Sum, Window
from django.db.models.functions import RowNumber

from .models import OutcomeCount, StreamRun
from .redaction import redact
from .topics import HEARTBEAT_TOPICS

HOURS: Final = 24
#: Runs that ended longer ago than this are not shown, and of one stream not more than so many.
RUNS_DAYS: Final = 7
RUNS_SHOWN: Final = 10
#: An outcome after which an alert is over. ``waiting`` is a try that another one follows.
_OVER: Final = ("done", "rejected", "dead")


@dataclass
class TopicActivity:
    """The last 24 hours of one topic."""

    #: Outcome → alerts; of ``waiting`` tries.
    counts: Counter[str] = field(default_factory=Counter)
    #: Alerts that were done with in each hour (UTC), the oldest first; the last hour is going on.
    by_hour: list[int] = field(default_factory=lambda: [0] * HOURS)


@dataclass
class Activity:
    """The last 24 hours of one stream."""

    topics: dict[str, TopicActivity] = field(default_factory=dict)

    @property
    def by_hour(self) -> list[int]:
        """That of its topics together, without heartbeats."""
        own = [activity.by_hour for topic, activity in self.topics.items() if topic not in HEARTBEAT_TOPICS]
        return [sum(hour) for hour in zip(*own, strict=True)] or [0] * HOURS


@dataclass
class Runs:
    """The lives of one stream in the last days."""

    #: The newest first, at most RUNS_SHOWN of them.
    newest: list[StreamRun] = field(default_factory=list)
    total: int = 0

    @property
    def more(self) -> int:
        """How many are not shown."""
        return self.total - len(self.newest)


def first_hour(now: datetime) -> datetime:
    """The first of the hours of :class:`Activity`."""
    return now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=HOURS - 1)


def activities(labels: Sequence[str], now: datetime) -> dict[str, Activity]:
    """Stream → its last 24 hours."""
    since = first_hour(now)
    found = {label: Activity() for label in labels}
    counts = OutcomeCount.objects.filter(stream__in=labels, hour__gte=since).order_by()
    for stream, topic, hour, outcome, n in counts.values_list("stream", "topic", "hour", "outcome").annotate(
        n=Sum("n")
    ):
        activity = found[stream].topics.setdefault(topic, TopicActivity())
        activity.counts[outcome] += n
        number = int((hour - since).total_seconds() // 3600)
        if outcome in _OVER and number < HOURS:  # a clock that was wrong writes hours to come
            activity.by_hour[number] += n
    return found


def recent_runs(labels: Sequence[str], now: datetime) -> dict[str, Runs]:
    """Stream → its lives of the last RUNS_DAYS days."""
    lately = StreamRun.objects.filter(stream__in=labels, heartbeat__gte=now - timedelta(days=RUNS_DAYS))
    numbered = lately.annotate(
        number=Window(RowNumber(), partition_by=F("stream"), order_by="-pk"),
        total=Window(Count("pk"), partition_by=F("stream")),
    )
    found = {label: Runs() for label in labels}
    for run in numbered.filter(number__lte=RUNS_SHOWN).defer("topics", "last_error").order_by("-pk"):
        run.reason = redact(run.reason)
        found[run.stream].newest.append(run)
        found[run.stream].total = run.total
    return found
