"""One group, one database: a laptop with production's settings must not eat production's alerts."""

from __future__ import annotations

import uuid

import pytest
from confluent_kafka import Consumer, TopicPartition

from tests.brokers import ScriptedBroker
from tests.marks import CORE_TABLES
from tests.streams import effects, make, next_offset, publish, run_once
from tom_alertstreams.delivery.source import Control
from tom_alertstreams.delivery.supervisor import NEEDS_YOU, Supervisor
from tom_alertstreams.exceptions import TakenOver
from tom_alertstreams.models import Installation, StreamPartition, StreamRun, SubscribedKey

pytestmark = [CORE_TABLES, pytest.mark.usefixtures("fresh_handlers")]


@pytest.fixture
def production(broker: ScriptedBroker, topic: str, group_id: str) -> str:
    """The id of a database that has handled five of ten alerts; the one of this test is another one afterwards."""
    publish(broker, topic, 10)
    run_once(make(broker.bootstrap_servers, group_id, {topic: "one"}), Control(max_alerts=5))
    owner = str(Installation.current().id)
    Installation.objects.update(id=uuid.uuid4())
    StreamPartition.objects.all().delete()
    SubscribedKey.objects.all().delete()
    return owner


@pytest.mark.timeout(40)  # else it goes on for ever
def test_another_database_stops_the_stream(broker: ScriptedBroker, topic: str, group_id: str, production: str) -> None:
    """It names both, does nothing, and is not started again."""
    stream = make(broker.bootstrap_servers, group_id, {topic: "one"})
    assert Supervisor([stream], Control(), shutdown_s=30).run() == NEEDS_YOU
    assert effects(topic) == [0, 1, 2, 3, 4]
    run = StreamRun.objects.latest("pk")
    assert run.state == "taken"
    assert production in run.reason
    assert str(Installation.current().id) in run.reason
    assert "GROUP_ID" in run.reason
    assert "TAKE_OVER" in run.reason


def test_take_over(broker: ScriptedBroker, topic: str, group_id: str, production: str) -> None:
    """It goes on where the other one was, and the other one stops from then on."""
    stream = (broker.bootstrap_servers, group_id, {topic: "one"})
    run_once(make(*stream, delivery={"TAKE_OVER": True}))
    assert effects(topic) == list(range(10))
    assert next_offset(group_id, topic) == 10
    run_once(make(*stream))  # the group is ours now
    Installation.objects.update(id=production)
    with pytest.raises(TakenOver, match=production):
        run_once(make(*stream))


def test_the_mark_of_another_program_is_nobodys(broker: ScriptedBroker, topic: str, group_id: str) -> None:
    """As left by tom-alertstreams 1.x: the group goes on where it was."""
    publish(broker, topic, 10)
    consumer = Consumer({"bootstrap.servers": broker.bootstrap_servers, "group.id": group_id})
    consumer.commit(offsets=[TopicPartition(topic, 0, 7, "something else")], asynchronous=False)
    consumer.close()
    run_once(make(broker.bootstrap_servers, group_id, {topic: "one"}))
    assert effects(topic) == [7, 8, 9]
