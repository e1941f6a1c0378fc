"""Everything of one example: the broker, the processes, what the alerts meet, and the books."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from django.db.models.signals import post_save
from django.utils import timezone

from tom_alertstreams.alertstreams.alertstream import get_alert_streams
from tom_alertstreams.delivery import broker_errors, intake, loop, runner, runs
from tom_alertstreams.delivery.loop import DeliveryLoop
from tom_alertstreams.delivery.source import Control
from tom_alertstreams.models import DeadLetter

from . import fates
from .books import Books, burn
from .clock import Clock, Stopping
from .fates import OUTSIDE, VALUES, Fates, Words
from .faults import Faults
from .kafka import Kafka, Partition, Record
from .process import Process

PARTITIONS: tuple[Partition, ...] = (("a", 0), ("a", 1), ("b", 0))
PROCESSES = 2
#: Turns in which everything must have ended once all faults have.
_ENOUGH_TURNS = 150


@dataclass(frozen=True)
class Setup:
    """What differs from one example to the next."""

    #: Topic → name of the handler in :mod:`.fates`.
    handlers: dict[str, str]
    batch_size: int = 4
    #: MAX_CONSECUTIVE_FAILURES; 0 is off.
    fuse: int = 0
    on_error: str = "dead_letter"
    #: Handlers of 1.x may turn out to need their own transactions.
    outside: bool = False
    #: In the end the handlers are mended too; with a fuse they have to be.
    mended: bool = False

    @property
    def entry(self) -> dict[str, Any]:
        """The entry of ALERT_STREAMS."""
        topics = {
            topic: {"HANDLER": f"tests.faults.model.fates.{handler}", "ON_ERROR": self.on_error}
            for topic, handler in self.handlers.items()
        }
        return {
            "NAME": "tests.faults.model.fates.ModelStream",
            "LABEL": "model",
            "OPTIONS": {"BOOTSTRAP_SERVERS": "nowhere", "GROUP_ID": "model", "TOPIC_HANDLERS": topics},
            "DELIVERY": {
                "BATCH_SIZE": self.batch_size,
                "PREPARE_TIMEOUT_S": 8,
                "HANDLER_TIMEOUT_S": 1,  # with BATCH_SECONDS, leases of 20 s
                "MAX_CONSECUTIVE_FAILURES": self.fuse,
                "MAX_FAILURE_SHARE": 0,
                "REJECTIONS_DAYS": 10_000,  # their times are not of the virtual clock
                "RETRY": {"TOTAL": 3, "MIN_WAIT_S": 1, "MAX_WAIT_S": 4, "BACKOFF": 2},
            },
        }


class World:
    """One example."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.clock, self.faults = Clock(), Faults()
        self.kafka = Kafka(PARTITIONS, self.clock, self.faults.point)
        self.fates = Fates(self)
        self.processes: list[Process] = []
        self._at_work: Process | None = None
        self._news = True
        self.books = Books(self.kafka, self._at_least_once(), self.fates.kept)

    def _at_least_once(self) -> Collection[str]:
        return {t for t, handler in self.setup.handlers.items() if handler == "one"} if self.setup.outside else ()

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Everything of the product that asks for the time, the database or a broker asks this world."""

        def note(instance: DeadLetter, **_kwargs: Any) -> None:
            self.fates.kept.add((instance.topic, instance.partition, instance.offset))

        burn()
        fates.current = self.fates
        with self.faults.installed(), pytest.MonkeyPatch.context() as patch:
            for module in (loop, intake, runner, runs, broker_errors):
                patch.setattr(module, "time", self.clock)
            patch.setattr(timezone, "now", self.clock.now)
            patch.setattr(intake, "Consumer", self.kafka.consumer)
            patch.setattr(loop, "_LONGEST_PAUSE_S", 1.0)
            post_save.connect(note, sender=DeadLetter)
            try:
                yield
            finally:
                post_save.disconnect(note, sender=DeadLetter)

    # --- what fates do (Surroundings) ------------------------------------------------------------------------------

    def called(self) -> None:
        """A handler is called with an alert."""
        self.faults.called()

    def die(self) -> None:
        """The process that is at work ends here."""
        self.faults.die()

    def stop(self) -> None:
        """The process that is at work is asked to stop."""
        assert self._at_work is not None
        self._at_work.stop()

    def work(self, seconds: float) -> None:
        """The handler takes its time."""
        self.clock.wait(seconds)

    def opened(self, *, again: bool) -> None:
        """Now and then time enough for a lease to run out passes, and the other process has a turn."""
        others = [process for process in self.living if process is not self._at_work]
        if not self.faults.opened(again=again) or not others:
            return
        self.clock.wait(25.0)
        at_work, self._at_work = self._at_work, others[0]
        try:
            others[0].meanwhile()
        finally:
            self._at_work = at_work

    # --- what the model does ---------------------------------------------------------------------------------------

    def produce(self, partition: Partition, alerts: Sequence[Words]) -> None:
        """Append alerts with these fates."""
        log = self.kafka.logs[partition]
        inside = self.setup.handlers[partition[0]] == "one" and not self.setup.outside
        for words in alerts:
            if inside:
                words = tuple("error" if word in OUTSIDE else word for word in words)
            self.fates.words[(*partition, len(log))] = words
            log.append(Record(VALUES.get(words[0], b'{"n": 1}')))

    @property
    def living(self) -> list[Process]:
        """The processes that run."""
        return [process for process in self.processes if process.alive]

    def start(self) -> None:
        """Start one more process."""
        self._bury()
        self._news, self.processes = True, [*self.living, Process(self.setup.entry, self.clock, self.faults)]

    def turn(self, number: int, **how: Any) -> None:
        """A turn of one of the processes that run."""
        self._news = True
        if living := self.living:
            self._at_work = living[number % len(living)]
            self._at_work.turn(**how)

    def stop_one(self, number: int) -> None:
        """Ask one of the processes that run to stop."""
        if living := self.living:
            living[number % len(living)].stop()

    def check(self) -> None:
        """Look at the books, if anything can have changed since the last time."""
        if self._news:
            self.books.check()
            self._news = False

    def rebalance(self, owners: Mapping[Partition, int | None], kind: str, polls: Sequence[int]) -> None:
        """The group shares its partitions anew.

        :param owners: partition → one of the processes that run; None is nobody for now.
        """
        self._bury()
        if count := len(self.kafka.members):
            given = {partition: owner % count for partition, owner in owners.items() if owner is not None}
            self.kafka.rebalance(given, kind=kind, polls=polls)

    def _bury(self) -> None:
        """The sessions of the dead time out."""
        living = [process.member for process in self.living]
        self.kafka.members = [member for member in self.kafka.members if member in living]

    def drain(self) -> None:
        """All faults end; then everything must end, and a last run finds nothing to do."""
        self.faults.end()
        self.kafka.silent = 0
        self.fates.calm, self.fates.mended = True, self.setup.mended or self.setup.fuse > 0
        living = [process.member for process in self.living]
        if all(any(partition in member.given for member in living) for partition in PARTITIONS):
            self._settle()  # nobody helps
        for partition in PARTITIONS:
            self.produce(partition, [("done",)] * self.setup.batch_size)
        for number in range(len(self.living)):
            self.turn(number)
        # While much is held, to others than at first: nobody may sit on what is no longer his.
        self._bury()
        self.kafka.deal(1)
        self._settle()
        self.books.check()
        with self.faults.suspended():
            stream = get_alert_streams([self.setup.entry])[0]
            DeliveryLoop(stream, Control(once=True, stopping=Stopping(self.clock))).run()  # type: ignore[arg-type]
        self.books.check()

    def _settle(self) -> None:
        """Turns until everything has ended. :raises AssertionError: that takes too many."""
        for _ in range(_ENOUGH_TURNS):
            if self.books.drained():
                return
            if not self.living:
                self.start()  # the supervisor does
            for number in range(len(self.living)):
                self.turn(number)
            self.clock.wait(6.0)
            self.books.check()
        raise AssertionError(f"not everything ends within {_ENOUGH_TURNS} turns")
