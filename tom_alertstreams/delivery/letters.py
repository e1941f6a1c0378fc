"""Dead letters as whoever looks after them sees them: which ones, grouped by their cause, dismissed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Max, Min, Q, QuerySet
from django.utils import timezone

from tom_alertstreams.models import DeadLetter
from tom_alertstreams.topics import glob_regex, is_pattern

from .waiting import UNSETTLED, unclaimed

#: Rows that one UPDATE changes, so that SQLite's only writer's lock is never held for long.
_AT_ONCE = 500


@dataclass(frozen=True)
class LetterFilter:
    """Which dead letters are meant. What is None or empty leaves all."""

    stream: str | None = None
    #: Name of a topic, or a glob.
    topic: str | None = None
    #: Class of the error, as ``KeyError``.
    error: str | None = None
    fingerprint: str | None = None
    #: Time since the first failure.
    older_than: timedelta | None = None
    newer_than: timedelta | None = None
    ids: tuple[int, ...] = ()
    states: tuple[str, ...] = tuple(UNSETTLED)

    @property
    def takes_all(self) -> bool:
        """Whether nothing but the states chooses."""
        chosen = (self.stream, self.topic, self.error, self.fingerprint, self.older_than, self.newer_than, self.ids)
        return not any(chosen)

    def rows(self) -> QuerySet[DeadLetter]:
        """The dead letters, oldest row first."""
        rows = DeadLetter.objects.filter(state__in=self.states).order_by("pk")
        if self.stream:
            rows = rows.filter(stream=self.stream)
        if self.topic:
            exact = not is_pattern(self.topic)
            rows = rows.filter(topic=self.topic) if exact else rows.filter(topic__regex=glob_regex(self.topic))
        if self.error:
            rows = rows.filter(error_class__iexact=self.error)
        if self.fingerprint:
            rows = rows.filter(fingerprint=self.fingerprint)
        now = timezone.now()
        if self.older_than:
            rows = rows.filter(first_failed_at__lt=now - self.older_than)
        if self.newer_than:
            rows = rows.filter(first_failed_at__gt=now - self.newer_than)
        return rows.filter(pk__in=self.ids) if self.ids else rows


@dataclass(frozen=True)
class LetterGroup:
    """Dead letters of one stream that failed in the same place for the same reason."""

    stream: str
    handler: str
    fingerprint: str
    error_class: str
    #: The words of the error of the example.
    error: str
    count: int
    #: How many of them wait for their next try.
    waiting: int
    topics: int
    first_failed_at: datetime
    last_change: datetime
    #: The id of the newest of them.
    example: int


def groups(letters: QuerySet[DeadLetter]) -> list[LetterGroup]:
    """The letters by their cause, the most frequent first."""
    found = list(
        letters.order_by()
        .values("stream", "handler", "fingerprint", "error_class")
        .annotate(
            count=Count("pk"),
            waiting=Count("pk", filter=Q(state=DeadLetter.State.WAITING)),
            topics=Count("topic", distinct=True),
            first_failed_at=Min("first_failed_at"),
            last_change=Max("updated_at"),
            example=Max("pk"),
        )
        .order_by("-count", "example")
    )
    errors = dict[int, str]()
    for some in chunks([group["example"] for group in found]):
        errors |= dict(DeadLetter.objects.filter(pk__in=some).values_list("pk", "error"))
    return [LetterGroup(**group, error=errors.get(group["example"], "")) for group in found]


def dismiss(letters: QuerySet[DeadLetter]) -> Iterator[int]:
    """Give these letters up for good; their rows stay. One that a process is trying now is left alone.

    :returns: for each step, how many it has dismissed.
    """
    for some in chunks(list(letters.values_list("pk", flat=True))):
        now = timezone.now()
        yield DeadLetter.objects.filter(unclaimed(now), pk__in=some, state__in=UNSETTLED).update(
            state=DeadLetter.State.DISMISSED, next_attempt_at=None, leased_until=None, updated_at=now
        )


def chunks(numbers: Sequence[int], size: int = _AT_ONCE) -> Iterator[Sequence[int]]:
    """A list in parts that one statement takes."""
    for start in range(0, len(numbers), size):
        yield numbers[start : start + size]
