"""What only a real Kafka shows: logins, groups that share partitions, large messages, topics that come, grow and go."""

from __future__ import annotations

import hashlib
import json
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewPartitions
from hop.io import Producer

from tests.brokers import RealKafka, RunningKafka, TokenEndpoint
from tests.brokers.real import PASSWORD, USER
from tests.effects import handlers
from tests.effects.models import Effect
from tests.marks import CORE_TABLES
from tests.processes import wait_until
from tests.streams import counts, effects, make, next_offset
from tom_alertstreams.alerts import Alert
from tom_alertstreams.alertstreams.alertstream import AlertStream, get_alert_streams
from tom_alertstreams.delivery import loop
from tom_alertstreams.delivery.runs import State
from tom_alertstreams.delivery.source import Control
from tom_alertstreams.delivery.supervisor import StreamThread, Supervisor
from tom_alertstreams.models import DeadLetter, StreamRun

pytestmark = CORE_TABLES

HOPSKOTCH = "tom_alertstreams.alertstreams.hopskotch.HopskotchAlertStream"
ALERCE = "alerce_stream.streams.AlerceAlertStream"
GCN = "tom_alertstreams.alertstreams.gcn.GCNClassicAlertStream"
HANDLER = "tests.effects.handlers.each"
#: Short waits, as they fit a broker on this machine.
QUICK = {
    "session.timeout.ms": 2000,
    "heartbeat.interval.ms": 300,
    "fetch.wait.max.ms": 10,
    "topic.metadata.refresh.interval.ms": 200,
    "reconnect.backoff.max.ms": 300,
}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    handlers.reset()
    monkeypatch.setattr(loop, "_WAITING_EVERY_S", 0.02)
    monkeypatch.setattr(loop, "_FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(loop, "_LONGEST_PAUSE_S", 0.5)
    monkeypatch.setattr(loop, "_PROBE_EVERY_S", 0.2)
    monkeypatch.setattr(loop, "_POLL_S", 0.05)
    yield
    handlers.reset()


def stream(name: str, label: str = "test", **options: Any) -> AlertStream:
    return get_alert_streams([{"NAME": name, "LABEL": label, "OPTIONS": {"CONFIG": QUICK, **options}}])[0]


def publish(kafka: RunningKafka, topic: str, numbers: range, partitions: int = 1) -> None:
    for number in numbers:
        kafka.produce(topic, handlers.content(n=number), partition=number % partitions)
    kafka.flush()


@contextmanager
def started(*streams: AlertStream) -> Iterator[list[StreamThread]]:
    """Streams in threads of their own, until the block ends."""
    control = Control()
    threads = [StreamThread(made, control) for made in streams]
    for thread in threads:
        thread.start()
    try:
        yield threads
    finally:
        control.stopping.set()
        for thread in threads:
            thread.join(30)
    assert not [thread for thread in threads if thread.is_alive()]


def once(*streams: AlertStream) -> int:
    return Supervisor(streams, Control(once=True), shutdown_s=20).run()


class TestLogin:
    def test_hopskotch(self, real_kafka: RunningKafka, topic: str, group_id: str) -> None:
        real_kafka.create_topic(topic)
        for number in range(3):
            value, headers = Producer.pack({"n": number})
            real_kafka.produce(topic, value, headers=headers)
        real_kafka.flush()
        made = stream(
            HOPSKOTCH,
            URL=f"kafka://{real_kafka.sasl_servers}/",
            USERNAME=USER,
            PASSWORD=PASSWORD,
            GROUP_ID=f"{USER}-{group_id}",
            START_POSITION="EARLIEST",
            TOPIC_HANDLERS={topic: HANDLER},
            CONFIG={**QUICK, "security.protocol": "SASL_PLAINTEXT"},
        )
        assert made.consumer_config()["sasl.mechanism"] == "SCRAM-SHA-512"  # type: ignore[attr-defined]
        assert once(made) == 0
        assert effects(topic) == [0, 1, 2]

    @pytest.mark.parametrize("mechanism", [None, "SCRAM-SHA-256"])
    def test_alerce(self, real_kafka: RunningKafka, topic: str, group_id: str, mechanism: str | None) -> None:
        real_kafka.create_topic(f"{topic}_20261231")
        publish(real_kafka, f"{topic}_20261231", range(3))
        options = {"MECHANISM": mechanism} if mechanism else {}
        made = stream(
            ALERCE,
            BOOTSTRAP_SERVERS=real_kafka.sasl_servers,
            USERNAME=USER,
            PASSWORD=PASSWORD,
            GROUP_ID=f"{USER}-{group_id}",
            PROTOCOL="SASL_PLAINTEXT",
            TOPIC_HANDLERS={topic: HANDLER},
            **options,
        )
        config = made.consumer_config()  # type: ignore[attr-defined]
        assert config["sasl.mechanisms"] == (mechanism or "SCRAM-SHA-512")
        assert once(made) == 0
        assert effects(f"{topic}_20261231") == [0, 1, 2]

    def test_gcn(self, real_kafka: RunningKafka, token_endpoint: TokenEndpoint, topic: str, group_id: str) -> None:
        """Every key of three; one that is not there does not disturb the others, and a token does for all."""
        for kind in ("json", "voevent"):
            real_kafka.create_topic(f"{topic}.{kind}")
        publish(real_kafka, f"{topic}.json", range(3))
        real_kafka.produce(f"{topic}.voevent", b"<?xml version='1.0'?><VOEvent/>")
        real_kafka.flush()
        made = stream(
            GCN,
            GCN_CLASSIC_CLIENT_ID="newcomer",
            GCN_CLASSIC_CLIENT_SECRET=token_endpoint.client_secret,
            GROUP_ID=group_id,
            START_POSITION="EARLIEST",
            TOPIC_HANDLERS={f"{topic}.{kind}": HANDLER for kind in ("json", "absent", "voevent")},
            CONFIG={
                **QUICK,
                "bootstrap.servers": real_kafka.sasl_servers,
                "security.protocol": "SASL_PLAINTEXT",
                "sasl.oauthbearer.token.endpoint.url": token_endpoint.url,
            },
        )
        assert once(made) == 0
        assert effects(f"{topic}.json") == [0, 1, 2]
        assert [effect.note for effect in Effect.objects.filter(topic=f"{topic}.voevent")] == [
            str(b"<?xml version='1.0'?><VOEvent/>")
        ]
        assert {request.client_id for request in token_endpoint.requests} == {"newcomer"}


class TestRefused:
    @pytest.fixture
    def wrong(
        self, request: pytest.FixtureRequest, real_kafka: RunningKafka, token_endpoint: TokenEndpoint, topic: str
    ) -> AlertStream:
        handled = {"GROUP_ID": f"{USER}-{topic}", "TOPIC_HANDLERS": {topic: HANDLER}}
        if request.param == "OIDC":
            config = {
                **QUICK,
                "bootstrap.servers": real_kafka.sasl_servers,
                "security.protocol": "SASL_PLAINTEXT",
                "sasl.oauthbearer.token.endpoint.url": token_endpoint.url,
            }
            secrets = {"GCN_CLASSIC_CLIENT_ID": "newcomer", "GCN_CLASSIC_CLIENT_SECRET": "not the secret"}
            return stream(GCN, "wrong", **secrets, **handled, CONFIG=config)
        return stream(
            ALERCE,
            "wrong",
            BOOTSTRAP_SERVERS=real_kafka.sasl_servers,
            USERNAME=USER,
            PASSWORD="not the password",
            PROTOCOL="SASL_PLAINTEXT",
            **handled,
        )

    @pytest.mark.parametrize("wrong", ["SCRAM", "OIDC"], indirect=True)
    def test_wrong_password(
        self,
        wrong: AlertStream,
        real_kafka: RunningKafka,
        topic: str,
        group_id: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """It is down and says what to do, at once; a sound stream of the same process runs on."""
        monkeypatch.setattr(loop, "_ONCE_PATIENCE_S", 6.0)
        real_kafka.create_topic(f"{topic}-sound")
        sound = make(real_kafka.bootstrap_servers, group_id, {f"{topic}-sound": "one"}, label="sound", CONFIG=QUICK)
        with started(wrong, sound) as (refused, running_on):
            wait_until(lambda: refused.status.state is State.DOWN, "the stream to be down", 12)
            assert "Check the user name and the password" in refused.status.reason
            publish(real_kafka, f"{topic}-sound", range(3))
            wait_until(lambda: len(effects(f"{topic}-sound")) == 3, "the alerts of the sound stream")
            assert running_on.status.state is State.RUNNING
        assert once(wrong) == 1
        runs = StreamRun.objects.filter(stream="wrong")
        assert {(run.state, run.ended is not None) for run in runs} == {("down", True)}
        assert all("Check the user name and the password" in run.reason for run in runs)
        texts = [str(row.__dict__) for row in StreamRun.objects.all()]
        assert not [text for text in texts if "not the password" in text or "not the secret" in text]


@pytest.mark.both_databases
class TestGroup:
    @pytest.mark.parametrize("handler", ["one", "each", "many"])
    def test_two_consumers_share_the_partitions(
        self, real_kafka: RunningKafka, topic: str, group_id: str, handler: str
    ) -> None:
        """The second joins in the middle, the first leaves later, and alerts come all the time."""
        real_kafka.create_topic(topic, partitions=4)
        sent = 0

        def publish_until(condition: Any, what: str) -> None:
            nonlocal sent

            def publish_some() -> bool:
                nonlocal sent
                publish(real_kafka, topic, range(sent, sent + 20), partitions=4)
                sent += 20
                return bool(condition())

            wait_until(publish_some, what)

        def one_of_two() -> AlertStream:
            return make(real_kafka.bootstrap_servers, group_id, {topic: handler}, CONFIG=QUICK)

        publish(real_kafka, topic, range(200), partitions=4)
        sent = 200
        with started(one_of_two()) as (first,):
            publish_until(lambda: first.status.tally["done"] >= 40, "the first to be at work")
            with started(one_of_two()) as (second,):
                publish_until(lambda: second.status.tally["done"] >= 40, "the second to be at work")
                both = first.status.tally["done"]
                publish_until(lambda: first.status.tally["done"] >= both + 40, "the first to go on")
                first.control.stopping.set()
                first.join(20)
                alone = second.status.tally["done"]
                publish_until(lambda: second.status.tally["done"] >= alone + 80, "the second to take all of it")
                wait_until(lambda: Effect.objects.count() >= sent, "all effects")
        expected = Counter((number % 4, number // 4) for number in range(sent))
        assert Counter(Effect.objects.values_list("partition", "offset")) == expected
        assert counts() == {"done": sent}
        assert first.status.tally["done"] + second.status.tally["done"] == sent
        assert [next_offset(group_id, topic, partition) for partition in range(4)] == [sent // 4] * 4


@pytest.mark.both_databases
def test_eight_million_bytes(real_kafka: RunningKafka, topic: str, group_id: str) -> None:
    """Delivered; and where the handler fails kept to the last byte."""
    noise = random.Random(7)
    values = [json.dumps({"n": n, "stamp": noise.randbytes(3_999_980).hex()}).encode() for n in range(2)]
    values = [value + b" " * (8_000_000 - len(value)) for value in values]
    real_kafka.create_topic(topic)
    for value in (handlers.content(n="small"), *values, handlers.content(n="small")):
        real_kafka.produce(topic, value)
    real_kafka.flush()
    sizes: list[int] = []

    def fail(alert: Alert) -> None:
        sizes.append(alert.size)
        if alert.offset == 2:
            raise ValueError(str(alert.content))

    handlers.trouble.append(fail)
    assert once(make(real_kafka.bootstrap_servers, group_id, {topic: "each"}, CONFIG=QUICK)) == 0
    assert effects(topic) == [0, 1, 3]
    assert sizes.count(8_000_000) > 1
    letter = DeadLetter.objects.get()
    assert (letter.offset, letter.state, letter.attempts) == (2, "open", 3)
    kept = bytes(letter.raw or b"")
    assert len(kept) == 8_000_000
    assert hashlib.sha256(kept).digest() == hashlib.sha256(values[1]).digest()
    assert len(letter.error) + len(letter.traceback) < 100_000  # texts are cut, bytes are not


class TestTopics:
    @pytest.mark.parametrize(
        "while_reading",
        [
            True,
            False,
        ],
    )
    def test_made_anew(
        self,
        real_kafka: RunningKafka,
        topic: str,
        group_id: str,
        while_reading: bool,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Its offsets begin again, below ours: that is told, and it is read on."""

        def make_anew() -> None:
            real_kafka.delete_topic(topic)
            wait_until(lambda: _created(real_kafka, topic), "the topic to be gone and made anew")
            publish(real_kafka, topic, range(100, 103))

        def notes() -> list[str]:
            return list(Effect.objects.order_by("pk").values_list("note", flat=True))

        old, new = ([str({"n": n}) for n in numbers] for numbers in (range(5), range(100, 103)))
        stream_of = (real_kafka.bootstrap_servers, group_id, {topic: "each"})
        real_kafka.create_topic(topic)
        publish(real_kafka, topic, range(5))
        with started(make(*stream_of, CONFIG=QUICK)):
            wait_until(lambda: len(notes()) == 5, "the first alerts")
            if while_reading:
                make_anew()
                wait_until(lambda: len(notes()) >= 8, "the alerts of the new topic")
        if not while_reading:
            make_anew()
            assert once(make(*stream_of, CONFIG=QUICK)) == 0
        assert notes() == [*old, *new]
        assert next_offset(group_id, topic) == 3
        assert "the topic was deleted and made anew" in caplog.text
        assert not DeadLetter.objects.exists()

    def test_born_while_reading(self, real_kafka: RunningKafka, topic: str, group_id: str) -> None:
        """What matches a glob is found, and read from its beginning though old topics are not."""
        real_kafka.create_topic(f"{topic}-old")
        publish(real_kafka, f"{topic}-old", range(4))
        made = make(
            real_kafka.bootstrap_servers, group_id, {f"{topic}-*": "one"}, delivery={"START": "latest"}, CONFIG=QUICK
        )
        with started(made) as (thread,):
            wait_until(lambda: thread.status.state is State.RUNNING, "the stream to read")
            real_kafka.create_topic(f"{topic}-new", partitions=2)
            publish(real_kafka, f"{topic}-new", range(6), partitions=2)
            publish(real_kafka, f"{topic}-old", range(4, 6))
            wait_until(lambda: len(effects(f"{topic}-new")) >= 6, "the alerts of the new topic")
            wait_until(lambda: len(effects(f"{topic}-old")) >= 2, "the alerts of the old topic")
        assert effects(f"{topic}-new") == [0, 0, 1, 1, 2, 2]
        assert effects(f"{topic}-old") == [4, 5]

    def test_partitions_added_while_reading(self, real_kafka: RunningKafka, topic: str, group_id: str) -> None:
        real_kafka.create_topic(topic, partitions=1)
        publish(real_kafka, topic, range(4))
        made = make(real_kafka.bootstrap_servers, group_id, {topic: "one"}, delivery={"START": "latest"}, CONFIG=QUICK)
        with started(made) as (thread,):
            wait_until(lambda: thread.status.state is State.RUNNING, "the stream to read")
            admin = AdminClient({"bootstrap.servers": real_kafka.bootstrap_servers, "log_level": 0})
            admin.create_partitions([NewPartitions(topic, 3)])[topic].result(20)
            # Another producer: the first one learns of the partitions when its metadata is old.
            with RunningKafka(real_kafka.bootstrap_servers, real_kafka.sasl_servers) as publisher:
                for number in range(9):
                    publisher.produce(topic, handlers.content(n=number), partition=number % 3)
                publisher.flush()
            wait_until(lambda: len(effects(topic)) >= 9, "the alerts of all partitions")
        found = Counter(Effect.objects.values_list("partition", "offset"))
        expected = [(0, 4), (0, 5), (0, 6), *((partition, offset) for partition in (1, 2) for offset in range(3))]
        assert found == Counter(expected)


def _created(kafka: RunningKafka, topic: str) -> bool:
    """A topic that is being deleted cannot be made at once."""
    try:
        kafka.create_topic(topic)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return False
        raise
    return True


def test_broker_stops_and_comes_back(own_kafka: RealKafka, topic: str, group_id: str) -> None:
    """The stream waits, says so, and goes on; what is handled when the broker goes is not handled again."""
    at_work, gate = threading.Event(), threading.Event()

    def hold(alert: Alert) -> None:
        if (alert.partition, alert.offset) == (1, 5):
            at_work.set()
            assert gate.wait(60)

    own_kafka.create_topic(topic, partitions=2)
    publish(own_kafka, topic, range(20), partitions=2)
    handlers.trouble.append(hold)
    with started(make(own_kafka.bootstrap_servers, group_id, {topic: "one"}, CONFIG=QUICK)) as (thread,):
        wait_until(at_work.is_set, "the alert that holds the stream up")
        own_kafka.stop()
        gate.set()
        wait_until(lambda: thread.status.state is State.WAITING, "the stream to wait")
        own_kafka.start()
        publish(own_kafka, topic, range(20, 30), partitions=2)
        wait_until(lambda: Effect.objects.count() >= 30, "all effects")
        wait_until(lambda: thread.status.state is State.RUNNING, "the stream to run")
    expected = Counter((partition, offset) for partition in range(2) for offset in range(15))
    assert Counter(Effect.objects.values_list("partition", "offset")) == expected
    assert counts() == {"done": 30}
    assert len(handlers.calls) == 30
