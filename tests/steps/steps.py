"""Three steps, each with what its generation of APF was used like."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from apf.consumers import KafkaJsonConsumer
from apf.core import get_class
from apf.core.step import GenericStep
from apf.metrics.generic import GenericMetricsProducer
from apf.producers import KafkaProducer
from django.db import connection

from tests.secret import told_with

#: What a step does with its messages before it answers: tests put their trouble here.
trouble: list[Callable[[str, list[dict[str, Any]]], Any]] = []
#: Stage and ids of each call, whatever became of its transaction.
calls: list[tuple[str, list[Any]]] = []
#: What was sent to NotingMetrics.
metrics: list[dict[str, Any]] = []
metrics_trouble: list[Exception] = []
#: What Answering returns.
answer: list[str] = []


def reset() -> None:
    for kept in (trouble, calls, metrics, metrics_trouble, answer):
        kept.clear()


def met(stage: str, messages: Any) -> None:
    some = [messages] if isinstance(messages, dict) else list(messages)
    calls.append((stage, [message.get("n") for message in some if isinstance(message, dict)]))
    told_with(lambda: [do(stage, some) for do in trouble])


class EarlyClassifier(GenericStep):
    """1.x: gets its consumer made, makes its producer itself, and produces by itself."""

    def __init__(self, consumer: Any = None, config: Any = None, level: int = logging.INFO, **step_args: Any) -> None:
        super().__init__(consumer, config=config, level=level)
        producer_class = get_class(config["PRODUCER_CONFIG"].get("CLASS", "apf.producers.KafkaProducer"))
        self.producer = producer_class(config["PRODUCER_CONFIG"])

    def execute(self, message: Any) -> None:
        met("execute", message)
        for one in [message] if isinstance(message, dict) else message:
            output = {"oid": one["oid"], "n": one["n"], "probability": 0.5}
            self.producer.produce(output, key=one["oid"])


class Corrector(GenericStep):
    """2.x: every hook, and a key field."""

    def __init__(self, consumer: Any = None, config: Any = {}, **kwargs: Any) -> None:  # noqa: B006
        super().__init__(config=config, **kwargs)
        self.set_producer_key_field("oid")

    def pre_execute(self, messages: Any) -> Any:
        met("pre_execute", messages)
        return messages

    def execute(self, messages: Any) -> Any:
        met("execute", messages)
        return [{"oid": message.pop("oid"), "n": message["n"], "probability": 0.25} for message in messages]

    def post_execute(self, result: Any) -> Any:
        met("post_execute", result)
        return result

    def pre_produce(self, result: Any) -> Any:
        met("pre_produce", result)
        return result

    def post_produce(self) -> None:
        met("post_produce", [])


class Prober(GenericStep):
    """6.x: filters in pre_execute, answers with a generator, writes to a second producer."""

    def __init__(self, config: Any, level: int = logging.INFO, **step_args: Any) -> None:
        super().__init__(config=config, level=level, **step_args)
        self.scribe = KafkaProducer(config["SCRIBE_PRODUCER_CONFIG"])
        self.set_producer_key_field("oid")

    def pre_execute(self, messages: Any) -> Any:
        return [message for message in messages if message["n"] % 10 != 9]

    def execute(self, messages: Any) -> Any:
        met("execute", messages)
        return [{"oid": message["oid"], "n": message["n"], "probability": 0.75} for message in messages]

    def pre_produce(self, result: Any) -> Any:
        for one in result:
            self.scribe.produce({"oid": one["oid"], "n": one["n"], "probability": 0.0}, key=one["oid"], flush=True)
        yield from result


class NoOp(GenericStep):
    """Does nothing: what the bridge itself costs."""

    def execute(self, messages: Any) -> Any:
        return []


class Answering(GenericStep):
    """Returns one thing or another."""

    def execute(self, messages: Any) -> Any:
        one = {"oid": "ZTF1", "n": messages[0]["n"], "probability": 1.0}
        return {"none": None, "dict": one, "generator": (item for item in [one]), "empty": []}[answer[0]]


class NotingMetrics(GenericMetricsProducer):
    """Keeps what it is sent, with whether a transaction was open."""

    def send_metrics(self, sent: dict[str, Any]) -> None:
        if metrics_trouble:
            raise metrics_trouble[0]
        metrics.append({**sent, "in_transaction": connection.in_atomic_block})


class KeepsTheRest(Corrector):
    """Puts out what it has only when it ends, as steps do that gather."""

    kept: list[Any]

    def pre_produce(self, result: Any) -> Any:
        self.kept = [*getattr(self, "kept", []), *result]
        return []

    def tear_down(self) -> None:
        for one in self.kept:
            self.producer.produce(one)


class FailsAtTheEnd(KeepsTheRest):
    """Puts out the rest, and cannot close its database then."""

    def tear_down(self) -> None:
        super().tear_down()
        raise OSError("the database is away")


class Stubborn(Corrector):
    """Lets nothing through, an exit neither."""

    def execute(self, messages: Any) -> Any:
        try:
            return super().execute(messages)
        except BaseException:  # noqa: BLE001  (that is what it is for)
            return []


class Unmakable(Corrector):
    """Cannot load what it needs."""

    def __init__(self, config: Any, **kwargs: Any) -> None:
        met("constructor", [])
        raise OSError("no model")


class FansOut(Corrector):
    """Makes a second producer out of PARAMS that are no section of its STEP_CONFIG, as steps do that copy them."""

    def __init__(self, config: Any, **kwargs: Any) -> None:
        super().__init__(config=config, **kwargs)
        own = config["PRODUCER_CONFIG"]
        self.second = KafkaProducer(
            {**own, "PARAMS": {**own["PARAMS"], "linger.ms": 1}, "TOPIC": f"{own['TOPIC']}-second"}
        )

    def pre_produce(self, result: Any) -> Any:
        for one in result:
            self.second.produce(one)
        return result


class ProducesInThreads(Corrector):
    """Makes its producer only when it needs it, in a thread of its own, and chooses partition and time."""

    def pre_produce(self, result: Any) -> Any:
        with ThreadPoolExecutor(1) as pool:
            for one in result:
                pool.submit(self._send, one).result()
        met("sent", result)
        return []

    def _send(self, one: dict[str, Any]) -> None:
        self.second = getattr(self, "second", None) or KafkaProducer(self.config["PRODUCER_CONFIG"])
        self.second.produce(one, partition=one["n"], timestamp=1_700_000_000_000 + one["n"])


class Prefixed(KafkaJsonConsumer):
    """A group's own consumer: JSON behind its magic."""

    def _deserialize_message(self, message: Any) -> Any:
        raw = message.value()
        if not raw.startswith(b"own:"):
            raise ValueError("no magic")
        return json.loads(raw[4:])
