"""What people are told of the outboxes where they see how streams are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any, Final

from django.db.models import DateTimeField, Field, IntegerField, OuterRef, Subquery

from tom_alertstreams.signals import describing

from .models import OutboxMessage, Outlet

State = OutboxMessage.State
#: Not more are counted: pages ask every few seconds.
_COUNTED: Final = 10_000


def tell_of_outboxes() -> None:
    """Connect to the signal."""
    describing.connect(outbox_facts, dispatch_uid="apf_bridge.outbox_facts")


def outbox_facts(labels: Sequence[str], **_kwargs: Any) -> dict[str, list[str]]:
    """Stream → a line for each of its steps. One query."""
    found: dict[str, list[str]] = {}
    outlets = Outlet.objects.annotate(
        pending=_first(State.PENDING, "COUNT(*)", IntegerField()),
        oldest=_first(State.PENDING, "MIN(created)", DateTimeField()),
        refused=_first(State.REFUSED, "COUNT(*)", IntegerField()),
    )
    for outlet in outlets.order_by("name"):
        for label in labels:
            if outlet.name.startswith(f"{label}: "):
                step = outlet.name.removeprefix(f"{label}: ")
                found.setdefault(label, []).append(_words(step, outlet.pending, outlet.oldest, outlet.refused))
    return found


class _First(Subquery):
    """Something of all rows of a subquery together, which may have a limit."""

    template = "(SELECT %(what)s FROM (%(subquery)s) first_ones)"


def _first(state: OutboxMessage.State, what: str, output: Field[Any, Any]) -> _First:
    """Of an outlet's first messages in a state, as their index has them. Delivered ones are many: nobody asks for them."""
    rows = OutboxMessage.objects.filter(outlet=OuterRef("pk"), state=state)
    ordered = rows.order_by("producer", "pk") if state is State.PENDING else rows
    return _First(ordered.values("created")[: _COUNTED + 1], what=what, output_field=output)


def _words(step: str, pending: int, oldest: datetime | None, refused: int) -> str:
    told = f"Outbox of {step}: "
    if oldest is None:
        told += "all is on its broker."
    else:
        since = f"{oldest.astimezone(timezone.utc):%Y-%m-%d %H:%M} UTC"
        since = f"some since {since} or longer" if pending > _COUNTED else f"the oldest since {since}"
        told += f"{_number(pending)} not on the broker yet, {since}."
    if refused:
        told += f" {_number(refused).capitalize()} refused by the broker and given up: ./manage.py stepoutbox list says why."
    return told


def _number(count: int) -> str:
    return f"{count:,}" if count <= _COUNTED else f"more than {_COUNTED:,}"
