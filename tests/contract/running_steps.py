"""Steps of APF on streams of the test's broker: their settings, their alerts, trouble in them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.db import connections

from apf_bridge.models import OutboxMessage
from tests.brokers import ScriptedBroker
from tests.streams import make
from tom_alertstreams.alertstreams.alertstream import AlertStream

SCHEMA = Path(__file__).parent.parent / "steps" / "output.avsc"
STEPS = {"1": "EarlyClassifier", "2": "Corrector", "6": "Prober"}


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
    send(broker, topic, numbers)


def send(broker: ScriptedBroker, topic: str, numbers: range) -> None:
    for number in numbers:
        broker.produce(topic, json.dumps({"oid": f"ZTF{number % 3}", "n": number, "candid": number}))
    broker.flush()


class Killed(KeyboardInterrupt):
    """As a process is killed: nothing catches it."""


def pending() -> int:
    return OutboxMessage.objects.filter(state="pending").count()


def raising(error: BaseException, stage: str = "execute", n: int = 5) -> Callable[[str, list[dict[str, Any]]], None]:
    """Trouble in one stage with one message."""

    def trouble(at: str, messages: list[dict[str, Any]]) -> None:
        if at == stage and any(message.get("n") == n for message in messages):
            raise error

    return trouble


def with_metrics(broker: ScriptedBroker, group_id: str, topic: str) -> AlertStream:
    metrics = {"CLASS": "tests.steps.steps.NotingMetrics", "PARAMS": {}, "EXTRA_METRICS": ["n"]}
    given = {**config(broker, topic, f"{topic}-out"), "METRICS_CONFIG": metrics}
    return stream(broker, group_id, topic, "Corrector", STEP_CONFIG=given)


def with_output_on(
    output: ScriptedBroker, broker: ScriptedBroker, group_id: str, topic: str, step: str = "Corrector", **params: Any
) -> AlertStream:
    """PRODUCER_CONFIG has a broker of its own, and these PARAMS."""
    given = config(broker, topic, f"{topic}-out")
    given["PRODUCER_CONFIG"] = config(output, topic, f"{topic}-out")["PRODUCER_CONFIG"]
    given["PRODUCER_CONFIG"]["PARAMS"] |= {"reconnect.backoff.max.ms": 200, **params}
    return stream(broker, group_id, topic, step, STEP_CONFIG=given)


def until(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
        connections["default"].close_if_unusable_or_obsolete()
