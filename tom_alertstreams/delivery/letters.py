"""Dead letters as whoever looks after them sees them: which ones, grouped by their cause, dismissed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from functools import reduce
from operator import or_
from typing import Any

from django.db import connection
from django.db.models import BooleanField, Count, Func, Max, Min, Q, QuerySet, Value
from django.utils import timezone

from tom_alertstreams.models import DeadLetter
from tom_alertstreams.topics import glob_regex, is_pattern

from .waiting import UNSETTLED, unclaimed

#: Rows that one UPDATE changes, so that SQLite's only writer's lock is never held for long.
_AT_ONCE = 500


class _Like(Func):
    """Whether a field is like a pattern of SQL, in large or small letters.

    As Django's icontains and iexact, but for PostgreSQL in words of which it can tell how many rows they find: of a guess
    it would sort 100,000 letters, which takes longer than to find them.
    """

    output_field = BooleanField()
    arity = 2

    def as_sqlite(self, compiler: Any, connection: Any, **_: Any) -> Any:
        return super().as_sql(compiler, connection, template=r"%(expressions)s ESCAPE '\'", arg_joiner=" LIKE ")

    def as_postgresql(self, compiler: Any, connection: Any, **_: Any) -> Any:
        return super().as_sql(compiler, connection, template="%(expressions)s", arg_joiner=" ILIKE ")


def _literally(text: str) -> str:
    """The pattern that only this text is like."""
    return str(connection.ops.prep_for_like_query(text))


@dataclass(frozen=True)
class LetterFilter:
    """Which dead letters are meant. What is None or empty leaves all."""

    stream: str | None = None
    #: Name of a topic, or a glob.
    topic: str | None = None
    #: Class of the error, as ``KeyError``.
    error: str | None = None
    handler: str | None = None
    fingerprint: str | None = None
    #: Time since the first failure.
    older_than: timedelta | None = None
    newer_than: timedelta | None = None
    #: Words of the error, or a part of the topic's or the handler's name.
    text: str | None = None
    #: When they were shown to whoever chooses. What first failed later is not among them, and ages end here.
    seen_until: datetime | None = None
    ids: tuple[int, ...] = ()
    states: tuple[str, ...] = tuple(UNSETTLED)

    @property
    def takes_all(self) -> bool:
        """Whether nothing but the states chooses."""
        return not any(getattr(self, field.name) for field in fields(self) if field.name != "states")

    @property
    def unsettled(self) -> LetterFilter:
        """Of those, the ones that can be tried again or dismissed."""
        return replace(self, states=tuple(state for state in self.states if state in UNSETTLED))

    def rows(self, now: datetime | None = None) -> QuerySet[DeadLetter]:
        """The dead letters, oldest row first.

        :param now: the end of the ages; without it the present. With ``seen_until`` they end there.
        """
        return DeadLetter.objects.filter(self.condition(now), state__in=self.states).order_by("pk")

    def condition(self, now: datetime | None = None) -> Q:
        """What chooses, but the states."""
        now = self.seen_until or now or timezone.now()
        chosen = Q(first_failed_at__lte=self.seen_until) if self.seen_until else Q()
        if self.stream:
            chosen &= Q(stream=self.stream)
        if self.topic:
            chosen &= Q(topic__regex=glob_regex(self.topic)) if is_pattern(self.topic) else Q(topic=self.topic)
        if self.error:
            chosen &= Q(_Like("error_class", Value(_literally(self.error))))
        if self.handler:
            chosen &= Q(handler=self.handler)
        if self.fingerprint:
            chosen &= Q(fingerprint=self.fingerprint)
        if self.older_than:
            chosen &= Q(first_failed_at__lt=now - self.older_than)
        if self.newer_than:
            chosen &= Q(first_failed_at__gt=now - self.newer_than)
        if self.text:
            words = ("error", "error_class", "topic", "handler")
            chosen &= reduce(or_, (Q(_Like(name, Value(f"%{_literally(self.text)}%"))) for name in words))
        return chosen & Q(pk__in=self.ids) if self.ids else chosen

    def as_json(self) -> dict[str, Any]:
        """What chooses, as JSON takes it: ages in seconds, moments in ISO 8601. :meth:`from_json` reads it."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: _as_json(value) for name, value in given.items() if value}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> LetterFilter:
        """The filter that :meth:`as_json` has stored."""
        given = dict(stored)
        for name in ("older_than", "newer_than"):
            if name in given:
                given[name] = timedelta(seconds=given[name])
        if "seen_until" in given:
            given["seen_until"] = datetime.fromisoformat(given["seen_until"])
        return cls(**{**given, "ids": tuple(given.get("ids", ())), "states": tuple(given.get("states", ()))})


def _as_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return value.total_seconds() if isinstance(value, timedelta) else value


@dataclass(frozen=True)
class LetterGroup:
    """Dead letters of one stream that failed in the same place for the same reason."""

    stream: str
    handler: str
    fingerprint: str
    error_class: str
    count: int
    #: How many of them wait for their next try.
    waiting: int
    #: By name.
    first_topic: str
    last_topic: str
    first_failed_at: datetime
    last_change: datetime
    #: The id of the newest of them.
    example: int
    #: The words of the error of the example.
    error: str = ""

    @property
    def topics(self) -> str:
        """Its topic; of several the first and the last by name."""
        one = self.first_topic == self.last_topic
        return f"topic {self.first_topic}" if one else f"topics {self.first_topic} to {self.last_topic}"


def groups(letters: QuerySet[DeadLetter]) -> list[LetterGroup]:
    """The letters by their cause, the most frequent first; without the words of their errors: see :func:`in_words`."""
    found = (
        letters.order_by()
        .values("stream", "handler", "fingerprint", "error_class")
        .annotate(
            count=Count("pk"),
            waiting=Count("pk", filter=Q(state=DeadLetter.State.WAITING)),
            # How many topics there are would have to be sorted out.
            first_topic=Min("topic"),
            last_topic=Max("topic"),
            first_failed_at=Min("first_failed_at"),
            last_change=Max("updated_at"),
            example=Max("pk"),
        )
        .order_by("-count", "example")
    )
    return [LetterGroup(**group) for group in found]


def in_words(found: Sequence[LetterGroup]) -> list[LetterGroup]:
    """The same groups with the words of their errors; one query for 500 of them."""
    errors = dict[int, str]()
    for some in chunks([group.example for group in found]):
        errors |= dict(DeadLetter.objects.filter(pk__in=some).values_list("pk", "error"))
    return [replace(group, error=errors.get(group.example, "")) for group in found]


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
