"""Steps of APF on our delivery: what a batch puts out is committed with it, and comes to the broker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import apf_bridge
from apf_bridge import publisher
from apf_bridge.models import OutboxMessage
from apf_bridge.publisher import Publisher
from tests.brokers import ScriptedBroker
from tests.marks import CORE_AND_STEPS
from tests.steps import consumed
from tests.streams import counts, make, next_offset, run_once
from tom_alertstreams.alertstreams.alertstream import AlertStream, get_alert_streams
from tom_alertstreams.models import DeadLetter

pytestmark = [CORE_AND_STEPS, pytest.mark.both_databases, pytest.mark.usefixtures("fresh_handlers")]

SCHEMA = Path(__file__).parent.parent / "steps" / "output.avsc"
STEPS = {"1": "EarlyClassifier", "2": "Corrector", "6": "Prober"}


@pytest.fixture(autouse=True)
def steps() -> Iterator[Any]:
    apf_bridge.install()
    from tests.steps import steps

    steps.reset()
    yield steps
    steps.reset()


def config(broker: ScriptedBroker, topic: str, output: str, **consumer: Any) -> dict[str, Any]:
    """The STEP_CONFIG of a step, as its settings.py would have it."""
    params = {"bootstrap.servers": broker.bootstrap_servers, "message.timeout.ms": 5000}
    producer = {"CLASS": "apf.producers.KafkaProducer", "PARAMS": params, "SCHEMA_PATH": str(SCHEMA)}
    return {
        "CONSUMER_CONFIG": {
            "CLASS": "apf.consumers.KafkaConsumer",
            "PARAMS": {"bootstrap.servers": broker.bootstrap_servers, "group.id": "theirs"},
            "TOPICS": [topic],
            "consume.messages": 7,
            **consumer,
        },
        "PRODUCER_CONFIG": {**producer, "TOPIC": output},
        "SCRIBE_PRODUCER_CONFIG": {**producer, "TOPIC": f"{output}-scribe"},
    }


def stream(broker: ScriptedBroker, group_id: str, topic: str, step: str, **options: Any) -> AlertStream:
    given = {"STEP": f"tests.steps.steps.{step}", "STEP_CONFIG": config(broker, topic, f"{topic}-out"), **options}
    return make(
        broker.bootstrap_servers, group_id, {topic: {"HANDLER": "apf_bridge.handlers.run_step", "OPTIONS": given}}
    )


def publish(broker: ScriptedBroker, topic: str, numbers: range) -> None:
    broker.create_topic(topic)
    for number in numbers:
        broker.produce(topic, json.dumps({"oid": f"ZTF{number % 3}", "n": number, "candid": number}))
    broker.flush()


class TestTheThreeContracts:
    @pytest.mark.parametrize("contract", STEPS)
    def test_what_a_step_puts_out_comes_to_the_broker_once(
        self, broker: ScriptedBroker, topic: str, group_id: str, contract: str
    ) -> None:
        publish(broker, topic, range(30))
        run_once(stream(broker, group_id, topic, STEPS[contract]))
        taken = [n for n in range(30) if contract != "6" or n % 10 != 9]
        found = consumed(broker, f"{topic}-out", len(taken))
        assert sorted(message.content["n"] for message in found) == taken
        assert all(message.key == message.content["oid"].encode() for message in found)
        assert len({message.id for message in found}) == len(taken)
        assert not OutboxMessage.objects.exclude(state="delivered").exists()
        assert counts() == {"done": 30}
        assert next_offset(group_id, topic) == 30
        if contract == "6":
            assert len(consumed(broker, f"{topic}-out-scribe", len(taken))) == len(taken)

    @pytest.mark.parametrize("contract", STEPS)
    def test_order_of_a_key_is_kept(self, broker: ScriptedBroker, topic: str, group_id: str, contract: str) -> None:
        publish(broker, topic, range(30))
        run_once(stream(broker, group_id, topic, STEPS[contract]))
        found = consumed(broker, f"{topic}-out", 27)
        for key in {message.key for message in found}:
            numbers = [message.content["n"] for message in found if message.key == key]
            assert numbers == sorted(numbers)
