"""The life of a stream: what it is doing, for log lines and for the row that pages and monitors read."""

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, NamedTuple

from django import db
from django.utils import timezone

from tom_alertstreams.alerts import Alert
from tom_alertstreams.conf import StreamSettings
from tom_alertstreams.models import StreamRun

from .failures import clean, heal_connection
from .ledger import Tally
from .measures import Measures
from .offsets import Partition
from .source import Binding

#: Seconds between two writes of a StreamRun row while nothing changes.
HEARTBEAT_S = 10.0

_GAPS_KEPT = 100
_RATE_OVER_S = 5.0

State = StreamRun.State


class InHand(NamedTuple):
    """What a handler is working on."""

    binding: Binding
    alerts: Sequence[Alert]
    #: ``time.monotonic()`` at its start.
    since: float

    @property
    def limit_s(self) -> float:
        """HANDLER_TIMEOUT_S."""
        return self.binding.topic.delivery.handler_timeout_s

    def __str__(self) -> str:
        first, more = self.alerts[0].coordinates, len(self.alerts) - 1
        return f"{self.binding.handler.path} with {first}" + (f" and {more} more" if more else "")


@dataclass
class Status:
    """What a stream is doing now. Written by its thread, read by the supervisor."""

    label: str
    state: StreamRun.State = State.STARTING
    reason: str = ""
    whole: str = ""
    last_error: str = ""
    #: Partition → alerts not handled yet, as far as the broker has told.
    lags: dict[Partition, int] = field(default_factory=dict)
    #: Topic → dotted path of its handler, for the topics of which we have a partition; empty: none.
    handlers: dict[str, str] = field(default_factory=dict)
    #: Assigned partitions with a position: at least once True means the broker let us in.
    connected: bool = False
    tally: Tally = field(default_factory=Tally)
    measures: Measures = field(default_factory=Measures)
    in_hand: InHand | None = None
    #: ``time.monotonic()`` when the loop last went round or began an alert; None before its first turn.
    moved_at: float | None = None
    #: The StreamRun of this life, once it is written, and ``time.monotonic()`` when its heartbeat was written last.
    run_id: int | None = None
    beat_at: float | None = None
    #: Why the watchdog takes it for stuck; empty: it does not. Written by the watchdog.
    stuck: str = ""
    fuse_blown: bool | None = None
    gaps: list[dict[str, Any]] = field(default_factory=list)

    @property
    def lag(self) -> int | None:
        """Alerts not handled yet; None before the broker has told."""
        return sum(self.lags.values()) if self.lags else None

    @property
    def topics(self) -> dict[str, dict[str, Any]]:
        """Topic → its handler and its lag, as StreamRun keeps them."""
        topics: dict[str, dict[str, Any]] = {
            topic: {"handler": handler, "lag": None} for topic, handler in sorted(self.handlers.items())
        }
        for (topic, _), lag in self.lags.items():
            if topic in topics:
                topics[topic]["lag"] = (topics[topic]["lag"] or 0) + lag
        return topics

    def say(self, state: StreamRun.State, reason: str = "", whole: str = "") -> bool:
        """Note a state; True if it is news.

        :param reason: for everybody.
        :param whole: the reason with the words of the error, for staff; empty: there are no more.
        """
        news = (state, reason, whole) != (self.state, self.reason, self.whole)
        self.state, self.reason, self.whole = state, reason, whole
        if reason and state not in (State.STARTING, State.RUNNING, State.STOPPED):
            self.last_error = whole or reason
        return news

    def begin(self, binding: Binding, alerts: Sequence[Alert]) -> None:
        """A handler is called now."""
        self.moved_at = time.monotonic()
        self.in_hand = InHand(binding, alerts, self.moved_at)

    def end(self) -> None:
        """The handler has returned."""
        self.moved_at = time.monotonic()
        if self.in_hand is not None:
            self.measures.called(self.moved_at - self.in_hand.since)
        self.in_hand = None

    def note_gap(self, topic: str, partition: int, expected: int, found: int, reason: str) -> None:
        """Remember alerts that the broker does not have any more."""
        gap = {"topic": topic, "partition": partition, "expected": expected, "found": found, "reason": reason}
        self.gaps = [*self.gaps, {**gap, "time": timezone.now().isoformat()}][-_GAPS_KEPT:]


class RunRecord:
    """The StreamRun row of one life. A database that is away never stops a stream here: the row is written later."""

    def __init__(self, settings: StreamSettings, group_id: str, status: Status) -> None:
        self._status = status
        self._row = StreamRun(
            stream=settings.label,
            group_id=group_id[:255],
            host=socket.gethostname()[:255],
            pid=os.getpid(),
            version=version(),
            settings_fingerprint=settings_fingerprint(settings),
        )
        self._written_at = float("-inf")
        #: The thread's tally goes on from life to life.
        self._received_before = status.tally["received"]
        self._counted, self._counted_at = 0, time.monotonic()
        self._written_state: tuple[StreamRun.State, str] | None = None

    def beat(self, *, force: bool = False) -> None:
        """Write the row if its time has come or the state is news."""
        state = (self._status.state, self._status.reason)
        now = time.monotonic()
        if not force and state == self._written_state and now - self._written_at < HEARTBEAT_S:
            return
        self._row.heartbeat = timezone.now()
        self._row.state, self._row.lag = self._status.state, self._status.lag
        self._row.topics = self._status.topics
        self._count(now)
        self._row.reason = clean(self._status.reason, 10_000)
        self._row.last_error = clean(self._status.last_error, 10_000)
        self._row.fuse_blown, self._row.gaps = self._status.fuse_blown, self._status.gaps
        self._written_at, self._written_state = now, state
        try:
            self._row.save()
        except db.Error:
            heal_connection()
        else:
            self._status.run_id, self._status.beat_at = self._row.pk, now

    def _count(self, now: float) -> None:
        """Alerts so far, and how many a second, over a time long enough to tell it."""
        self._row.received = self._status.tally["received"] - self._received_before
        if now - self._counted_at >= _RATE_OVER_S:
            self._row.rate = (self._row.received - self._counted) / (now - self._counted_at)
            self._counted, self._counted_at = self._row.received, now

    def end(self) -> None:
        """The life is over."""
        self._row.ended = timezone.now()
        self.beat(force=True)


def fuse_is_blown(stream: str, group_id: str) -> bool:
    """Whether the last life of a stream ended by its fuse, or has not seen an alert succeed since."""
    lives = StreamRun.objects.filter(stream=stream, group_id=group_id[:255], fuse_blown__isnull=False)
    return bool(lives.order_by("-heartbeat", "-pk").values_list("fuse_blown", flat=True).first())


def version() -> str:
    """The version of this distribution."""
    try:
        return metadata.version("tom-alertstreams")
    except metadata.PackageNotFoundError:  # run from a source tree
        return "source"


def settings_fingerprint(settings: StreamSettings) -> str:
    """Changes when the settings of the stream do; secrets cannot be guessed from it, for it leaves the OPTIONS out."""
    topics = [
        (t.key, t.handler, t.atomic, t.on_error, t.delivery, sorted(map(repr, t.options.items())))
        for t in settings.topics
    ]
    return hashlib.sha256(repr((settings.label, settings.name, settings.delivery, topics)).encode()).hexdigest()[:16]
