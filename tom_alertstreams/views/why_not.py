"""Why was my object not ingested? What is known of an object by its id, in words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db.models import BooleanField, Func, Min, QuerySet, Subquery, Value
from django.db.models.functions import Length

from tom_alertstreams.conf import configured_streams
from tom_alertstreams.ingest.visible import Visible
from tom_alertstreams.models import DeadLetter, OutcomeCount, Rejection

from .entries import Alerts, Entry, Rejections
from .tables import utc

#: Of each kind, the newest.
SHOWN: Final = 20
#: Dead letters that are searched for the id, the newest, and none larger than this (bytes).
LETTERS: Final = 500
_LARGEST: Final = 200_000


@dataclass(frozen=True)
class Known:
    """What is known of an object."""

    object_id: str
    #: Targets of this name or alias.
    targets: list[Any]
    alerts: list[Entry]
    rejections: list[Entry]
    #: None: the user may not see dead letters.
    letters: list[DeadLetter] | None
    #: How many letters were searched, and up to what size.
    letters_searched: str = f"{LETTERS:,}"
    largest_letter: str = f"{_LARGEST // 1000:,} kB"

    @property
    def nothing(self) -> bool:
        """Whether no more can be said than why nothing may be known."""
        return not (self.targets or self.alerts or self.rejections or self.letters)

    @property
    def counted_since(self) -> str:
        """The first hour of which this database has a count (UTC)."""
        first: datetime | None = OutcomeCount.objects.aggregate(first=Min("hour"))["first"]
        return utc(first)


def what_is_known(user: Any, object_id: str) -> Known:
    """What this user may know of an object, in at most five queries."""
    object_id = object_id.strip()[:200].replace("\0", "")
    visible = Visible(user)
    alerts = Alerts(visible.alerts.filter(object_id=object_id), indexed=True)
    rejections = Rejections(Rejection.objects.filter(object_id=object_id[:100]), indexed=True)
    return Known(
        object_id,
        list(visible.called(object_id)[:SHOWN]),
        [entry for _, entry in alerts.newest(SHOWN)[0]],
        [entry for _, entry in rejections.newest(SHOWN)[0]],
        list(_letters_that_name(object_id)) if user.is_active and user.is_staff else None,
    )


class _Holds(Func):
    """Whether bytes hold other bytes."""

    output_field = BooleanField()
    arity = 2

    def as_sqlite(self, compiler: Any, connection: Any, **_: Any) -> Any:
        return super().as_sql(compiler, connection, template="instr(%(expressions)s) > 0")

    def as_postgresql(self, compiler: Any, connection: Any, **_: Any) -> Any:
        template = "position(%(expressions)s) > 0"
        needle_first = self.copy()
        needle_first.set_source_expressions(self.get_source_expressions()[::-1])
        return super(_Holds, needle_first).as_sql(compiler, connection, template=template, arg_joiner=" IN ")


def _letters_that_name(object_id: str) -> QuerySet[DeadLetter]:
    """Whose bytes hold the id as text: JSON, and Avro that is not compressed."""
    # By their number: primary keys have gaps, for a waiting letter that is handled after all leaves no row.
    newest = DeadLetter.objects.order_by("-pk").values("pk")[:LETTERS]
    small = DeadLetter.objects.filter(pk__in=Subquery(newest)).annotate(size=Length("raw")).filter(size__lte=_LARGEST)
    found = small.filter(_Holds("raw", Value(object_id.encode())))
    return found.defer("raw", "traceback", "headers").order_by("-pk")[:SHOWN]


def memory_of_rejections() -> str:
    """How long rejections are remembered, in words."""
    days = sorted({topic.delivery.rejections_days for stream in configured_streams()[0] for topic in stream.topics})
    kept = [number for number in days if number]
    if not kept:
        return "No stream remembers rejections (REJECTIONS_DAYS is 0)." if days else "No stream is configured."
    span = f"{kept[0]}" if len(kept) == 1 else f"{kept[0]} to {kept[-1]}"
    forgotten = f"Rejections older than {span} days are forgotten (REJECTIONS_DAYS)"
    return f"{forgotten}, and some topics remember none." if 0 in days else f"{forgotten}."
