"""Alerts as a step gets them: dicts of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tom_alertstreams.alerts import Alert
from tom_alertstreams.exceptions import PermanentError


def messages_of(alerts: Sequence[Alert], *, add_topic: bool = False) -> list[list[dict[str, Any]] | PermanentError]:
    """The records of each alert, with its time in ``timestamp`` (milliseconds), as APF's consumer adds it.

    A field of that name in the alert stays as it is; APF overwrote it. What is no record, as the text of a notice, is a
    failure of that alert alone.

    :param add_topic: put the topic into ``topic``: ADD_TOPIC of CONSUMER_CONFIG.
    """
    messages: list[list[dict[str, Any]] | PermanentError] = []
    for alert in alerts:
        content = alert.content
        records = [content] if type(content) is dict else records_of(content)
        if records is None:
            messages.append(_no_record(alert))
            continue
        found = [dict(record) for record in records]
        for message in found:
            if alert.timestamp is not None and "timestamp" not in message:
                message["timestamp"] = round(alert.timestamp.timestamp() * 1000)
            if add_topic:
                message["topic"] = alert.topic
        messages.append(found)
    return messages


def records_of(content: Any) -> Sequence[Mapping[str, Any]] | None:
    """Out of hop's models, and out of a list, as a container with several records is read."""
    if not isinstance(content, Mapping) and hasattr(content, "content"):
        content = content.content
    records = content if isinstance(content, (list, tuple)) else [content]
    return records if records and all(isinstance(record, Mapping) for record in records) else None


def _no_record(alert: Alert) -> PermanentError:
    return PermanentError(
        f"The alert is {type(alert.content).__name__}, and a step takes dicts.",
        hint="Give the step only topics whose alerts are records: JSON or Avro.",
    )
