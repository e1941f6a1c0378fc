"""From the content of an alert to :class:`~tom_alertstreams.ingest.reports.TargetReport`\\ s, one module per format.

A parser is a pair of functions: ``recognises(content)`` looks at the shape, ``parse(alert, content, options)`` reads
it. They touch neither database nor network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from tom_alertstreams.alerts import Alert
from tom_alertstreams.exceptions import DecodeError, RejectAlert
from tom_alertstreams.ingest.options import IngestOptions
from tom_alertstreams.ingest.reports import TargetReport

from . import circular, columns, elasticc, gcn_notice, hermes, lsst, text_notice, voevent, ztf
from .values import text


@dataclass(frozen=True)
class Parser:
    """One format."""

    name: str
    recognises: Callable[[Any], bool]
    parse: Callable[[Alert, Any, IngestOptions], list[TargetReport]]


def _is_gravitational_wave(content: object) -> bool:
    return isinstance(content, Mapping) and "superevent_id" in content


def _parse_gravitational_wave(alert: Alert, content: Mapping[str, Any], options: IngestOptions) -> list[TargetReport]:
    """An event known by its sky map only is no Target; tom_nonlocalizedevents takes these."""
    raise RejectAlert("nonlocalised", text(content.get("superevent_id")))


#: Asked in this order; the first that recognises the content reads it.
PARSERS: Final[tuple[Parser, ...]] = (
    Parser("ZTF packet", ztf.recognises, ztf.parse),
    Parser("LSST packet", lsst.recognises, lsst.parse),
    Parser("ELAsTiCC packet", elasticc.recognises, elasticc.parse),
    Parser("LVK notice", _is_gravitational_wave, _parse_gravitational_wave),
    Parser("Hermes message", hermes.recognises, hermes.parse),
    Parser("GCN circular", circular.recognises, circular.parse),
    Parser("GCN text notice", text_notice.recognises, text_notice.parse),
    Parser("GCN notice", gcn_notice.recognises, gcn_notice.parse),
    Parser("VOEvent", voevent.recognises, voevent.parse),
)

_BY_DEFAULT: Final = IngestOptions()


def parse(alert: Alert, options: IngestOptions = _BY_DEFAULT) -> list[TargetReport]:
    """What the alert says, one report per object.

    :param options: of which FIELDS, DETECTION_SNR and HISTORY_DAYS say how it is read.
    :raises RejectAlert: it is not about something that can become a Target; the code says why.
    :raises DecodeError: it is empty, or its XML cannot be read.
    """
    content = plain_content(alert, options)
    if content is None or (isinstance(content, str | bytes) and not content.strip()):
        raise DecodeError("The alert is empty.")
    records = content if isinstance(content, list | tuple) else [content]
    reports: list[TargetReport] = []
    rejection: RejectAlert | None = None
    for record in records:
        try:
            reports += _parse_record(alert, record, options)
        except RejectAlert as error:
            rejection = rejection or error
    if not reports:
        raise rejection or RejectAlert("unsupported")
    reports = _merged(reports) if len(reports) > 1 else reports
    return reports if options.history_days is None else [_recent(report, options.history_days) for report in reports]


def _merged(reports: list[TargetReport]) -> list[TargetReport]:
    """One report for each object and alert id: a list of records may be one light curve."""
    merged: dict[tuple[str, str], TargetReport] = {}
    for report in reports:
        key = (report.object_id, report.alert_id)
        if key in merged:
            first = merged[key]
            report = replace(
                first,
                photometry=first.photometry + report.photometry,
                classifications=first.classifications + report.classifications,
            )
        merged[key] = report
    return list(merged.values())


def _parse_record(alert: Alert, content: Any, options: IngestOptions) -> list[TargetReport]:
    if options.fields is not None:
        return columns.parse(alert, content, options)
    for parser in PARSERS:
        if parser.recognises(content):
            return parser.parse(alert, content, options)
    raise RejectAlert("unsupported")


def _recent(report: TargetReport, days: float) -> TargetReport:
    """The report without the points that are so many days older than its newest; what is withdrawn stays."""
    if not report.photometry:
        return report
    first = max(point.time for point in report.photometry) - timedelta(days=days)
    return replace(
        report, photometry=tuple(point for point in report.photometry if point.withdrawn or point.time >= first)
    )


def plain_content(alert: Alert, options: IngestOptions = _BY_DEFAULT) -> Any:
    """The content as dict, text or bytes, out of hop's models and out of a list of one record.

    :param options: with FIELDS, a dict is what it says, also where a column is called as the id of a VOEvent.
    """
    content = alert.content
    if type(content) is dict and (options.fields is not None or "ivorn" not in content):
        return content
    if hasattr(content, "ivorn") or (isinstance(content, Mapping) and "ivorn" in content):
        return getattr(content, "_raw", alert.raw)  # hop's VOEvent, as a model or a dict: the XML says it better
    if hasattr(content, "header") and hasattr(content, "body"):
        return {"header": content.header, "body": content.body}
    if hasattr(content, "fields") and hasattr(content, "raw"):
        content = content.raw  # a text notice
    elif hasattr(content, "content"):
        content = content.content
    if isinstance(content, list | tuple) and len(content) == 1:
        return content[0]  # Avro from Hopskotch wraps a single record in a list
    return content
