"""Dead letters of steps: what is put out of them, when they fail and when they are tried again."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from apf_bridge.models import OutboxMessage
from tests.brokers import ScriptedBroker
from tests.contract.running_steps import publish, raising, stream
from tests.contract.test_replay import replay_all
from tests.marks import CORE_AND_STEPS
from tests.steps import consumed
from tests.streams import run_once
from tom_alertstreams.ingest.reports import TargetReport
from tom_alertstreams.models import DeadLetter

pytestmark = pytest.mark.usefixtures("steps", "fresh_handlers")

#: Results that make no Target.
wrong: set[int] = set()


def report(result: dict[str, Any]) -> TargetReport:
    """A RESULT_HANDLER."""
    ra = 400.0 if result["n"] in wrong else 10.0 + result["n"]
    return TargetReport(object_id=f"{result['oid']}-{result['n']}", ra=ra, dec=1.0, kind="survey")


@pytest.mark.django_db(transaction=True)
def test_an_alert_that_fails_over_its_target_puts_nothing_out_until_it_is_replayed(
    broker: ScriptedBroker, topic: str, group_id: str
) -> None:
    publish(broker, topic, range(4))
    options = {"RESULT_HANDLER": f"{__name__}.report", "RULES": {"CREATE": "always"}}
    wrong.add(2)
    try:
        run_once(stream(broker, group_id, topic, "Corrector", **options))
    finally:
        wrong.clear()
    letter = DeadLetter.objects.get()
    assert letter.offset == 2
    assert OutboxMessage.objects.count() == 3
    assert replay_all(stream(broker, group_id, topic, "Corrector", **options)).became["done"] == 1
    run_once(stream(broker, group_id, topic, "Corrector", **options))
    assert sorted(message.content["n"] for message in consumed(broker, f"{topic}-out", 4)) == [0, 1, 2, 3]


@CORE_AND_STEPS
def test_what_a_step_gathers_is_put_out_at_the_end_of_a_replay(
    broker: ScriptedBroker, topic: str, group_id: str, steps: Any
) -> None:
    publish(broker, topic, range(4))
    steps.trouble.append(raising(ValueError("no such class"), n=2))
    run_once(stream(broker, group_id, topic, "KeepsTheRest"))
    assert OutboxMessage.objects.filter(state="delivered").count() == 3
    steps.trouble.clear()
    assert replay_all(stream(broker, group_id, topic, "KeepsTheRest")).became["done"] == 1
    assert OutboxMessage.objects.filter(state="pending").count() == 1  # whoever runs the stream sends it
    run_once(stream(broker, group_id, topic, "KeepsTheRest"))
    assert sorted(message.content["n"] for message in consumed(broker, f"{topic}-out", 4)) == [0, 1, 2, 3]


@CORE_AND_STEPS
def test_a_replay_takes_no_port(broker: ScriptedBroker, topic: str, group_id: str, steps: Any) -> None:
    """It runs in a process of the web site, where nobody reads the stream."""
    publish(broker, topic, range(4))
    steps.trouble.append(raising(ValueError("no such class"), n=2))
    run_once(stream(broker, group_id, topic, "Corrector"))
    steps.trouble.clear()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert replay_all(stream(broker, group_id, topic, "Corrector", PROMETHEUS_PORT=port)).became["done"] == 1
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", port)) != 0
