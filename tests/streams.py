"""Runs streams in a test as ``readstreams`` would, to the end of what is there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.brokers import RunningKafka, ScriptedBroker
from tests.effects import handlers
from tests.effects.models import Effect
from tests.secret import PASSWORD
from tom_alertstreams.alertstreams.alertstream import AlertStream, get_alert_streams
from tom_alertstreams.delivery.loop import DeliveryLoop
from tom_alertstreams.delivery.runs import Status
from tom_alertstreams.delivery.source import Control
from tom_alertstreams.delivery.supervisor import StreamThread
from tom_alertstreams.models import OutcomeCount, StreamPartition

KAFKA_STREAM = "tom_alertstreams.alertstreams.kafka.KafkaAlertStream"
QUICK_RETRY = {"TOTAL": 3, "MIN_WAIT_S": 0.05, "MAX_WAIT_S": 1, "BACKOFF": 1}


def entry(
    bootstrap_servers: str,
    group_id: str,
    handlers: dict[str, Any],
    *,
    label: str = "test",
    delivery: dict[str, Any] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """An entry of ALERT_STREAMS for the generic stream. Handlers of tests.effects.handlers may be named shortly."""
    full = {key: f"tests.effects.handlers.{value}" if _short(value) else value for key, value in handlers.items()}
    config = {**ScriptedBroker.CONSUMER_CONFIG, "sasl.password": PASSWORD, **options.pop("CONFIG", {})}
    return {
        "NAME": KAFKA_STREAM,
        "LABEL": label,
        "OPTIONS": {
            "BOOTSTRAP_SERVERS": bootstrap_servers,
            "GROUP_ID": group_id,
            "TOPIC_HANDLERS": full,
            "CONFIG": config,
            **options,
        },
        "DELIVERY": {"RETRY": QUICK_RETRY, **(delivery or {})},
    }


def _short(value: Any) -> bool:
    return isinstance(value, str) and "." not in value


def make(*args: Any, **kwargs: Any) -> AlertStream:
    """A stream from the arguments of :func:`entry`."""
    return get_alert_streams([entry(*args, **kwargs)])[0]


def publish(broker: ScriptedBroker, topic: str, count: int, partition: int = 0, **content: Any) -> None:
    """Write so many JSON messages, numbered ``n``, to a partition of a topic that is made if need be."""
    broker.create_topic(topic)
    send(broker, topic, range(count), partition, **content)


def send(
    broker: ScriptedBroker | RunningKafka, topic: str, numbers: Iterable[int], partition: int = 0, **content: Any
) -> None:
    """The same of these numbers, to a topic that is there."""
    for number in numbers:
        broker.produce(topic, handlers.content(n=number, **content), partition=partition)
    broker.flush()


def run_once(stream: AlertStream, control: Control | None = None) -> Status:
    """Deliver to the end of what is there; what happened is in the status."""
    status = Status(stream.settings.label)
    DeliveryLoop(stream, control or Control(once=True), status).run()  # type: ignore[arg-type]
    return status


def counts(label: str = "test") -> dict[str, int]:
    """Outcome (with its code) → number of alerts."""
    rows = OutcomeCount.objects.filter(stream=label).values_list("outcome", "code", "n")
    total: dict[str, int] = {}
    for outcome, code, n in rows:
        key = f"{outcome}:{code}" if code else outcome
        total[key] = total.get(key, 0) + n
    return total


def effects(topic: str) -> list[int]:
    """Offsets of the effects of a topic, in order of offset."""
    return list(Effect.objects.filter(topic=topic).order_by("offset").values_list("offset", flat=True))


def next_offset(group_id: str, topic: str, partition: int = 0) -> int:
    """What the database says comes next."""
    return StreamPartition.objects.get(group_id=group_id, topic=topic, partition=partition).next_offset


@contextmanager
def in_a_thread(stream: AlertStream) -> Iterator[StreamThread]:
    """A stream in a thread, as the supervisor runs it, until the block ends."""
    control = Control()
    thread = StreamThread(stream, control)  # type: ignore[arg-type]
    thread.start()
    try:
        yield thread
    finally:
        control.stopping.set()
        thread.join(30)
    assert not thread.is_alive()
