"""The streams that run steps publish their outboxes: in their own threads, in every turn of the loop."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from django.utils import timezone

from tom_alertstreams.signals import housekeeping, turned

from .models import OutboxMessage, Outlet

if TYPE_CHECKING:
    from .options import StepOptions
    from .step_host import StepHost

#: Rows that one statement deletes, so that SQLite's only writer's lock is never held for long.
_AT_ONCE: Final = 5_000
#: How long that goes on in one hour (seconds).
_MOST_S: Final = 10.0


def follow_streams() -> None:
    """Connect to the signals of the delivery."""
    turned.connect(publish, dispatch_uid="apf_bridge.publish")
    housekeeping.connect(keep_house, dispatch_uid="apf_bridge.keep_house")


def publish(source: Any, ending: bool, **_kwargs: Any) -> None:
    """Make the steps of a stream and send what they have put out; at its end all of it, and say goodbye to them."""
    hosts = hosts_of(source)
    if ending:
        with ExitStack() as stack:  # each is closed, whatever becomes of the others
            for host in hosts:
                stack.callback(host.close)
        return
    for host in hosts:
        host.begin()
        if host.publisher is not None:
            host.publisher.turn()


def keep_house(source: Any, **_kwargs: Any) -> None:
    """Forget what was delivered OUTBOX_DAYS ago, also of steps that were renamed or removed: as they last said.

    Alerts wait for it, so what takes too long is left for the next hour.
    """
    for options in steps_of(source):
        name = options.host(source.settings.label).outlet_name
        Outlet.objects.filter(name=name).exclude(keep_days=options.outbox_days).update(keep_days=options.outbox_days)
    over = time.monotonic() + _MOST_S
    for outlet in Outlet.objects.all():
        for _ in prune(outlet):
            if time.monotonic() >= over:
                return


def prune(outlet: Outlet) -> Iterator[int]:
    """Delete what an outlet has delivered more than its days ago, in short transactions.

    :returns: for each, how many rows it has deleted.
    """
    before = timezone.now() - timedelta(days=outlet.keep_days)
    rows = OutboxMessage.objects.filter(outlet=outlet, state=OutboxMessage.State.DELIVERED, delivered__lt=before)
    while some := list(rows.values_list("pk", flat=True)[:_AT_ONCE]):
        yield OutboxMessage.objects.filter(pk__in=some).delete()[0]


def hosts_of(source: Any) -> list[StepHost]:
    """What runs the steps of a stream. Those of one class have one publisher: of two one would wait for the other's lease."""
    hosts: list[StepHost] = []
    for options in steps_of(source):
        host = options.host(source.settings.label)
        first = next((other for other in hosts if other.outlet_name == host.outlet_name), None)
        if first is not None:
            host.share(first)
        hosts.append(host)
    return hosts


def steps_of(source: Any) -> Iterator[StepOptions]:
    """The options of the steps that a stream runs, each once."""
    from .options import StepOptions  # here: the web site, which runs no stream, does without what it imports

    seen: set[int] = set()
    for binding in source.bindings.values():
        options = binding.handler.options
        if isinstance(options, StepOptions) and id(options) not in seen:
            seen.add(id(options))
            yield options
