"""System checks for the options of the ready-made handlers."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Warning, register

from tom_alertstreams.conf import configured_streams
from tom_alertstreams.exceptions import ConfigurationError
from tom_alertstreams.handlers import resolve

from .options import IngestOptions

#: Their alerts are notices of observed events.
_NOTICE_STREAMS = ("HopskotchAlertStream", "GCNClassicAlertStream")
#: Handlers of these packages are ours and safe to import; those of others are left to ``checkstreams``.
_OURS = ("tom_alertstreams.ingest.", "alerce_stream.")


@register("alertstreams")
def check_ingest_options(**_kwargs: Any) -> list[CheckMessage]:
    """Options that cannot be used, that create nothing, or whose Targets nobody sees."""
    messages: list[CheckMessage] = []
    for stream in configured_streams()[0]:
        for topic in stream.topics:
            if not topic.handler.startswith(_OURS):
                continue
            where = f"{stream.label}, topic {topic.key}"
            try:
                options = resolve(topic.handler, topic.options, None).options
            except ConfigurationError as error:
                messages.append(Warning(f"{where}: {error.message}", hint=error.hint, id="tom_alertstreams.W020"))
                continue
            if isinstance(options, IngestOptions):
                found = options.findings(notices=stream.name.endswith(_NOTICE_STREAMS))
                messages += [Warning(f"{where}: {text}", id="tom_alertstreams.W021") for text in found]
    return messages
