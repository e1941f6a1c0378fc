"""HOOKS: when the TOM's own hook runs for a new Target, and what one that fails does."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from tom_dataproducts.models import PhotometryReducedDatum
from tom_targets.models import BaseTarget, Target, TargetName

from tests.brokers import ScriptedBroker
from tests.streams import counts, make, run_once
from tests.unit.ingest.samples import ztf_packet
from tom_alertstreams.ingest.models import TargetAlert
from tom_alertstreams.models import DeadLetter

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.both_databases,
    pytest.mark.usefixtures("fresh_handlers"),
]

INGEST = "tom_alertstreams.ingest.handlers.ingest_targets"

#: Name, extra fields, other names and number of points of each Target that the hook was given.
CALLS: list[tuple[str, dict[str, str], list[str], int]] = []


def hook(target: Target, created: bool) -> None:
    assert created
    extras = dict(target.targetextra_set.values_list("key", "value"))
    points = PhotometryReducedDatum.objects.filter(target=target).count()
    CALLS.append((target.name, extras, [name.name for name in target.aliases.all()], points))
    if target.name == "my ZTF1":
        raise ValueError("a hook with a fault")


@pytest.fixture(autouse=True)
def _hooked(settings: Any) -> None:
    settings.HOOKS = {"target_post_save": f"{__name__}.hook"}
    settings.EXTRA_FIELDS = [{"name": "priority", "type": "number", "default": 3}]
    CALLS.clear()


def deliver(broker: ScriptedBroker, topic: str, group_id: str, packets: Iterable[Any], **options: Any) -> None:
    broker.create_topic(topic)
    for packet in packets:
        broker.produce(topic, json.dumps(packet).encode(), partition=0)
    broker.flush()
    options = {"CREATE": "always", "NAME": "my {object_id}", "KEEP_EXTRAS": ["candidate.rb"], **options}
    run_once(make(broker.bootstrap_servers, group_id, {topic: {"HANDLER": INGEST, "OPTIONS": options}}))


def three_objects() -> list[Any]:
    return [ztf_packet(f"ZTF{n}", n + 1, ra=10.0 * n) for n in range(3)]


def call(n: int) -> tuple[str, dict[str, str], list[str], int]:
    return f"my ZTF{n}", {"priority": "3", "candidate.rb": "0.9"}, [f"ZTF{n}"], 1


def test_inside_one_that_fails_fails_its_alert_alone(broker: ScriptedBroker, topic: str, group_id: str) -> None:
    deliver(broker, topic, group_id, three_objects(), HOOKS="inside")
    assert counts() == {"done": 2, "dead": 1, "waiting": 2}
    assert "a hook with a fault" in DeadLetter.objects.get().error
    assert {target.name for target in BaseTarget.objects.all()} == {"my ZTF0", "my ZTF2"}
    for model in (TargetAlert, PhotometryReducedDatum, TargetName):
        assert model._default_manager.count() == 2
    # It was given all that is known of a Target; a batch that failed is tried in parts.
    assert all(found in [call(n) for n in range(3)] for found in CALLS)
    assert {name for name, *_ in CALLS} == {"my ZTF0", "my ZTF1", "my ZTF2"}


def test_after_the_commit_one_that_fails_is_only_logged(
    broker: ScriptedBroker, topic: str, group_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    deliver(broker, topic, group_id, three_objects(), HOOKS="after")
    assert counts() == {"done": 3}
    assert [call(n) for n in range(3)] == CALLS
    assert "target_post_save failed for my ZTF1" in caplog.text


def test_off(broker: ScriptedBroker, topic: str, group_id: str) -> None:
    deliver(broker, topic, group_id, three_objects(), HOOKS="off")
    assert counts() == {"done": 3}
    assert CALLS == []
