"""System checks for the options of the ready-made handlers."""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings
from django.core.checks import CheckMessage, Warning, register

from tom_alertstreams.conf import configured_streams
from tom_alertstreams.exceptions import ConfigurationError
from tom_alertstreams.handlers import resolve

from .options import IngestOptions
from .targets import has_hook, has_own_save

#: Their alerts are notices of observed events.
_NOTICE_STREAMS = ("HopskotchAlertStream", "GCNClassicAlertStream")
#: Handlers of these packages are ours and safe to import; those of others are left to ``checkstreams``.
_OURS = ("tom_alertstreams.ingest.", "alerce_stream.")

#: A share is a POST for each point, without a time-out, and the alerts behind it would wait for it.
_NOT_SHARED: Final = Warning(
    "DATA_SHARING is set, and points that streams write are not sent on by the continuous sharing of their Targets.",
    hint="Send them from a job of your own, as docs/how-to/ingest-rules.md shows, or share nothing continuously and "
    "put tom_alertstreams.W022 into SILENCED_SYSTEM_CHECKS.",
    id="tom_alertstreams.W022",
)
_OWN_SAVE: Final = (
    "the save() of your TARGET_MODEL_CLASS runs the hook target_post_save within the transaction of the batch, so that a "
    "hook that fails fails the alert."
)
_OWN_SAVE_HINT: Final = (
    "Set HOOKS of this topic to inside if that is what you want; else do in a post_save signal what save() does."
)


@register("alertstreams")
def check_ingest_options(**_kwargs: Any) -> list[CheckMessage]:
    """Options that cannot be used, that create nothing, or whose Targets nobody sees; what of the TOM is not honoured."""
    messages: list[CheckMessage] = []
    ours = False
    for stream in configured_streams()[0]:
        for topic in stream.topics:
            if not topic.handler.startswith(_OURS):
                continue
            ours = True
            where = f"{stream.label}, topic {topic.key}"
            try:
                options = resolve(topic.handler, topic.options, None).options
            except ConfigurationError as error:
                messages.append(Warning(f"{where}: {error.message}", hint=error.hint, id="tom_alertstreams.W020"))
                continue
            if isinstance(options, IngestOptions):
                found = options.findings(notices=stream.name.endswith(_NOTICE_STREAMS))
                messages += [Warning(f"{where}: {text}", id="tom_alertstreams.W021") for text in found]
                if options.hooks != "inside" and has_hook() and has_own_save():
                    messages.append(Warning(f"{where}: {_OWN_SAVE}", hint=_OWN_SAVE_HINT, id="tom_alertstreams.W023"))
    return [*messages, *([_NOT_SHARED] if ours and getattr(settings, "DATA_SHARING", None) else [])]
