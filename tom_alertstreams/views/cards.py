"""What the streams page shows of each stream, and who may see it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.safestring import SafeString

from tom_alertstreams.activity import Activity, Runs, TopicActivity, activities, first_hour, recent_runs
from tom_alertstreams.delivery.gaps import MADE_ANEW
from tom_alertstreams.redaction import redact
from tom_alertstreams.status import StreamStatus, TopicStatus, described, stream_statuses
from tom_alertstreams.topics import HEARTBEAT_TOPICS

from .sparkline import small_sparkline, sparkline

#: More topics than this are folded away.
_TOPICS_SHOWN: Final = 6
_DATE: Final = re.compile(r"(?<!\d)\d{8}(?!\d)")


@dataclass(frozen=True)
class TopicRow:
    """One topic, and what became of its alerts in the last 24 hours."""

    status: TopicStatus
    activity: TopicActivity
    sparkline: SafeString
    #: It was counted today, and is not read now, as a topic of yesterday.
    is_over: bool = False

    @property
    def is_heartbeat(self) -> bool:
        """What the card says of the whole stream leaves it out."""
        return self.status.topic in HEARTBEAT_TOPICS


@dataclass(frozen=True)
class Card:
    """One stream."""

    #: Its place in settings.py, as text: what the elements of its card are called by.
    number: str
    stream: StreamStatus
    reason: str
    topics: tuple[TopicRow, ...]
    sparkline: SafeString
    #: What other apps say of it.
    facts: tuple[str, ...] = ()
    #: None for who may not see them.
    runs: Runs | None = None

    @property
    def shown(self) -> tuple[TopicRow, ...]:
        """The topics that are always in sight."""
        return self.topics[:_TOPICS_SHOWN]

    @property
    def folded(self) -> tuple[TopicRow, ...]:
        """Those that are folded away."""
        return self.topics[_TOPICS_SHOWN:]

    @property
    def gaps(self) -> list[dict[str, Any]]:
        """Alerts that the broker did not have any more, in the runs that are shown; ``missing`` is None: nobody knows.

        A topic that was made anew or cut short says nothing of what was in it.
        """
        found = [gap for run in (self.runs.newest if self.runs else ()) for gap in run.gaps]
        return [
            {
                **gap,
                "missing": gap["found"] - gap["expected"] if _is_counted(gap) else None,
                "reason": redact(gap["reason"]),
                "time": parse_datetime(gap["time"]),
            }
            for gap in found
        ]


def _is_counted(gap: Mapping[str, Any]) -> bool:
    return bool(gap["found"] > gap["expected"] and gap["reason"] != MADE_ANEW)


def stream_cards(*, is_staff: bool, now: datetime | None = None) -> list[Card]:
    """A card for each stream, in the order of settings.py.

    Six queries however many streams there are, one less for who is no staff; other apps may add one each.
    """
    now = now or timezone.now()
    streams = stream_statuses(now)
    labels = [stream.label for stream in streams]
    first = first_hour(now)
    active = activities(labels, now)
    runs = recent_runs(labels, now) if is_staff else {}
    facts = described(labels)
    return [
        Card(
            str(number),
            stream,
            stream.for_staff if is_staff else stream.reason,
            _topics(stream, active[stream.label], first),
            sparkline(active[stream.label].by_hour, first),
            tuple(facts.get(stream.label, ())),
            runs.get(stream.label),
        )
        for number, stream in enumerate(streams, 1)
    ]


def _topics(stream: StreamStatus, activity: Activity, first: datetime) -> tuple[TopicRow, ...]:
    read = {status.topic: status for status in stream.topics}
    over = {topic: TopicStatus(topic, "", None, None) for topic in activity.topics if topic not in read}
    rows = []
    for topic, status in {**read, **over}.items():
        lately = activity.topics.get(topic) or TopicActivity()
        rows.append(TopicRow(status, lately, small_sparkline(lately.by_hour, first), is_over=topic in over))
    return tuple(_newest_day_first(rows))


def _newest_day_first(rows: Sequence[TopicRow]) -> list[TopicRow]:
    """Topics without a date first, by name; those of a day from the newest on."""

    def place(row: TopicRow) -> tuple[int, str]:
        day = _DATE.findall(row.status.topic)
        return (-int(day[-1]) if day else -(10**9), row.status.topic)

    return sorted(rows, key=place)
