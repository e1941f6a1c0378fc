"""What became of the alerts of one run: the difference that it made in the database."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from django.db import connection
from django.db.models import Count, F, Max, Q, Sum

from tom_alertstreams.delivery.runs import Status
from tom_alertstreams.ingest.models import MatchMethod, TargetAlert
from tom_alertstreams.models import DeadLetter, OutcomeCount

#: A label of ALERT_STREAMS and a topic.
Place = tuple[str, str]

_POLL_S = 0.05
_HEAD = (
    "stream", "topic", "received", "targets created", "targets updated", "photometry points", "rejected",
    "dead letters", "alerts/s", "rejected because",
)  # fmt: skip
#: Columns of text; the others are numbers, set to the right.
_TEXTS = (0, 1, len(_HEAD) - 1)


@dataclass
class Row:
    """One topic."""

    received: int = 0
    created: int = 0
    updated: int = 0
    points: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    dead: int = 0
    #: From the moment the stream was given its partitions to the last alert of this topic.
    seconds: float = 0.0

    def __add__(self, other: Row) -> Row:
        return Row(
            self.received + other.received,
            self.created + other.created,
            self.updated + other.updated,
            self.points + other.points,
            self.rejected + other.rejected,
            self.dead + other.dead,
            max(self.seconds, other.seconds),
        )

    def cells(self, *names: str) -> tuple[str, ...]:
        """As shown."""
        numbers = (
            self.received, self.created, self.updated, self.points, sum(self.rejected.values()), self.dead,
            round(self.received / max(self.seconds, _POLL_S)),
        )  # fmt: skip
        reasons = ", ".join(f"{code} {n}" for code, n in sorted(self.rejected.items(), key=lambda x: (-x[1], x[0])))
        return (*names, *(f"{number:,}" for number in numbers), reasons)


class Run:
    """Watches one run while it is entered; afterwards :meth:`table` says what came of it."""

    def __init__(self, statuses: Sequence[Status], show: Callable[[int], None]) -> None:
        """
        :param statuses: what the streams say of themselves.
        :param show: called with the number of alerts received so far, from a thread of its own.
        """
        self._statuses = statuses
        self._show = show
        self._outcomes = dict(_outcomes())
        self._newest_alert = _newest(TargetAlert)
        self._newest_letter = _newest(DeadLetter)
        self._began: dict[str, float] = {}
        self._last: dict[Place, tuple[int, float]] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="demo-summary")

    def __enter__(self) -> Run:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()

    def _watch(self) -> None:
        try:
            while not self._stopping.wait(_POLL_S):
                self._look()
            self._look()
        finally:
            connection.close()

    def _look(self) -> None:
        """Note when streams began, and when each topic was last heard of."""
        now = time.monotonic()
        for status in self._statuses:
            if status.connected:
                self._began.setdefault(status.label, now)
        for place, received in self._receipts().items():
            if received != self._last.get(place, (0, 0.0))[0]:
                self._last[place] = (received, now)
        self._show(self.received)

    @property
    def received(self) -> int:
        """Alerts so far, of all streams."""
        return sum(status.tally["received"] for status in self._statuses)

    def _receipts(self) -> Counter[Place]:
        found: Counter[Place] = Counter()
        for (stream, topic, outcome, _), n in self._new_outcomes():
            if outcome != "waiting":
                found[stream, topic] += n
        return found

    def _new_outcomes(self) -> Iterator[tuple[tuple[str, str, str, str], int]]:
        for key, n in _outcomes():
            if n > self._outcomes.get(key, 0):
                yield key, n - self._outcomes.get(key, 0)

    # --- afterwards ----------------------------------------------------------------------------------------------------

    def rows(self) -> dict[Place, Row]:
        """What became of the alerts, by topic."""
        rows: defaultdict[Place, Row] = defaultdict(Row)
        for place, received in self._receipts().items():
            rows[place].received = received
            rows[place].seconds = self._took(place)
        for (stream, topic, outcome, code), n in self._new_outcomes():
            if outcome == "rejected":
                rows[stream, topic].rejected[code] += n
        letters = DeadLetter.objects.filter(pk__gt=self._newest_letter)
        for stream, topic, state, n in letters.values_list("stream", "topic", "state").annotate(n=Count("pk")):
            rows[stream, topic].dead += n if state == DeadLetter.State.OPEN else 0
            rows[stream, topic].received += n if state == DeadLetter.State.WAITING else 0
        created = Q(match_method=MatchMethod.CREATED)
        alerts = TargetAlert.objects.filter(pk__gt=self._newest_alert).values_list("stream", "topic")
        for stream, topic, made, updated, points in alerts.annotate(
            made=Count("target", filter=created, distinct=True),
            updated=Count("target", filter=~created, distinct=True),
            brought=Sum("points"),
        ):
            row = rows[stream, topic]
            row.created, row.updated, row.points = made, updated, points or 0
        return dict(sorted(rows.items()))

    def _took(self, place: Place) -> float:
        if place not in self._last or place[0] not in self._began:
            return 0.0
        return self._last[place][1] - self._began[place[0]]

    def table(self) -> str:
        """One line per topic, and their sum."""
        rows = self.rows()
        total = sum(rows.values(), Row())
        lines = [_HEAD, *(row.cells(*place) for place, row in rows.items()), total.cells("all", "")]
        return _aligned(lines)


def _newest(model: type[TargetAlert | DeadLetter]) -> int:
    newest: int | None = model._default_manager.aggregate(newest=Max("pk"))["newest"]
    return newest or 0


def _outcomes() -> Iterator[tuple[tuple[str, str, str, str], int]]:
    rows = OutcomeCount.objects.order_by().values_list("stream", "topic", "outcome", "code").annotate(total=Sum(F("n")))
    for *key, n in rows:
        yield tuple(key), n


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    """Columns side by side; the head in two lines, so that numbers stay close together."""
    first = [head.rpartition(" ")[0] if n not in _TEXTS else "" for n, head in enumerate(lines[0])]
    second = [head.rpartition(" ")[2] if n not in _TEXTS else head for n, head in enumerate(lines[0])]
    body = [first, second, *lines[1:-1], lines[-1]]
    widths = [max(len(line[n]) for line in body) for n in range(len(_HEAD) - 1)] + [0]
    shown = [
        "  ".join(
            cell.ljust(width) if n in _TEXTS else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in body
    ]
    rule = "-" * len(shown[1])
    return "\n".join([*shown[:2], rule, *shown[2:-1], rule, shown[-1]])
