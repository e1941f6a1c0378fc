"""The embedded broker, which demos and other people's tests stand on."""

from __future__ import annotations

import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError

from tests.brokers import ScriptedBroker, read
from tom_alertstreams.exceptions import DecodeError
from tom_alertstreams.testing import EmbeddedBroker, make_alert


@pytest.fixture(scope="module")
def embedded() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


def test_message_arrives_as_it_was_produced(embedded: EmbeddedBroker, topic: str) -> None:
    embedded.produce(topic, b"\x00\xff", key="k", headers={"_id": b"\x01"}, timestamp=1_700_000_000_123)
    embedded.produce(topic, None, headers=[("a", "1"), ("a", "2")])
    embedded.flush()
    first, tombstone = read(embedded.bootstrap_servers, topic, 2)
    assert (first.value(), first.key(), first.headers()) == (b"\x00\xff", b"k", [("_id", b"\x01")])
    assert first.timestamp()[1] == 1_700_000_000_123
    assert (tombstone.value(), tombstone.headers()) == (None, [("a", b"1"), ("a", b"2")])


def test_messages_keep_their_order_in_the_first_partition(embedded: EmbeddedBroker, topic: str) -> None:
    for number in range(500):
        embedded.produce(topic, str(number))
    embedded.flush()
    messages = read(embedded.bootstrap_servers, topic, 500)
    assert [int(message.value()) for message in messages] == list(range(500))
    assert {message.partition() for message in messages} == {0}


def test_created_topic_has_four_partitions(embedded: EmbeddedBroker, topic: str) -> None:
    embedded.create_topic(topic)
    embedded.create_topic(topic)
    consumer = Consumer({"bootstrap.servers": embedded.bootstrap_servers, "group.id": uuid.uuid4().hex})
    try:
        assert len(consumer.list_topics(topic, timeout=5).topics[topic].partitions) == 4
    finally:
        consumer.close()


def test_group_continues_where_it_committed(embedded: EmbeddedBroker, topic: str, group_id: str) -> None:
    for value in "abc":
        embedded.produce(topic, value)
    embedded.flush()
    group = {"group.id": group_id}
    read(embedded.bootstrap_servers, topic, 1, {**group, "enable.auto.commit": True})
    assert [message.value() for message in read(embedded.bootstrap_servers, topic, 2, group)] == [b"b", b"c"]


def test_refused_message_is_told_once(own_broker: ScriptedBroker, topic: str) -> None:
    own_broker.create_topic(topic)
    own_broker.push_errors(own_broker.PRODUCE, KafkaError.MSG_SIZE_TOO_LARGE)
    own_broker.produce(topic, b"1")
    with pytest.raises(RuntimeError, match=rf"1 messages were refused: {topic}\[0\]"):
        own_broker.flush(5)
    own_broker.produce(topic, b"2")
    own_broker.flush(5)


def test_nothing_listens_after_close() -> None:
    broker = EmbeddedBroker()
    host, port = broker.bootstrap_servers.split(":")
    broker.close()
    broker.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), 2)


def test_import_needs_no_django() -> None:
    program = "import sys, tom_alertstreams.testing; sys.exit('django' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_says_nothing_on_the_terminal() -> None:
    program = (
        "from tom_alertstreams.testing import EmbeddedBroker\n"
        "with EmbeddedBroker() as broker:\n    broker.produce('t', b'1')\n    broker.flush()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


class TestMakeAlert:
    def test_of_a_content(self) -> None:
        alert = make_alert({"n": [1]}, topic="t", headers={"_id": "x"}, offset=3)
        assert (alert.raw, alert.coordinates, alert.headers) == (b'{"n": [1]}', "t[0]@3", (("_id", b"x"),))
        alert.content["n"].append(2)
        assert alert.content == {"n": [1, 2]}
        assert alert.fresh().content == {"n": [1]}

    def test_of_the_bytes_of_a_real_alert(self) -> None:
        assert make_alert(raw=b'{"n": 1}').content == {"n": 1}
        with pytest.raises(DecodeError):
            _ = make_alert(raw=b"").content

    @pytest.mark.parametrize("given", [{}, {"content": {}, "raw": b""}])
    def test_one_of_both(self, given: dict[str, Any]) -> None:
        with pytest.raises(TypeError, match="either content or raw"):
            make_alert(**given)
