"""Handlers of the proofs: one in each of the three ways to be called. Their effect is one row, without any unique key."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from tom_alertstreams.alerts import Alert
from tom_alertstreams.handlers import alert_handler, batch_handler

if TYPE_CHECKING:
    from tests.effects.models import Effect

#: A file of this name in TEST_GATE's folder: the handlers have been mended.
MENDED = "mended"


class Poisoned(Exception):
    """A handler cannot take this alert, before it is mended."""


def effect(alert: Alert) -> Effect:
    """The row, which knows the number that was sent. :raises Poisoned: the alert says so."""
    from tests.effects.models import Effect  # here: whoever drives a proof imports this module without Django

    content = alert.content
    if content.get("poison") and not (Path(os.environ["TEST_GATE"]) / MENDED).exists():
        raise Poisoned(f"alert {content['n']} cannot be taken")
    return Effect(topic=alert.topic, partition=alert.partition, offset=alert.offset, note=str(content["n"]))


def one(alert: Alert) -> None:
    """As written for 1.x: a plain insert."""
    effect(alert).save()


@alert_handler
def each(alert: Alert) -> None:
    """Gets one Alert; many share a transaction."""
    effect(alert).save()


@batch_handler
def many(alerts: list[Alert]) -> None:
    """Gets a list."""
    rows = [effect(alert) for alert in alerts]
    type(rows[0]).objects.bulk_create(rows)
