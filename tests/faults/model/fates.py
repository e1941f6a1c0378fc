"""What is to become of an alert, call by call, and the handlers that do it, one for each way of being called."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from django import db
from django.db import IntegrityError, OperationalError, transaction

from tests.effects.handlers import write
from tests.effects.models import OnlyOnce
from tom_alertstreams.alerts import Alert, Outcome
from tom_alertstreams.alertstreams.kafka import KafkaAlertStream
from tom_alertstreams.exceptions import LookUpUnavailable, PermanentError, RejectAlert, RetryLater
from tom_alertstreams.handlers import alert_handler, batch_handler

Coordinates = tuple[str, int, int]

#: What becomes of one call after another; the last is for all that follow.
Words = tuple[str, ...]

#: What one call can meet. Whatever is not ``done`` is raised after the effect is written, so that it must be undone.
#: ``at first`` fails until the alert has waited.
WORDS: Final = (
    "done", "at first", "error", "reject", "later", "not for long", "permanent", "exit", "away", "deadlock", "server gone",
    "caught", "slow", "stop", "killed", "swallow", "durable",
)  # fmt: skip
#: Those that show the most, as often as they are to come.
FATES: Final[tuple[Words, ...]] = (
    *[("done",)] * 10,
    *[("error",), ("at first",), ("permanent",), ("away", "done"), ("away", "away", "done")] * 2,
    ("reject",), ("later",), ("not for long",), ("exit",), ("undecodable",), ("tombstone",),
    ("error", "done"), ("error", "error", "done"), ("error", "away", "at first"), ("later", "done"),
    ("deadlock", "done"), ("deadlock",), ("server gone", "done"),
    ("slow", "done"), ("stop", "done"), ("error", "killed", "done"),
    ("caught",), ("swallow",), ("swallow", "done"), ("durable",), ("durable", "done"),
)  # fmt: skip
#: These bytes are never a handler's.
VALUES: Final[Mapping[str, bytes | None]] = {"undecodable": b"\xff", "tombstone": None}
#: After these a 1.x handler runs outside our transaction: at least once.
OUTSIDE: Final = frozenset({"swallow", "durable"})
#: What does not happen any more when all faults have ended.
_FAULTS: Final = frozenset({"away", "deadlock", "server gone", "slow", "stop", "killed"})


class Surroundings(Protocol):
    """What fates happen to."""

    def called(self) -> None:
        """A handler is called with an alert; may raise."""

    def die(self) -> None:
        """The process ends here."""

    def stop(self) -> None:
        """The process is asked to stop."""

    def work(self, seconds: float) -> None:
        """The handler takes its time."""

    def opened(self, *, again: bool) -> None:
        """An alert is made ready, outside of any transaction; other processes may have a turn.

        :param again: it has waited.
        """


@dataclass
class Fates:
    """The fates of all alerts, and how often each was called."""

    surroundings: Surroundings
    words: dict[Coordinates, Words] = field(default_factory=dict)
    calls: Counter[Coordinates] = field(default_factory=Counter)
    #: Alerts that were to be kept at some time, to be tried again or not.
    kept: set[Coordinates] = field(default_factory=set)
    #: All faults have ended.
    calm: bool = False
    #: Every handler is mended, and the decoder too.
    mended: bool = False

    def next_word(self, alert: Alert) -> str:
        """What this call meets; the last word is for all that follow."""
        at = _coordinates(alert)
        words = self.words[at]
        word = words[min(self.calls[at], len(words) - 1)]
        self.calls[at] += 1
        self.surroundings.called()
        if word == "at first":
            word = "done" if at in self.kept else "error"
        return "done" if self.mended or (self.calm and word in _FAULTS) else word


#: Those of the example that runs; there is none before the first.
current: Fates = None  # type: ignore[assignment]


class ModelStream(KafkaAlertStream):
    """The generic stream, which tells when an alert is opened."""

    def decode(self, alert: Alert) -> Any:
        """As ever; a 1.x handler may also do so inside its transaction."""
        if not db.connection.in_atomic_block:
            current.surroundings.opened(again=_coordinates(alert) in current.kept)
        return {} if current.mended else super().decode(alert)

    def handler_arguments(self, alert: Alert) -> tuple[Any, ...]:
        """As ever."""
        current.surroundings.opened(again=_coordinates(alert) in current.kept)
        return super().handler_arguments(alert)


def one(alert: Alert) -> None:
    """As written for 1.x."""
    meet(alert, current.next_word(alert))
    _ = alert.content


@alert_handler
def each(alert: Alert) -> None:
    """Gets one Alert."""
    meet(alert, current.next_word(alert))


@batch_handler
def many(alerts: list[Alert]) -> None:
    """Gets a list."""
    for alert in alerts:
        meet(alert, current.next_word(alert))


@batch_handler
def answers(alerts: list[Alert]) -> list[Outcome]:
    """Gets a list, and answers for each where it can."""
    return [_answer(alert, current.next_word(alert)) for alert in alerts]


def _answer(alert: Alert, word: str) -> Outcome:
    given = {
        "reject": Outcome.rejected("sky", "ZTF26aaaaaaa"),
        "later": Outcome.retry(5.0, "not yet"),
        "not for long": Outcome.retry(5.0, "not yet", give_up_after_s=8.0),
        "error": Outcome.failed(ValueError("this alert")),
        "permanent": Outcome.failed(PermanentError("this alert")),
    }
    if word in given:
        return given[word]
    meet(alert, word)
    return Outcome.done()


def meet(alert: Alert, word: str) -> None:
    """Write the effect, and then do what the word says."""
    if word == "durable":
        with transaction.atomic(durable=True):
            write(alert)
        return
    write(alert)
    if error := _error(word):
        raise error
    match word:
        case "swallow":
            with contextlib.suppress(IntegrityError):
                OnlyOnce(name="there already").save(force_insert=True)
        case "caught":
            with contextlib.suppress(IntegrityError), transaction.atomic():
                OnlyOnce(name="there already").save(force_insert=True)
        case "slow":
            current.surroundings.work(1.5)
        case "stop":
            current.surroundings.stop()
        case "killed":
            current.surroundings.die()


def _error(word: str) -> BaseException | None:
    match word:
        case "error":
            return ValueError("this alert")
        case "reject":
            return RejectAlert("sky", "ZTF26aaaaaaa")
        case "later":
            return RetryLater(5.0)
        case "not for long":
            return RetryLater(5.0, give_up_after_s=8.0)
        case "permanent":
            return PermanentError("this alert")
        case "exit":
            return SystemExit(3)
        case "away":
            return LookUpUnavailable()
        case "deadlock":
            return database_error("busy")
        case "server gone":
            return database_error("away")
    return None


_CODES: Final = {"away": 10, "busy": 5}


def database_error(kind: str) -> db.Error:
    """An error as Django raises it: the server is away, two transactions met (busy), or a constraint is broken."""
    if kind not in _CODES:
        return IntegrityError("FOREIGN KEY constraint failed")
    cause = sqlite3.OperationalError(kind)
    cause.sqlite_errorcode = _CODES[kind]  # judged alike on every database
    error = OperationalError(kind)
    error.__cause__ = cause
    return error


def _coordinates(alert: Alert) -> Coordinates:
    return alert.topic, alert.partition, alert.offset
