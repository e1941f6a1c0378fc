"""Handlers that do nothing. Those that write are samples of docs/how-to/fast-handlers.md: see bench.py."""

from __future__ import annotations

import json
from typing import Any

from tom_alertstreams.alerts import Alert
from tom_alertstreams.handlers import alert_handler, batch_handler


def nothing(message: Any) -> None:
    """A 1.x handler that does nothing with the alert but look at it."""
    json.loads(message.value())


@alert_handler
def look(alert: Alert) -> None:
    """Nothing, of each."""
    _ = alert.content


@batch_handler
def look_at_all(alerts: list[Alert]) -> None:
    """Nothing, of all."""
    for alert in alerts:
        _ = alert.content


@batch_handler(cutouts=False)
def look_without_cutouts(alerts: list[Alert]) -> None:
    """Nothing, of all, but of packets without their images."""
    for alert in alerts:
        _ = alert.content
