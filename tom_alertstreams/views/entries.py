"""What became of alerts, the newest first: what Targets they made or changed, and what was rejected, in one list.

Nothing is counted, and no page reads more than a bounded part of a table, however few of its rows a filter lets through:
where that is not enough, the page says so, and the next one goes on.
"""

from __future__ import annotations

import heapq
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final

from django.db import connection
from django.db.models import Model, QuerySet

from tom_alertstreams.ingest.models import MatchMethod, TargetAlert
from tom_alertstreams.ingest.reasons import in_words
from tom_alertstreams.models import Rejection

#: Rows of one table that a page looks through at most.
AT_MOST: Final = 50_000
#: Primary keys follow the time of ingest, but for the difference of the clocks of two readers.
_CLOCKS: Final = timedelta(minutes=10)


@dataclass(frozen=True)
class Entry:
    """One alert and what became of it."""

    #: When it was ingested or rejected.
    time: datetime
    stream: str
    topic: str
    object_id: str
    #: What it did, in words.
    outcome: str
    #: Of a rejection; else empty.
    code: str = ""
    #: Right ascension and declination that the alert gives (ICRS, degrees).
    ra: float | None = None
    dec: float | None = None
    #: When it was issued.
    issued: datetime | None = None
    target: int | None = None
    target_name: str = ""
    #: From the Target, where matched by position (arcsec).
    separation: float | None = None
    points: int = 0
    summary: str = ""


@dataclass(frozen=True)
class Place:
    """Where a page begins: primary keys that its rows are below; None: at the newest row."""

    alerts: int | None = None
    rejections: int | None = None

    @classmethod
    def read(cls, text: str) -> Place:
        """From the address of a page; what is none is the newest page."""
        found = re.fullmatch(r"([0-9]{1,18})-([0-9]{1,18})", text)
        return cls(int(found[1]), int(found[2])) if found else cls()

    def __str__(self) -> str:
        return f"{self.alerts or 0}-{self.rejections or 0}"


@dataclass(frozen=True)
class Page:
    """Some entries."""

    entries: list[Entry]
    #: Where the next page begins; None: there is nothing older.
    older: Place | None
    #: Older rows have not been looked at yet, though the page has room.
    searched_to: datetime | None = None


@dataclass(frozen=True)
class Source:
    """Rows of one table that a page may show."""

    rows: QuerySet[Any]
    since: datetime | None = None
    until: datetime | None = None
    #: An index leads to the rows, so that none has to be looked through in vain.
    indexed: bool = False

    model: ClassVar[type[Model]]
    #: When a row came.
    moment: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]

    def newest(self, limit: int, below: int = 0) -> tuple[list[tuple[int, Entry]], int | None, datetime | None]:
        """Rows, the newest first.

        :param below: primary key that all rows are below; where an index leads to them it may be left out.
        :returns: (primary key, entry) of each; where to look on, and the time of the row there, if rows are left that
            were not looked at.
        """
        rows = self.rows
        if below or not self.indexed:
            rows = rows.filter(pk__lt=below)
        if not self.indexed:
            rows = rows.filter(pk__gte=below - AT_MOST)
        if self.since:
            rows = rows.filter(**{f"{self.moment}__gte": self.since})
        if self.until:
            rows = rows.filter(**{f"{self.moment}__lte": self.until})
        found = [(row["pk"], self.entry(row)) for row in rows.order_by("-pk").values("pk", *self.columns)[:limit]]
        if self.indexed or len(found) == limit:
            return found, None, None
        left = self.model._default_manager.filter(pk__lt=below - AT_MOST).order_by("-pk")
        pk, time = left.values_list("pk", self.moment).first() or (None, None)
        if time is None or pk is None or (self.since and time < self.since - _CLOCKS):
            return found, None, None
        return found, pk + 1, time

    def tops(self) -> list[QuerySet[Any]]:
        """Where the newest rows are: the first of these that finds a primary key."""
        every = self.model._default_manager
        tops = [every.order_by("-pk")]
        if self.until is not None:
            later = every.filter(**{f"{self.moment}__gt": self.until + _CLOCKS})
            tops.insert(0, later.order_by(self.moment, "pk"))
        return [top.values_list("pk")[:1] for top in tops]

    @staticmethod
    def entry(row: Mapping[str, Any]) -> Entry:
        """What a row says."""
        raise NotImplementedError


