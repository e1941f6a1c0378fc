"""No topic of the broker has the name of a key: the stream says so, whatever came between, and reads one that appears."""

from __future__ import annotations

import pytest

from tests.brokers import ScriptedBroker
from tests.marks import CORE_TABLES
from tests.processes import wait_until
from tests.streams import effects, in_a_thread, make, run_once, send
from tom_alertstreams.delivery import loop
from tom_alertstreams.delivery.runs import State
from tom_alertstreams.models import StreamRun

pytestmark = [CORE_TABLES, pytest.mark.usefixtures("fresh_handlers")]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_TOPICS_EVERY_S", "_PROBE_EVERY_S", "_LONGEST_PAUSE_S"):
        monkeypatch.setattr(loop, name, 0.1)


def test_it_is_said_and_a_topic_that_appears_is_read(broker: ScriptedBroker, topic: str, group_id: str) -> None:
    broker.create_topic(f"{topic}-other")
    with in_a_thread(make(broker.bootstrap_servers, group_id, {topic: "one", f"{topic}.2": "one"})) as thread:
        wait_until(StreamRun.objects.filter(state="no_topic").exists, "the stream to say it")
        assert StreamRun.objects.get().reason == f"its broker has no topic for its keys: {topic}, {topic}.2"
        broker.create_topic(topic)
        send(broker, topic, range(3))
        wait_until(lambda: effects(topic) == [0, 1, 2], "the alerts of the topic")
        wait_until(lambda: thread.status.state is State.RUNNING, "the stream to run")


def test_a_name_of_a_group_that_has_enough_members_is_none(broker: ScriptedBroker, topic: str, group_id: str) -> None:
    """A standby gets no partition of a topic that is there."""
    broker.create_topic(topic)
    stream = (broker.bootstrap_servers, group_id, {topic: "one"})
    with in_a_thread(make(*stream)) as first, in_a_thread(make(*stream)) as second:
        for thread in (first, second):
            wait_until(lambda: thread.status.state is State.RUNNING, "both to run")  # noqa: B023


def test_after_an_outage_it_waits_no_more(own_broker: ScriptedBroker, topic: str, group_id: str) -> None:
    own_broker.create_topic(f"{topic}-other")
    with in_a_thread(make(own_broker.bootstrap_servers, group_id, {topic: "one"})) as thread:
        wait_until(lambda: thread.status.state is State.NO_TOPIC, "the stream to say it")
        own_broker.broker_down()
        wait_until(lambda: thread.status.state is State.WAITING, "the stream to wait")
        own_broker.broker_up()
        wait_until(lambda: thread.status.state is State.NO_TOPIC, "the stream to say it again")


def test_once_ends(broker: ScriptedBroker, topic: str, group_id: str) -> None:
    broker.create_topic(f"{topic}-other")
    assert run_once(make(broker.bootstrap_servers, group_id, {topic: "one"})).state is State.STOPPED
