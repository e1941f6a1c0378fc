"""What the card of a stream says of the outboxes of its steps."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from apf_bridge import outbox_facts
from apf_bridge.models import OutboxMessage, Outlet
from tom_alertstreams.status import described

State = OutboxMessage.State


def message(outlet: Outlet, state: State, hour: int = 3) -> None:
    created = datetime(2026, 11, 26, hour, 12, tzinfo=timezone.utc)
    OutboxMessage.objects.create(outlet=outlet, producer="PRODUCER_CONFIG", topic="out", state=state, created=created)


@pytest.mark.django_db
@pytest.mark.both_databases
def test_outboxes_are_told_of_in_one_query(django_assert_num_queries: Any) -> None:
    outlet = Outlet.objects.create(name="ztf: mytom.steps.Xmatch")
    empty = Outlet.objects.create(name="ztf: mytom.steps.Features")
    Outlet.objects.create(name="ztf2: mytom.steps.Other")
    for hour in (5, 3, 4):
        message(outlet, State.PENDING, hour)
    message(outlet, State.REFUSED)
    for _ in range(5):
        message(outlet, State.DELIVERED)
        message(empty, State.DELIVERED)
    with django_assert_num_queries(1):
        told = described(["ztf", "other"])
    assert told == {
        "ztf": [
            "Outbox of mytom.steps.Features: all is on its broker.",
            "Outbox of mytom.steps.Xmatch: 3 not on the broker yet, the oldest since 2026-11-26 03:12 UTC. "
            "1 refused by the broker and given up: ./manage.py stepoutbox list says why.",
        ]
    }


@pytest.mark.django_db
@pytest.mark.both_databases
def test_not_more_are_counted_than_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_facts, "_COUNTED", 2)
    outlet = Outlet.objects.create(name="ztf: mytom.steps.Xmatch")
    for state in (State.PENDING, State.REFUSED):
        for hour in (3, 4, 5, 2):  # the last is not looked at
            message(outlet, state, hour)
    assert described(["ztf"])["ztf"] == [
        "Outbox of mytom.steps.Xmatch: more than 2 not on the broker yet, some since 2026-11-26 03:12 UTC or longer. "
        "More than 2 refused by the broker and given up: ./manage.py stepoutbox list says why."
    ]
