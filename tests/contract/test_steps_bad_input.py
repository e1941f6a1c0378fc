"""Steps and messages that are not as they should be, on our delivery: each costs its own messages and no others."""

from __future__ import annotations

import json
from typing import Any

import pytest

from apf_bridge.models import OutboxMessage
from tests.brokers import ScriptedBroker
from tests.contract.running_steps import STEPS, config, publish, raising, stream
from tests.marks import CORE_AND_STEPS
from tests.steps import consumed
from tests.streams import counts, next_offset, run_once
from tom_alertstreams.alertstreams.alertstream import AlertStream, get_alert_streams
from tom_alertstreams.exceptions import FatalStreamError
from tom_alertstreams.models import DeadLetter

pytestmark = [CORE_AND_STEPS, pytest.mark.usefixtures("steps", "fresh_handlers")]


def numbers(broker: ScriptedBroker, topic: str, count: int) -> list[int]:
    return sorted(message.content["n"] for message in consumed(broker, f"{topic}-out", count))


@pytest.mark.parametrize("contract", STEPS)
def test_output_that_does_not_fit_the_schema_is_the_failure_of_its_message(
    broker: ScriptedBroker, topic: str, group_id: str, steps: Any, contract: str
) -> None:
    publish(broker, topic, range(8))

    def spoil(stage: str, messages: list[dict[str, Any]]) -> None:
        for message in messages:
            if message.get("n") == 5:
                message["oid"] = 7  # the schema has a text

    steps.trouble.append(spoil)
    run_once(stream(broker, group_id, topic, STEPS[contract]))
    letter = DeadLetter.objects.get()
    assert letter.offset == 5
    assert counts()["done"] == 7
    assert numbers(broker, topic, 7) == [n for n in range(8) if n != 5]


def test_a_step_that_swallows_its_own_exit_runs_on(
    broker: ScriptedBroker, topic: str, group_id: str, steps: Any
) -> None:
    publish(broker, topic, range(10))
    steps.trouble.append(raising(SystemExit(1), n=3))
    run_once(stream(broker, group_id, topic, "Stubborn"))
    assert counts() == {"done": 10}  # of the call that it swallowed nothing is put out, and nobody can know
    assert numbers(broker, topic, 3) == [7, 8, 9]


def test_what_tear_down_puts_out_is_sent(broker: ScriptedBroker, topic: str, group_id: str, steps: Any) -> None:
    publish(broker, topic, range(4))
    run_once(stream(broker, group_id, topic, "KeepsTheRest"))
    found = consumed(broker, f"{topic}-out", 4)
    assert sorted(message.content["n"] for message in found) == [0, 1, 2, 3]
    assert all(message.key == message.content["oid"].encode() for message in found)
    assert not OutboxMessage.objects.exclude(state="delivered").exists()


def test_what_tear_down_has_put_out_before_it_fails_is_sent(
    broker: ScriptedBroker, topic: str, group_id: str, steps: Any, caplog: pytest.LogCaptureFixture
) -> None:
    publish(broker, topic, range(4))
    run_once(stream(broker, group_id, topic, "FailsAtTheEnd"))
    assert "FailsAtTheEnd failed: OSError: the database is away" in caplog.text
    assert numbers(broker, topic, 4) == [0, 1, 2, 3]
    assert not OutboxMessage.objects.exclude(state="delivered").exists()


def test_every_record_of_a_message_reaches_the_step(
    broker: ScriptedBroker, topic: str, group_id: str, steps: Any
) -> None:
    publish(broker, topic, range(1))
    broker.produce(topic, json.dumps([{"oid": "ZTF1", "n": n} for n in (1, 2)]))
    broker.flush()
    run_once(stream(broker, group_id, topic, "Corrector"))
    assert counts() == {"done": 2}
    assert numbers(broker, topic, 3) == [0, 1, 2]


def test_a_consumer_class_of_ones_own_decodes(broker: ScriptedBroker, topic: str, group_id: str, steps: Any) -> None:
    broker.create_topic(topic)
    for raw in (b'own:{"oid": "ZTF1", "n": 1}', b'{"oid": "ZTF1", "n": 2}', b'own:{"oid": "ZTF1", "n": 3}'):
        broker.produce(topic, raw)
    broker.flush()
    run_once(of_settings(config(broker, topic, f"{topic}-out", CLASS="tests.steps.steps.Prefixed")))
    assert numbers(broker, topic, 2) == [1, 3]
    letter = DeadLetter.objects.get()
    assert letter.offset == 1
    assert "Prefixed cannot read it: ValueError: no magic" in letter.error


def of_settings(given: dict[str, Any]) -> AlertStream:
    options = {
        "STEP": "tests.steps.steps.Corrector",
        "STEP_CONFIG": given,
        "CONFIG": {**ScriptedBroker.CONSUMER_CONFIG},
    }
    entry = {"NAME": "apf_bridge.streams.StepAlertStream", "LABEL": "test", "OPTIONS": options}
    return get_alert_streams([entry])[0]


def test_a_step_that_cannot_be_made_is_an_error_of_its_stream(
    broker: ScriptedBroker, topic: str, group_id: str, steps: Any
) -> None:
    """Made once for each life of the stream, before any alert: none is to blame."""
    publish(broker, topic, range(20))
    with pytest.raises(FatalStreamError, match="Unmakable failed in its constructor: OSError: no model"):
        run_once(stream(broker, group_id, topic, "Unmakable"))
    assert steps.calls == [("constructor", [])]
    assert counts() == {}
    assert not DeadLetter.objects.exists()
    assert not next_offset(group_id, topic)
