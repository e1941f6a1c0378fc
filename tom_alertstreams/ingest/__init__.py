"""Alerts become Targets with light curves. :func:`write` is for handlers of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tom_alertstreams.alerts import Alert, Outcome

    from .handlers import Reports
    from .options import IngestOptions


def write(reports: Reports, alerts: Sequence[Alert], options: IngestOptions) -> list[Outcome]:
    """:func:`tom_alertstreams.ingest.handlers.ingest_reports`, under a short name."""
    from .handlers import ingest_reports  # needs the models, which are not loaded yet when Django imports this

    return ingest_reports(reports, alerts, options)