class Alerts(Source):
    """Those that made or changed a Target, or retracted one."""

    model = TargetAlert
    moment = "created"
    columns = (
        "created", "stream", "topic", "object_id", "ra", "dec", "time", "match_method", "retraction", "target_id",
        "target__name", "separation_arcsec", "points", "summary",
    )  # fmt: skip

    @staticmethod
    def entry(row: Mapping[str, Any]) -> Entry:
        return Entry(
            row["created"], row["stream"], row["topic"], row["object_id"], _did(row),
            ra=row["ra"], dec=row["dec"], issued=row["time"], target=row["target_id"],
            target_name=row["target__name"] or "", separation=row["separation_arcsec"], points=row["points"],
            summary=row["summary"],
        )  # fmt: skip


class Rejections(Source):
    """Those that were rejected."""

    model = Rejection
    moment = "time"
    columns = ("time", "stream", "topic", "object_id", "code")

    @staticmethod
    def entry(row: Mapping[str, Any]) -> Entry:
        outcome = f"Rejected: {in_words(row['code'])}"
        return Entry(row["time"], row["stream"], row["topic"], row["object_id"], outcome, row["code"])


def _did(row: Mapping[str, Any]) -> str:
    method = MatchMethod(row["match_method"])
    if not row["retraction"]:
        return str(method.label)
    return "Retraction, before its event" if row["target_id"] is None else f"Retraction ({str(method.label).lower()})"


def read_page(alerts: Source | None, rejections: Source | None, place: Place, size: int) -> Page:
    """A page of both, in at most five queries.

    :param alerts: None: no alert is asked for.
    :param rejections: None: no rejection is asked for.
    """
    sources = {"alerts": alerts, "rejections": rejections}
    asked = {name: source for name, source in sources.items() if source is not None}
    if place.alerts is None or place.rejections is None:
        place = _newest_place(asked)
    belows = {"alerts": place.alerts or 0, "rejections": place.rejections or 0}
    read = {name: source.newest(size + 1, belows[name]) for name, source in asked.items()}
    # What one table has looked through reaches back so far only: older rows of the other have to wait for it. Its own need
    # not, so that a page always leads on, also where the clocks of two readers differ.
    horizon, first = max(((time, name) for name, (_, _, time) in read.items() if time is not None), default=(None, ""))
    ready = []
    for name, (rows, _, _) in read.items():
        found = [(entry, name, pk) for pk, entry in rows]
        if horizon is not None and name != first:
            found = list(itertools.takewhile(lambda one: one[0].time >= horizon, found))
        ready.append(found)
    # Each table keeps its order: what is left out of it is older, by its primary key, than what is shown.
    shown = list(heapq.merge(*ready, key=lambda one: one[0].time, reverse=True))
    full, shown = len(shown) > size, shown[:size]
    ends = dict(belows)
    for _, name, pk in shown:
        ends[name] = pk
    for name, (rows, look_on, _) in read.items():
        if look_on is not None and sum(of == name for _, of, _ in shown) == len(rows):
            ends[name] = look_on
    entries = [entry for entry, _, _ in shown]
    if not full and horizon is None:
        return Page(entries, None)
    return Page(entries, Place(**ends), None if full else horizon)


def _newest_place(sources: Mapping[str, Source]) -> Place:
    """Where the first page begins, in one query: as numbers, so that the database knows how little it has to read."""
    tops = [(name, top) for name, source in sources.items() for top in source.tops()]
    selects: list[str] = []
    params: list[Any] = []
    for _, top in tops:
        sql, some = top.query.sql_with_params()
        selects.append(f"({sql})")
        params += some
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(selects)}", params)
        found = cursor.fetchone()
    belows: dict[str, int] = {}
    for (name, top), pk in zip(tops, found, strict=True):
        if pk is not None:
            belows.setdefault(name, pk if top.query.where else pk + 1)
    return Place(belows.get("alerts", 0), belows.get("rejections", 0))
