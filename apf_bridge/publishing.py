"""The streams that run steps publish their outboxes: in their own threads, in every turn of the loop."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from django.utils import timezone

from tom_alertstreams.signals import housekeeping, turned

from .models import OutboxMessage

if TYPE_CHECKING:
    from .options import StepOptions

#: Rows that one statement deletes, so that SQLite's only writer's lock is never held for long.
_AT_ONCE: Final = 5_000


def follow_streams() -> None:
    """Connect to the signals of the delivery."""
    turned.connect(publish, dispatch_uid="apf_bridge.publish")
    housekeeping.connect(keep_house, dispatch_uid="apf_bridge.keep_house")


def publish(source: Any, ending: bool, **_kwargs: Any) -> None:
    """Send what the steps of a stream have put out; at its end all of it, and say goodbye to the steps."""
    for options in steps_of(source):
        host = options.host(source.settings.label)
        if host.publisher is not None:
            host.publisher.end() if ending else host.publisher.turn()
        if ending:
            host.close()


def keep_house(source: Any, **_kwargs: Any) -> None:
    """Forget what was delivered OUTBOX_DAYS ago."""
    for options in steps_of(source):
        prune(options.host(source.settings.label).outlet_name, options.outbox_days)


def prune(outlet_name: str, days: float) -> int:
    """Delete what an outlet has delivered so many days ago; returns how many."""
    before = timezone.now() - timedelta(days=days)
    rows = OutboxMessage.objects.filter(
        outlet__name=outlet_name, state=OutboxMessage.State.DELIVERED, delivered__lt=before
    )
    deleted = 0
    while some := list(rows.values_list("pk", flat=True)[:_AT_ONCE]):
        deleted += OutboxMessage.objects.filter(pk__in=some).delete()[0]
    return deleted


def steps_of(source: Any) -> Iterator[StepOptions]:
    """The options of the steps that a stream runs, each once."""
    from .options import StepOptions  # here: the web site, which runs no stream, does without what it imports

    seen: set[int] = set()
    for binding in source.bindings.values():
        options = binding.handler.options
        if isinstance(options, StepOptions) and id(options) not in seen:
            seen.add(id(options))
            yield options
