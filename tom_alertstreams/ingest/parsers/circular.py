"""GCN circulars, which report in prose: they are recognised, and counted as having no position."""

from __future__ import annotations

from collections.abc import Mapping

from tom_alertstreams.alerts import Alert
from tom_alertstreams.exceptions import RejectAlert
from tom_alertstreams.ingest.options import IngestOptions
from tom_alertstreams.ingest.reports import TargetReport

from .values import mapping, text


def recognises(content: object) -> bool:
    """A circular as GCN's JSON, as hop's model, or as the e-mail it once was."""
    if isinstance(content, Mapping):
        return "circularId" in content or ("body" in content and "number" in mapping(content.get("header")))
    if isinstance(content, str):
        head = content.lstrip()[:2000]
        return head.startswith("TITLE:") and "\nNUMBER:" in head and "\nSUBJECT:" in head
    return False


def parse(alert: Alert, content: object, options: IngestOptions) -> list[TargetReport]:
    """Positions in prose are not read.

    :raises RejectAlert: always, ``no_position``, with the event where the circular names it.
    """
    raise RejectAlert("no_position", text(mapping(content).get("eventId")))
