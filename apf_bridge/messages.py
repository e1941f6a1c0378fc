"""An alert as a step gets it: a dict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tom_alertstreams.alerts import Alert, Outcome
from tom_alertstreams.exceptions import PermanentError

from .step_config import section


def message_of(alert: Alert, config: Mapping[str, Any]) -> dict[str, Any] | Outcome:
    """The content as a dict of its own, with the time in ``timestamp`` (milliseconds) as APF's consumer adds it.

    A field of that name in the alert stays as it is: APF overwrote it. With ADD_TOPIC in CONSUMER_CONFIG the topic is added.
    What is no record, as a text notice, is a failure of that alert alone.
    """
    content = alert.content
    if not isinstance(content, Mapping) and hasattr(content, "content"):
        content = content.content  # hop's models
    if isinstance(content, (list, tuple)) and len(content) == 1:
        content = content[0]  # Avro from Hopskotch wraps a single record in a list
    if not isinstance(content, Mapping):
        return Outcome.failed(
            PermanentError(
                f"The alert is {type(content).__name__}, and a step takes dicts.",
                hint="Give the step only topics whose alerts are JSON or Avro records.",
            )
        )
    message = dict(content)
    if alert.timestamp is not None:
        message.setdefault("timestamp", round(alert.timestamp.timestamp() * 1000))
    if section(config, "CONSUMER_CONFIG").get("ADD_TOPIC"):
        message["topic"] = alert.topic
    return message
