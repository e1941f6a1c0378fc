"""What is not on its broker can be seen, sent again and dropped without a Python shell."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from apf_bridge.models import OutboxMessage, Outlet
from apf_bridge.outbox import Output, store

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def messages() -> dict[str, list[int]]:
    """Two pending, two refused and one delivered of each of two outlets; their ids."""
    found: dict[str, list[int]] = {}
    for name in ("one: a.Step", "two: b.Step"):
        outlet = Outlet.objects.create(name=name)
        store(outlet, [Output("PRODUCER_CONFIG#1", "out", None, b"1")] * 5, [])
        pks = found[name] = list(outlet.messages.order_by("pk").values_list("pk", flat=True))
        outlet.messages.filter(pk__in=pks[2:4]).update(state="refused", last_error="too large")
        outlet.messages.filter(pk=pks[4]).update(state="delivered")
    return found


def run(*arguments: Any) -> str:
    out = io.StringIO()
    call_command("stepoutbox", *map(str, arguments), stdout=out)
    return out.getvalue()


def states(name: str) -> list[str]:
    return list(OutboxMessage.objects.filter(outlet__name=name).order_by("pk").values_list("state", flat=True))


def test_list_shows_how_many_and_why() -> None:
    lines = run("list").splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("2 pending  one: a.Step  PRODUCER_CONFIG#1, since 20")
    assert lines[1].endswith(": too large")
    found = json.loads(run("list", "--json", "--outlet", "two: b.Step", "--state", "refused"))
    assert [(row["outlet"], row["count"], row["last_error"]) for row in found] == [("two: b.Step", 2, "too large")]


def test_list_shows_each(messages: dict[str, list[int]]) -> None:
    number = messages["one: a.Step"][2]
    assert run("list", "--each", "--id", number) == (
        f"{number}  refused  one: a.Step  PRODUCER_CONFIG#1 → out, of no batch: too large\n"
    )
    assert len(run("list", "--each").splitlines()) == 8


def test_nothing_to_show() -> None:
    OutboxMessage.objects.update(state="delivered")
    assert run("list") == "All that steps have put out is on its broker.\n"


def test_resend_makes_refused_ones_pending() -> None:
    assert run("resend", "--outlet", "one: a.Step", "--dry-run").startswith("2 messages would be sent again")
    assert states("one: a.Step").count("refused") == 2
    assert run("resend", "--outlet", "one: a.Step").startswith("2 messages are sent again")
    assert states("one: a.Step") == ["pending"] * 4 + ["delivered"]
    assert states("two: b.Step").count("refused") == 2


def test_drop_deletes_what_is_chosen_and_nothing_that_was_delivered() -> None:
    assert run("drop", "--state", "refused", "--dry-run") == "4 messages would be dropped.\n"
    assert run("drop", "--state", "refused") == "4 messages are dropped.\n"
    assert run("drop", "--outlet", "one: a.Step") == "2 messages are dropped.\n"
    assert states("one: a.Step") == ["delivered"]
    assert states("two: b.Step") == ["pending", "pending", "delivered"]
    run("drop", "--all")
    assert states("two: b.Step") == ["delivered"]


@pytest.mark.parametrize("action", ["resend", "drop"])
def test_nothing_is_changed_without_saying_which(action: str) -> None:
    with pytest.raises(CommandError, match="say which"):
        run(action)
