"""The streams that run steps publish their outboxes: in their own threads, in every turn of the loop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from django.utils import timezone

from tom_alertstreams.delivery.letters import chunks
from tom_alertstreams.signals import housekeeping, replayed, turned

from .models import OutboxMessage, Outlet

if TYPE_CHECKING:
    from .options import StepOptions
    from .step_host import StepHost

#: Rows that one statement deletes, so that SQLite's only writer's lock is never held for long; and that are looked up in one
#: query, which passes over the old rows of other outlets too.
_AT_ONCE: Final = 1_000
_LOOKED_UP: Final = 10_000


def follow_streams() -> None:
    """Connect to the signals of the delivery."""
    turned.connect(publish, dispatch_uid="apf_bridge.publish")
    replayed.connect(end_replay, dispatch_uid="apf_bridge.end_replay")
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
        host.turn()


def end_replay(source: Any, **_kwargs: Any) -> None:
    """Say goodbye to the steps that have tried letters again. Whoever runs their stream sends what they have put out."""
    with ExitStack() as stack:
        for host in hosts_of(source):
            stack.callback(host.close, sending=False)


def keep_house(source: Any, **_kwargs: Any) -> Iterator[int]:
    """Forget what was delivered OUTBOX_DAYS ago, also of steps that were renamed or removed: as they last said.

    :returns: what is to be advanced between alerts, until nothing is left.
    """
    for options in steps_of(source):
        name = options.host(source.settings.label).outlet_name
        Outlet.objects.filter(name=name).exclude(keep_days=options.outbox_days).update(keep_days=options.outbox_days)
    return chain.from_iterable(map(prune, Outlet.objects.all()))


def prune(outlet: Outlet) -> Iterator[int]:
    """Delete what an outlet has delivered more than its days ago, the oldest first, in short transactions.

    :returns: for each, how many rows it has deleted.
    """
    before = timezone.now() - timedelta(days=outlet.keep_days)
    rows = OutboxMessage.objects.filter(outlet=outlet, state=OutboxMessage.State.DELIVERED, delivered__lt=before)
    rows = rows.order_by("delivered")  # which has an index
    while pks := list(rows.values_list("pk", flat=True)[:_LOOKED_UP]):
        deleted = 0
        for some in chunks(pks, _AT_ONCE):
            deleted += (now := OutboxMessage.objects.filter(pk__in=some).delete()[0])
            yield now
        if not deleted:  # another process is at it
            return


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
