"""System checks for ALeRCE's streams."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from django.core.checks import CheckMessage, Warning, register

from tom_alertstreams.conf import configured_streams
from tom_alertstreams.exceptions import ConfigurationError
from tom_alertstreams.handlers import resolve

from .options import AlerceOptions

#: Backends of django-tasks that run jobs in the process which enqueues them, or never.
_NO_WORKERS: Final = ("ImmediateBackend", "DummyBackend")

_NO_QUEUE: Final = Warning(
    "LIGHT_CURVES is set, and its jobs go into the queue default, which QUEUES of TASKS does not name: alerts would fail.",
    hint='Add "default" to QUEUES of TASKS["default"].',
    id="tom_alertstreams.W024",
)


@register("alertstreams")
def check_light_curves(**_kwargs: Any) -> list[CheckMessage]:
    """LIGHT_CURVES without workers: the jobs would run inside ``readstreams``."""
    topics = list(_topics_with_light_curves())
    if not topics:
        return []
    from django_tasks import tasks

    backend = type(tasks["default"]).__name__
    if backend not in _NO_WORKERS:
        queues = tasks["default"].queues
        return [_NO_QUEUE] if queues and "default" not in queues else []
    return [
        Warning(
            f"{where}: LIGHT_CURVES is set, and {backend} has no workers: its jobs run inside readstreams, which reads no "
            "alerts meanwhile, or not at all.",
            hint='Set BACKEND of TASKS["default"] to django_tasks.backends.database.DatabaseBackend, and run '
            "manage.py db_worker.",
            id="tom_alertstreams.W024",
        )
        for where in topics
    ]


def _topics_with_light_curves() -> Iterator[str]:
    for stream in configured_streams()[0]:
        for topic in stream.topics:
            if not topic.handler.startswith("alerce_stream."):
                continue
            try:
                options = resolve(topic.handler, topic.options, None).options
            except ConfigurationError:
                continue  # another check tells
            if isinstance(options, AlerceOptions) and options.light_curves:
                yield f"{stream.label}, topic {topic.key}"
