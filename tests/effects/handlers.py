"""Handlers of the tests. Each notes its call outside the database too, for what a transaction undoes must show there."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.db import IntegrityError, transaction

from tests.effects.models import Effect, OnlyOnce
from tests.secret import told_with
from tom_alertstreams.alerts import Alert, Outcome
from tom_alertstreams.handlers import alert_handler, batch_handler

#: Offsets of the calls, in order, whatever became of their transactions.
calls: list[int] = []
#: What a handler does with an alert before it writes: tests put their trouble here.
trouble: list[Callable[[Alert], Any]] = []


def reset() -> None:
    """Forget the calls of the test before."""
    calls.clear()
    trouble.clear()
    ahead_of.clear()
    _last_prepared[0] = -1


def meet_trouble(alert: Alert) -> Any:
    """Note the call, and do what the test asked for."""
    calls.append(alert.offset)
    return told_with(lambda: [do(alert) for do in trouble])


def write(alert: Alert, note: str = "") -> None:
    """The effect: one row."""
    Effect.objects.create(topic=alert.topic, partition=alert.partition, offset=alert.offset, note=note)


def one(alert: Alert) -> None:
    """As written for 1.x: no mark."""
    meet_trouble(alert)
    write(alert)


def write_then_trouble(alert: Alert) -> None:
    """As written for 1.x; what goes wrong goes wrong after the row is written."""
    write(alert)
    meet_trouble(alert)


@alert_handler
def each(alert: Alert) -> None:
    """Gets one Alert; many share a transaction."""
    write(alert, str(alert.content)[:100])
    meet_trouble(alert)


@alert_handler(cutouts=False)
def each_without_cutouts(alert: Alert) -> None:
    """The same of what is left of the content."""
    each(alert)


@batch_handler
def many(alerts: list[Alert]) -> None:
    """Gets a list."""
    for alert in alerts:
        write(alert)
        meet_trouble(alert)


@batch_handler
def judge(alerts: list[Alert]) -> list[Outcome]:
    """Answers for each alert what its content says."""
    outcomes = []
    for alert in alerts:
        calls.append(alert.offset)
        word = alert.content["say"]
        if word == "done":
            write(alert)
            outcomes.append(Outcome.done())
        elif word == "rejected":
            outcomes.append(Outcome.rejected("sky", "ZTF26aaaaaaa"))
        elif word == "retry":
            outcomes.append(Outcome.retry(0.05, "not yet"))
        else:
            outcomes.append(Outcome.failed(ValueError(word)))
    return outcomes


def prepare_lengths(alerts: list[Alert]) -> dict[int, int]:
    """What a look-up would find."""
    return {alert.offset: alert.size for alert in alerts}


@batch_handler(prepare=prepare_lengths)
def prepared(alerts: list[Alert], lengths: dict[int, int]) -> None:
    """Uses what ``prepare`` found."""
    for alert in alerts:
        write(alert, str(lengths[alert.offset]))


#: For each call of :func:`ahead`, whether the alerts after its own were prepared before it ended.
ahead_of: list[bool] = []
_prepared_up_to = threading.Condition()
_last_prepared = [-1]


def prepare_and_tell(alerts: list[Alert]) -> list[Alert]:
    """What is prepared belongs to these very envelopes."""
    with _prepared_up_to:
        _last_prepared[0] = max(_last_prepared[0], alerts[-1].offset)
        _prepared_up_to.notify_all()
    return alerts


@batch_handler(prepare=prepare_and_tell, ahead=True)
def ahead(alerts: list[Alert], prepared: list[Alert]) -> None:
    """Waits for those after it to be prepared: for ever, as far as a test is concerned, where that comes later only."""
    assert all(alert is other for alert, other in zip(alerts, prepared, strict=True))
    for alert in alerts:
        if "seen" in alert.content:  # of a call that was rolled back
            calls.append(-1)
        alert.content["seen"] = True
        write(alert)
        meet_trouble(alert)
    last = alerts[-1].offset
    with _prepared_up_to:
        is_last = alerts[-1].content.get("last", False)
        ahead_of.append(is_last or _prepared_up_to.wait_for(lambda: _last_prepared[0] > last, timeout=5))


def prepare_with_a_query(alerts: list[Alert]) -> int:
    """A look-up in the database itself, from a thread of its own."""
    return Effect.objects.count()


@batch_handler(prepare=prepare_with_a_query)
def prepared_with_a_query(alerts: list[Alert], found: int) -> None:
    """Uses the database before its transaction, and in it."""
    for alert in alerts:
        write(alert, str(found))


@dataclass(frozen=True)
class Threshold:
    """OPTIONS of :func:`above`."""

    min_rb: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.min_rb <= 1:
            raise ValueError("MIN_RB is a number from 0 to 1.")


@alert_handler(options=Threshold)
def above(alert: Alert, *, options: Threshold) -> Outcome | None:
    """A rule with an option."""
    if alert.content["rb"] < options.min_rb:
        return Outcome.rejected("filter")
    write(alert)
    return None


def new_style(alert: Any, alert_stream: Any, topic: str, **extras: Any) -> None:
    """As announced for 2.0."""
    write(alert, f"{alert_stream.settings.label} {topic} {sorted(extras)}"[:100])


def swallow(alert: Alert) -> None:
    """Swallows an IntegrityError: inside a transaction Django then drops what was written, silently."""
    calls.append(alert.offset)
    write(alert)
    with contextlib.suppress(IntegrityError):
        OnlyOnce(name="the same each time").save(force_insert=True)


def durable(alert: Alert) -> None:
    """Insists on a transaction of its own."""
    calls.append(alert.offset)
    with transaction.atomic(durable=True):
        write(alert)


def gated(alert: Alert) -> None:
    """Writes, tells that it is at work by a file ``at-work``, and goes on when there is a file ``go-on``."""
    folder = Path(os.environ["TEST_GATE"])
    write(alert)
    if alert.content.get("slow"):
        (folder / "at-work").touch()
        while not (folder / "go-on").exists():
            time.sleep(0.01)


def hard_working(alert: Alert) -> None:
    """Writes, tells that it is at work by a file ``at-work-OFFSET``, and works for as long as the alert says."""
    write(alert)
    (Path(os.environ["TEST_GATE"]) / f"at-work-{alert.offset}").touch()
    time.sleep(alert.content["work_s"])


def content(**values: Any) -> bytes:
    """A JSON message."""
    return json.dumps(values).encode()
