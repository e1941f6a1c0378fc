"""Handlers that tests hold up: of processes by files, of threads by what is put into ``looking_up``."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.effects.handlers import write
from tom_alertstreams.alerts import Alert
from tom_alertstreams.exceptions import LookUpUnavailable
from tom_alertstreams.handlers import batch_handler

#: Files in the folder of TEST_GATE.
SERVICE, AT_WORK, GO_ON, HANGS = "service-is-up", "at-work", "go-on", "hangs"


def _file(name: str) -> Path:
    return Path(os.environ["TEST_GATE"]) / name


def _ask_the_service(alert: Alert) -> None:
    if alert.content.get("asks") and not _file(SERVICE).exists():
        raise LookUpUnavailable("the catalogue is down")


def asking_one(alert: Alert) -> None:
    """As written for 1.x: writes, then asks a service where the alert says so."""
    write(alert)
    _ask_the_service(alert)


@batch_handler
def asking_many(alerts: list[Alert]) -> None:
    """Gets a list."""
    for alert in alerts:
        write(alert)
        _ask_the_service(alert)


@batch_handler
def held_up(alerts: list[Alert]) -> None:
    """Writes its first half, tells that it is at work, and goes on when it may."""
    middle = (len(alerts) + 1) // 2
    for alert in alerts[:middle]:
        write(alert)
    _file(AT_WORK).touch()
    while not _file(GO_ON).exists():
        time.sleep(0.01)
    for alert in alerts[middle:]:
        write(alert)


#: What a look-up does.
looking_up: list[Callable[[list[Alert]], object]] = []


def look_up(alerts: list[Alert]) -> None:
    """Outside of any transaction."""
    for do in looking_up:
        do(alerts)


@batch_handler(prepare=look_up)
def looked_up(alerts: list[Alert], _found: None) -> None:
    """Writes who it was."""
    for alert in alerts:
        write(alert, alert.stream)


def look_up_and_hang(alerts: list[Alert]) -> None:
    """As without a time-out of its own; only the first call hangs."""
    if not _file(HANGS).exists():
        _file(HANGS).touch()
        threading.Event().wait()


@batch_handler(prepare=look_up_and_hang)
def hanging(alerts: list[Alert], _found: None) -> None:
    """Writes."""
    for alert in alerts:
        write(alert)
