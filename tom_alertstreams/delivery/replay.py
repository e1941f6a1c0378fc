"""Tries dead letters again, with the handler that their topic has now.

The same machinery as for alerts that wait: a letter is claimed by a lease, and what its handler writes commits in one
transaction with its new state. So however often, and by however many, a letter is replayed, it has its effect once. (A
handler that runs outside our transaction: at least once, as ever.)
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from django import db
from django.db.models import QuerySet

from tom_alertstreams.exceptions import ConfigurationError, NoHandler, PartitionLost, TransientError
from tom_alertstreams.models import DeadLetter
from tom_alertstreams.redaction import redact
from tom_alertstreams.signals import replayed

from .failures import heal_connection, unavailable
from .fuse import Fuse
from .ledger import Ledger, Tally
from .letters import chunks
from .preparing import Preparer
from .runner import Runner
from .runs import Status
from .source import AlertSource, Binding
from .waiting import ClaimedLetters
from .watchdog import longest_silence_s

#: Letters claimed at once, at most.
_AT_ONCE = 100
BUSY = "another process is trying them now, or has just settled them"


@dataclass
class ReplayReport:
    """How far a replay has come."""

    total: int
    #: done, rejected, waiting (for a later try) or dead (failed again) → letters.
    became: Tally = field(default_factory=Tally)
    #: Why letters were left as they were → how many.
    left: Counter[str] = field(default_factory=Counter)

    @property
    def finished(self) -> int:
        """Letters that need nothing more from this replay."""
        outcomes = ("done", "rejected", "waiting", "dead")
        return sum(self.became[outcome] for outcome in outcomes) + self.left.total()

    @property
    def all_well(self) -> bool:
        """Nothing failed again, and nothing was left for another reason than that somebody else has it."""
        return not self.became["dead"] and not set(self.left) - {BUSY}


def replay(
    letters: QuerySet[DeadLetter], find_source: Callable[[str], AlertSource]
) -> Generator[ReplayReport, None, None]:
    """Try these letters again, open or waiting. Nothing goes over the network but what handlers ask.

    Whoever stops to iterate stops the replay: what is in hand is rolled back or was committed.

    :param find_source: label → the stream, made from today's settings.
    :returns: the same report after each step, the first time before anything is tried.
    """
    wanted: dict[str, dict[str, list[int]]] = {}
    for stream, topic, pk in letters.order_by("stream", "topic", "pk").values_list("stream", "topic", "pk"):
        wanted.setdefault(stream, {}).setdefault(topic, []).append(pk)
    report = ReplayReport(sum(len(pks) for topics in wanted.values() for pks in topics.values()))
    yield report
    for label, topics in wanted.items():
        try:
            source = find_source(label)
        except ConfigurationError as error:
            report.left[redact(str(error))] += sum(map(len, topics.values()))
            yield report
        else:
            yield from _StreamReplay(source, report, letters).run(topics)


class _StreamReplay:
    """The letters of one stream."""

    def __init__(self, source: AlertSource, report: ReplayReport, letters: QuerySet[DeadLetter]) -> None:
        label, delivery = source.settings.label, source.settings.delivery
        self._source = source
        self._letters = letters
        self._report = report
        self._claimed = ClaimedLetters(source, longest_silence_s(source.settings))
        self._preparer = Preparer(label)
        self._runner = Runner(
            source,
            self._claimed,
            Ledger(label, "", "", report.became),  # a letter keeps the cluster and the group of its row
            self._preparer,
            Fuse(label, delivery, half_open=False),  # counts first tries only: here there are none
            Status(label),
            stopping=lambda: False,
        )

    def run(self, topics: Mapping[str, Sequence[int]]) -> Iterator[ReplayReport]:
        try:
            for topic, pks in topics.items():
                key = self._source.topic_keys.match(topic)
                binding = self._source.bindings.get(key) if key is not None else None
                if binding is None:
                    hint = "Add a key for it to TOPIC_HANDLERS."
                    reason = NoHandler(stream=self._source.settings.label, topic=topic, hint=hint)
                    self._report.left[str(reason)] += len(pks)
                    yield self._report
                else:
                    yield from self._topic(binding, pks)
        finally:
            replayed.send_robust(type(self._source), source=self._source)
            self._preparer.close()

    def _topic(self, binding: Binding, pks: Sequence[int]) -> Iterator[ReplayReport]:
        before = self._report.finished
        try:
            for some in chunks(pks, min(binding.topic.delivery.batch_size, _AT_ONCE)):
                yield from self._some(binding, set(some))
        except (TransientError, db.Error) as error:
            away = error if isinstance(error, TransientError) else unavailable(error)
            heal_connection()
            untried = len(pks) - (self._report.finished - before)
            self._report.left[f"{redact(str(away))} Nothing is lost: replay them later."] += untried
            yield self._report

    def _some(self, binding: Binding, untried: set[int]) -> Iterator[ReplayReport]:
        while untried:
            # Chosen as before: what somebody else has tried meanwhile may not be among them any more.
            rows = self._letters.filter(pk__in=untried).order_by("pk")
            alerts = self._claimed.take(rows, len(untried), binding.topic.delivery.batch_bytes)
            if not alerts:
                self._report.left[BUSY] += len(untried)
                yield self._report
                return
            try:
                while alerts:
                    pks = [self._claimed.previous(alert).pk for alert in alerts]
                    finished = self._runner.handle(binding, alerts)
                    untried.difference_update(pks[:finished])
                    # A handler may have had the others in hand in a transaction that was rolled back.
                    alerts = [alert.fresh() for alert in alerts[finished:]]
                    yield self._report
                    time.sleep(self._runner.lock_pause_s())
            except PartitionLost:
                continue  # somebody else has one of them: claim again what is free
            finally:
                self._claimed.release()
