"""What the streams of settings.py would do: for ``checkstreams``, which imports handlers and makes streams."""

from __future__ import annotations

from dataclasses import dataclass

from django.core.exceptions import ImproperlyConfigured

from tom_alertstreams.conf import Finding

from .alertstream import AlertStream, make_streams
from .kafka import KafkaAlertStream


@dataclass(frozen=True)
class KeyReport:
    """One key of TOPIC_HANDLERS."""

    key: str
    handler: str
    #: How the handler is called, in words.
    called: str


@dataclass(frozen=True)
class StreamReport:
    """One stream that can start."""

    label: str
    name: str
    group_id: str
    start: str
    keys: tuple[KeyReport, ...]


def inspect_streams() -> tuple[list[StreamReport], list[Finding]]:
    """The streams that can start, and what is wrong with the others."""
    streams, findings = make_streams()
    reports = []
    for stream in streams:
        try:
            reports.append(_report(stream))
        except ImproperlyConfigured as error:
            findings.append(Finding("W004", str(error), "Check your ALERT_STREAMS setting.", stream.settings.label))
    return reports, findings


def _report(stream: AlertStream) -> StreamReport:
    if not isinstance(stream, KafkaAlertStream):
        keys = tuple(
            KeyReport(topic.key, topic.handler, "by the stream's own listen()") for topic in stream.settings.topics
        )
        return StreamReport(stream.settings.label, stream.settings.name, "", "", keys)
    keys = tuple(
        KeyReport(
            key, binding.handler.path, binding.handler.style.value + ("" if binding.topic.atomic else ", outside")
        )
        for key, binding in stream.bindings.items()
    )
    return StreamReport(stream.settings.label, stream.settings.name, stream.group_id, stream.start, keys)
