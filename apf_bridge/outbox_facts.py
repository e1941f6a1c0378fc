"""What people are told of the outboxes where they see how streams are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from django.db.models import Count, Min, OuterRef, QuerySet, Subquery

from tom_alertstreams.signals import describing

from .models import OutboxMessage, Outlet

State = OutboxMessage.State


def tell_of_outboxes() -> None:
    """Connect to the signal."""
    describing.connect(outbox_facts, dispatch_uid="apf_bridge.outbox_facts")


def outbox_facts(labels: Sequence[str], **_kwargs: Any) -> dict[str, list[str]]:
    """Stream → a line for each of its steps. One query."""
    found: dict[str, list[str]] = {}
    outlets = Outlet.objects.annotate(
        pending=_of(State.PENDING, Count("pk")),
        oldest=_of(State.PENDING, Min("created")),
        refused=_of(State.REFUSED, Count("pk")),
    )
    for outlet in outlets.order_by("name"):
        for label in labels:
            if outlet.name.startswith(f"{label}: "):
                step = outlet.name.removeprefix(f"{label}: ")
                found.setdefault(label, []).append(
                    _words(step, outlet.pending or 0, outlet.oldest, outlet.refused or 0)
                )
    return found


def _of(state: OutboxMessage.State, what: Count | Min) -> Subquery:
    """Of an outlet's messages in a state; None where there is none. Those that are delivered are many, and not looked at."""
    rows: QuerySet[Any] = OutboxMessage.objects.filter(outlet=OuterRef("pk"), state=state)
    return Subquery(rows.order_by().values("outlet").annotate(told=what).values("told"))


def _words(step: str, pending: int, oldest: datetime | None, refused: int) -> str:
    told = f"Outbox of {step}: "
    if oldest is None:
        told += "all is on its broker."
    else:
        told += (
            f"{pending:,} not on the broker yet, the oldest since {oldest.astimezone(timezone.utc):%Y-%m-%d %H:%M} UTC."
        )
    return told + (
        f" {refused:,} refused by the broker and given up: ./manage.py stepoutbox list says why." if refused else ""
    )
