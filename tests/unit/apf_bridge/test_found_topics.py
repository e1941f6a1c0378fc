"""Topics that a step's consumer finds on the broker, at its start and while it runs."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from apf_bridge.compat.consumers import KafkaJsonConsumer
from apf_bridge.compat.core.topic_management import DailyTopicStrategy, GenericTopicStrategy
from tests.brokers import ScriptedBroker

HERE = "tests.unit.apf_bridge.test_found_topics"


class Named(GenericTopicStrategy):
    """A strategy of a step's own."""

    def __init__(self, **topics: list[str]) -> None:
        self.found = topics["topics"]

    def get_topics(self) -> list[str]:
        return self.found


class Today(DailyTopicStrategy):
    """One that chooses the days by itself."""

    def get_topics(self) -> list[str]:
        return super().get_topics()[-1:]


def daily(prefix: str, name: str = "apf.core.topic_management.DailyTopicStrategy") -> dict[str, Any]:
    return {"TOPIC_STRATEGY": {"CLASS": name, "PARAMS": {"topic_format": f"{prefix}_%s", "retention_days": 1}}}


@contextmanager
def consuming(broker: ScriptedBroker, group_id: str, config: dict[str, Any], **params: Any) -> Iterator[Any]:
    own = {"bootstrap.servers": broker.bootstrap_servers, "group.id": group_id, **broker.CONSUMER_CONFIG, **params}
    consumer = KafkaJsonConsumer({"PARAMS": own, "TIMEOUT": 10, **config})
    try:
        yield consumer
    finally:
        consumer.stop()
        consumer.close()


def made(broker: ScriptedBroker, topic: str, *numbers: int) -> None:
    broker.create_topic(topic)
    for number in numbers:
        broker.produce(topic, json.dumps({"n": number}))
    broker.flush()


def taken(consumer: KafkaJsonConsumer, count: int) -> list[int]:
    """So many messages, each committed; fewer where no more come for 20 s."""
    found = []
    patience = threading.Timer(20, consumer.stop)
    patience.start()
    for message in consumer.consume():
        found.append(message["n"])
        consumer.commit()
        if len(found) == count:
            break
    patience.cancel()
    patience.join()
    return sorted(found)


def test_daily_topics_are_those_of_the_broker_and_not_of_the_clock(
    broker: ScriptedBroker, topic: str, group_id: str
) -> None:
    """Of a night long ago; and one that is made while it runs. Another classifier's are left alone."""
    made(broker, f"{topic}_20200101", 1, 2)
    made(broker, f"{topic}_ztf_20200101", 100)
    made(broker, f"{topic}_2020", 100)
    with consuming(broker, group_id, daily(topic)) as consumer:
        assert taken(consumer, 2) == [1, 2]
        made(broker, f"{topic}_20200102", 3, 4)
        made(broker, f"{topic}_ztf_20200102", 100)
        assert taken(consumer, 2) == [3, 4]


def test_a_regular_expression(broker: ScriptedBroker, topic: str, group_id: str) -> None:
    r"""POSIX does not know \d."""
    made(broker, f"{topic}_1", 1)
    with consuming(broker, group_id, {"TOPICS": [rf"^{topic}_\d"]}, **{"auto.offset.reset": "earliest"}) as consumer:
        assert taken(consumer, 1) == [1]
        made(broker, f"{topic}_2", 2)
        assert taken(consumer, 1) == [2]


@pytest.mark.parametrize("assignor", ["range", "cooperative-sticky"])
def test_a_new_topic_is_read_from_its_beginning_and_an_old_one_from_where_it_was_asked(
    broker: ScriptedBroker, topic: str, group_id: str, assignor: str
) -> None:
    made(broker, f"{topic}_20200101", 1)
    params = {"auto.offset.reset": "latest", "partition.assignment.strategy": assignor}
    with consuming(broker, group_id, daily(topic), **params) as consumer:
        consumer._poll(1, 5)  # joins, at the end of what there is
        assert not consumer._held
        made(broker, f"{topic}_20200102", 2, 3)
        assert taken(consumer, 2) == [2, 3]


def test_a_strategy_of_a_steps_own_is_asked_for_names(broker: ScriptedBroker, topic: str, group_id: str) -> None:
    made(broker, f"{topic}-a", 1)
    made(broker, f"{topic}-b", 2)
    strategy = {"TOPIC_STRATEGY": {"CLASS": f"{HERE}.Named", "PARAMS": {"topics": [f"{topic}-a"]}}}
    with consuming(broker, group_id, strategy) as consumer:
        assert taken(consumer, 1) == [1]
        consumer.topic_strategy.found = [f"{topic}-a", f"{topic}-b"]
        assert taken(consumer, 1) == [2]


def test_patterns() -> None:
    assert DailyTopicStrategy(["a.b_%s", "c_%s_d"], "%Y-%b").patterns() == [
        "^a[.]b_[0-9][0-9][0-9][0-9]-.*$",
        "^c_[0-9][0-9][0-9][0-9]-.*_d$",
    ]
    assert Today("a_%s").patterns() == []
