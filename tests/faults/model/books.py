"""What must hold after every step: every alert below the stored offset has ended once, and none above it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from django.db import connection, models

from tests.effects.models import Effect
from tom_alertstreams.models import DeadLetter, OutcomeCount, Rejection, StreamPartition, StreamRun, SubscribedKey

from .fates import Coordinates
from .kafka import Kafka, Partition

_TABLES: tuple[type[models.Model], ...] = (
    Effect, DeadLetter, Rejection, StreamPartition, SubscribedKey, StreamRun, OutcomeCount,
)  # fmt: skip


def burn() -> None:
    """Empty the tables for the next example."""
    for table in _TABLES:
        table._default_manager.all().delete()


def _read(table: type[models.Model], *columns: str) -> list[Any]:
    """Rows in the order they were written; in plain SQL, for it is done after every step."""
    quote = connection.ops.quote_name
    names = ", ".join(quote(column) for column in columns)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {names} FROM {quote(table._meta.db_table)} ORDER BY id")
        return cursor.fetchall()


@dataclass
class Books:
    """The tables of one example."""

    kafka: Kafka
    #: Topics whose handler may run outside our transaction: at least once is what is promised there.
    at_least_once: Collection[str]
    #: Alerts that were to be kept at some time: they may come after later ones.
    kept: Collection[Coordinates]
    _stored: dict[Partition, int] = field(default_factory=dict)
    _waiting: bool = False

    def check(self) -> None:
        """:raises AssertionError: a promise is broken."""
        stored = {(t, n): at for t, n, at in _read(StreamPartition, "topic", "partition", "next_offset")}
        effects = _read(Effect, "topic", "partition", "offset")
        letters = _read(DeadLetter, "topic", "partition", "offset", "state")
        ends = Counter(effects)
        ends.update(letter[:3] for letter in letters)
        ends.update(_read(Rejection, "topic", "partition", "offset"))
        for partition, log in self.kafka.logs.items():
            at = stored.get(partition, 0)
            assert at >= self._stored.get(partition, 0), f"{partition} went back to {at}"
            assert at <= len(log), f"{partition} is at {at} of {len(log)}"
            self._check_ends(partition, at, ends)
            told = self.kafka.committed.get(partition)
            assert told is None or told.offset <= at, f"Kafka was told {told}, the database says {at}"
        self._check_order(effects)
        self._check_counts(sum(stored.values()), sum(letter[3] == "waiting" for letter in letters))
        self._stored, self._waiting = stored, any(letter[3] == "waiting" for letter in letters)

    def _check_ends(self, partition: Partition, stored: int, ends: Counter[Coordinates]) -> None:
        for offset in range(len(self.kafka.logs[partition])):
            found = ends[(*partition, offset)]
            if partition[0] in self.at_least_once:
                assert found or offset >= stored, f"{partition}@{offset} is lost; stored is {stored}"
            else:
                expected = int(offset < stored)
                assert found == expected, f"{partition}@{offset} ended {found} times; stored is {stored}"

    def _check_order(self, effects: list[Coordinates]) -> None:
        last: dict[Partition, int] = {}
        for topic, number, offset in effects:
            if topic in self.at_least_once or (topic, number, offset) in self.kept:
                continue
            before = last.get((topic, number), -1)
            assert before < offset, f"{topic}[{number}]: {offset} came after {before}"
            last[topic, number] = offset

    @staticmethod
    def _check_counts(stored: int, waiting: int) -> None:
        counted = sum(n for outcome, n in _read(OutcomeCount, "outcome", "n") if outcome != "waiting")
        assert counted + waiting == stored, f"{counted} counted and {waiting} waiting of {stored}"

    def drained(self) -> bool:
        """Everything produced had ended when last checked."""
        behind = any(self._stored.get(partition, 0) < len(log) for partition, log in self.kafka.logs.items())
        return not behind and not self._waiting
