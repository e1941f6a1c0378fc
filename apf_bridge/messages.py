"""Alerts as a step gets them: dicts of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tom_alertstreams.alerts import Alert
from tom_alertstreams.exceptions import PermanentError


def messages_of(alerts: Sequence[Alert], *, add_topic: bool = False) -> list[dict[str, Any] | PermanentError]:
    """The content of each alert, with its time in ``timestamp`` (milliseconds), as APF's consumer adds it.

    A field of that name in the alert stays as it is; APF overwrote it. What is no record, as the text of a notice, is a
    failure of that alert alone.

    :param add_topic: put the topic into ``topic``: ADD_TOPIC of CONSUMER_CONFIG.
    """
    messages: list[dict[str, Any] | PermanentError] = []
    for alert in alerts:
        content = alert.content
        if type(content) is not dict:
            content = _record(content)
        if content is None:
            messages.append(_no_record(alert))
            continue
        message = dict(content)
        if alert.timestamp is not None and "timestamp" not in message:
            message["timestamp"] = round(alert.timestamp.timestamp() * 1000)
        if add_topic:
            message["topic"] = alert.topic
        messages.append(message)
    return messages


def _record(content: Any) -> Mapping[str, Any] | None:
    """Out of hop's models, and out of a list of one, as Avro from Hopskotch comes."""
    if not isinstance(content, Mapping) and hasattr(content, "content"):
        content = content.content
    if isinstance(content, (list, tuple)) and len(content) == 1:
        content = content[0]
    return content if isinstance(content, Mapping) else None


def _no_record(alert: Alert) -> PermanentError:
    return PermanentError(
        f"The alert is {type(alert.content).__name__}, and a step takes dicts.",
        hint="Give the step only topics whose alerts are records: JSON or Avro.",
    )
