"""``checkstreams`` logs in: what it finds, and that it names the likely cause where it is not let in."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError
from django.core.management import call_command
from django.test import override_settings

from tests.brokers import PASSWORD, USER, RealKafka, RunningKafka, ScriptedBroker, TokenEndpoint
from tests.brokers.tls import Certificate
from tests.effects import handlers
from tests.marks import CORE_TABLES
from tests.streams import entry, make, run_once
from tom_alertstreams.alertstreams import login
from tom_alertstreams.alertstreams.diagnosis import likely_cause
from tom_alertstreams.alertstreams.kafka import KafkaAlertStream
from tom_alertstreams.models import Installation, StreamPartition

pytestmark = CORE_TABLES

ALERCE = "alerce_stream.streams.AlerceAlertStream"
FIND_COORDINATOR = 10


class Checked:
    """One run of the command."""

    def __init__(self, *streams: dict[str, Any], arguments: tuple[str, ...] = ()) -> None:
        out, err = io.StringIO(), io.StringIO()
        self.code = 0
        with override_settings(ALERT_STREAMS=list(streams)):
            try:
                call_command("checkstreams", *arguments, stdout=out, stderr=err, no_color=True)
            except SystemExit as end:
                self.code = int(str(end.code))
        self.out, self.err = out.getvalue(), err.getvalue()

    @staticmethod
    def report(*streams: dict[str, Any]) -> dict[str, Any]:
        """What ``--json`` says of the first stream."""
        found: dict[str, Any] = json.loads(Checked(*streams, arguments=("--json",)).out)["streams"][0]
        return found


def cause(stream: dict[str, Any]) -> str:
    """Why it is not let in, in one word."""
    report = Checked.report(stream)
    assert report["login"] == "failed"
    found: str = report["failure"]["cause"]
    return found


def publish(broker: ScriptedBroker, topic: str, count: int, partitions: int = 1) -> None:
    broker.create_topic(topic, partitions)
    for number in range(count):
        broker.produce(topic, handlers.content(n=number), partition=number % partitions)
    broker.flush()


@pytest.fixture(autouse=True)
def fresh_handlers() -> Iterator[None]:
    handlers.reset()
    yield
    handlers.reset()


@pytest.mark.both_databases
class TestLetIn:
    def test_topics_of_each_key_and_how_far_behind(self, own_broker: ScriptedBroker, topic: str, group_id: str) -> None:
        for name in (f"{topic}_a", f"{topic}_b", f"{topic}_c", f"{topic}_d", "other"):
            publish(own_broker, name, 6, partitions=2)
        keys = {f"{topic}_*": "each", "other": "many", "absent_*": "one"}
        own_broker_of = (own_broker.bootstrap_servers, group_id, keys)
        run_once(make(*own_broker_of))
        StreamPartition.objects.filter(topic=f"{topic}_b", partition=1).update(next_offset=1)
        StreamPartition.objects.filter(topic=f"{topic}_d", partition=0).delete()
        checked = Checked(entry(*own_broker_of))
        assert checked.code == 0, checked.err
        assert checked.err == ""
        assert "logged in to the cluster" in checked.out
        lines = [line.strip() for line in checked.out.splitlines()]
        assert f"{topic}_* → tests.effects.handlers.each (@alert_handler, one transaction per group)" in lines
        shown = f"4 topics: {topic}_a, {topic}_b, {topic}_c, …; 2 alerts behind, not counting 1 partition not read yet"
        assert shown in lines
        assert "1 topic: other; 0 alerts behind" in lines
        assert "no topic yet" in lines

    def test_nothing_is_read_yet(self, own_broker: ScriptedBroker, topic: str, group_id: str) -> None:
        publish(own_broker, topic, 6, partitions=2)
        found = Checked.report(entry(own_broker.bootstrap_servers, group_id, {topic: "each"}))
        assert (found["login"], found["failure"]) == ("ok", None)
        assert found["keys"] == [
            {
                "key": topic,
                "handler": "tests.effects.handlers.each",
                "called": "@alert_handler, one transaction per group",
                "topics": 1,
                "first_topics": [topic],
                "lag": 0,
                "unknown": 2,
                "notes": [],
            }
        ]
        assert not StreamPartition.objects.exists()

    def test_a_topic_made_anew_is_not_negative(self, own_broker: ScriptedBroker, topic: str, group_id: str) -> None:
        publish(own_broker, topic, 2)
        stream = entry(own_broker.bootstrap_servers, group_id, {topic: "each"})
        run_once(make(own_broker.bootstrap_servers, group_id, {topic: "each"}))
        StreamPartition.objects.update(next_offset=99)
        assert Checked.report(stream)["keys"][0]["lag"] == 0


def test_it_leaves_no_trace_on_the_broker(own_broker: ScriptedBroker, topic: str, group_id: str) -> None:
    """No topic is made by asking for it, and the group has no member that others would wait for."""
    publish(own_broker, "there", 1)
    joined: list[int] = []
    own_broker.push_errors(own_broker.JOIN_GROUP, KafkaError.INVALID_GROUP_ID)
    checked = Checked(entry(own_broker.bootstrap_servers, group_id, {topic: "each", "there": "each"}))
    assert checked.code == 0, checked.err
    consumer = Consumer({"bootstrap.servers": own_broker.bootstrap_servers, "group.id": "another", "log_level": 0})
    try:
        assert set(consumer.list_topics(timeout=5).topics) == {"there"}
        # The error is still there: nobody has asked to join.
        consumer.subscribe(["there"])
        while not joined:
            message = consumer.poll(5)
            assert message is not None
            assert message.error() is not None
            joined.append(message.error().code())
    finally:
        consumer.close()
    assert joined == [KafkaError.INVALID_GROUP_ID]


def test_without_a_login_nothing_is_asked(topic: str) -> None:
    checked = Checked(entry("127.0.0.1:1", "group", {topic: "each"}), arguments=("--no-login",))
    assert (checked.code, checked.err) == (0, "")
    assert f"{topic} → tests.effects.handlers.each" in checked.out
    assert "logged in" not in checked.out


def test_streams_are_asked_side_by_side(own_broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that is away holds up nobody, and does not hide what the others say."""
    publish(own_broker, "there", 1)
    together = threading.Barrier(2, timeout=20)
    ask = login._ask

    def ask_together(stream: KafkaAlertStream, installation: str, timeout_s: float) -> Any:
        together.wait()
        return ask(stream, installation, timeout_s)

    monkeypatch.setattr(login, "_ask", ask_together)
    checked = Checked(
        entry("127.0.0.1:1", "group", {"there": "each"}, label="away"),
        entry(own_broker.bootstrap_servers, "group", {"there": "each"}, label="sound"),
    )
    assert checked.code == 1
    assert checked.err.startswith("away: nothing listens at this address and port")
    assert "sound" not in checked.err
    assert "1 topic: there" in checked.out


def test_legacy_streams_are_not_checked() -> None:
    stream = {
        "NAME": f"{__name__}.OwnListen",
        "LABEL": "own",
        "OPTIONS": entry("127.0.0.1:1", "g", {"t": "one"})["OPTIONS"],
    }
    checked = Checked(stream)
    assert (checked.code, checked.err) == (0, "")
    assert "the login is not checked: it reads by a listen() of its own" in checked.out


class OwnListen(KafkaAlertStream):
    def listen(self) -> None: ...


class TestNotLetIn:
    def test_closed_port(self) -> None:
        assert cause(entry("127.0.0.1:1", "group", {"t": "each"})) == "refused"

    def test_unknown_address(self) -> None:
        assert cause(entry("no.such.host.invalid:9092", "group", {"t": "each"})) == "address"

    def test_nobody_answers(self, silent_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(login.log_in, "__defaults__", (2.0,))
        checked = Checked(entry(f"127.0.0.1:{silent_port}", "group", {"t": "each"}))
        assert checked.code == 1
        assert "a firewall" in checked.err

    def test_plaintext_where_the_broker_wants_tls(self, tls_port: int) -> None:
        checked = Checked(entry(f"127.0.0.1:{tls_port}", "group", {"t": "each"}))
        assert checked.code == 1
        assert "it wants TLS, or a login" in checked.err

    def test_a_certificate_that_nobody_knows(self, tls_port: int) -> None:
        config = {"security.protocol": "SSL"}
        assert cause(entry(f"127.0.0.1:{tls_port}", "group", {"t": "each"}, CONFIG=config)) == "certificate"

    @pytest.mark.parametrize("request_kind", [FIND_COORDINATOR, ScriptedBroker.OFFSET_FETCH])
    def test_group_not_allowed(self, own_broker: ScriptedBroker, topic: str, request_kind: int) -> None:
        publish(own_broker, topic, 1)
        own_broker.push_errors(request_kind, *[KafkaError.GROUP_AUTHORIZATION_FAILED] * 50)
        checked = Checked(entry(own_broker.bootstrap_servers, "another-group", {topic: "each"}))
        assert checked.code == 1
        assert "this consumer group is not allowed. Begin GROUP_ID with the prefix" in checked.err
        assert "logged in to the cluster" in checked.out
        assert f"1 topic: {topic}" in checked.out

    def test_a_topic_not_allowed(self, own_broker: ScriptedBroker, topic: str) -> None:
        publish(own_broker, topic, 1)
        publish(own_broker, "sound", 1)
        own_broker.set_topic_error(topic, KafkaError.TOPIC_AUTHORIZATION_FAILED)
        checked = Checked(entry(own_broker.bootstrap_servers, "group", {topic: "each", "sound": "each"}))
        assert checked.code == 1
        assert f"the broker does not let us read {topic}" in checked.err
        assert "1 topic: sound" in checked.out

    def test_another_database_reads_with_the_group(self, own_broker: ScriptedBroker, topic: str) -> None:
        publish(own_broker, topic, 1)
        run_once(make(own_broker.bootstrap_servers, "group", {topic: "each"}))
        stream = entry(own_broker.bootstrap_servers, "group", {topic: "each"})
        assert Checked(stream).code == 0
        Installation.objects.all().delete()  # as after a restore of production's settings on a laptop
        checked = Checked(stream)
        assert checked.code == 1
        assert "reads with this consumer group; ours is" in checked.err
        taking_over = entry(own_broker.bootstrap_servers, "group", {topic: "each"}, delivery={"TAKE_OVER": True})
        assert Checked(taking_over).code == 0

    def test_settings_that_the_client_does_not_take(self) -> None:
        checked = Checked(entry("127.0.0.1:1", "group", {"t": "each"}, CONFIG={"no.such.key": "x"}))
        assert checked.code == 1
        assert "Correct CONFIG in the OPTIONS of the stream." in checked.err
        assert "no.such.key" in checked.err


class TestRealKafka:
    def alerce(self, kafka: RunningKafka, **options: Any) -> dict[str, Any]:
        given = {
            "BOOTSTRAP_SERVERS": kafka.sasl_servers,
            "USERNAME": USER,
            "PASSWORD": PASSWORD,
            "PROTOCOL": "SASL_PLAINTEXT",
            "TOPIC_HANDLERS": {"lc_classifier": "tests.effects.handlers.each"},
        }
        return {"NAME": ALERCE, "LABEL": "alerce", "OPTIONS": {**given, **options}}

    def test_let_in(self, real_kafka: RunningKafka, topic: str) -> None:
        real_kafka.create_topic(f"{topic}_20261231", partitions=2)
        found = Checked.report(self.alerce(real_kafka, TOPIC_HANDLERS={topic: "tests.effects.handlers.each"}))
        assert (found["login"], found["failure"]) == ("ok", None)
        assert (found["keys"][0]["topics"], found["keys"][0]["unknown"]) == (1, 2)

    def test_wrong_password(self, real_kafka: RunningKafka) -> None:
        checked = Checked(self.alerce(real_kafka, PASSWORD="not the password"))
        assert checked.code == 1
        assert checked.err.startswith("alerce: the user name or the password is wrong")
        assert "invalid credentials" in checked.err  # the broker's own words
        assert "not the password" not in checked.out + checked.err

    def test_tls_where_the_broker_speaks_plaintext(self, real_kafka: RunningKafka) -> None:
        assert cause(self.alerce(real_kafka, PROTOCOL="SASL_SSL")) == "plaintext"

    def test_no_login_where_the_broker_wants_one(self, real_kafka: RunningKafka) -> None:
        assert cause(entry(real_kafka.sasl_servers, "group", {"t": "each"})) == "tls"

    def test_a_login_where_the_broker_takes_none(self, real_kafka: RunningKafka) -> None:
        assert cause(self.alerce(real_kafka, BOOTSTRAP_SERVERS=real_kafka.bootstrap_servers)) == "no login"

    def test_wrong_client_secret(self, real_kafka: RunningKafka, token_endpoint: TokenEndpoint) -> None:
        stream = {
            "NAME": "tom_alertstreams.alertstreams.gcn.GCNClassicAlertStream",
            "LABEL": "gcn",
            "OPTIONS": {
                "GCN_CLASSIC_CLIENT_ID": "newcomer",
                "GCN_CLASSIC_CLIENT_SECRET": "not the secret",
                "TOPIC_HANDLERS": {"t": "tests.effects.handlers.each"},
                "CONFIG": {
                    "bootstrap.servers": real_kafka.sasl_servers,
                    "security.protocol": "SASL_PLAINTEXT",
                    "sasl.oauthbearer.token.endpoint.url": token_endpoint.url,
                },
            },
        }
        assert cause(stream) == "token"

    @pytest.mark.kafka
    def test_another_mechanism(self, tmp_path: Path) -> None:
        kafka = RealKafka(tmp_path)
        kafka._settings = kafka._settings.replace("mechanisms=SCRAM-SHA-512,", "mechanisms=")
        with kafka:
            checked = Checked(self.alerce(kafka))
        assert checked.code == 1
        assert "the broker does not take this SASL mechanism" in checked.err
        assert "supported mechanisms: " in checked.err
        assert "SCRAM-SHA-256" in checked.err


def test_no_error_at_all_is_silence() -> None:
    assert likely_cause([]).cause == "silent"


# --- ports -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def tls_port(tmp_path: Path) -> Iterator[int]:
    """A server that speaks TLS, with a certificate that nobody knows."""
    certificate = Certificate.made_in(tmp_path)
    context = certificate.server_context()

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            context.wrap_socket(connection, server_side=True).close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_accept, args=(server, serve), daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def _accept(server: socket.socket, serve: Callable[[socket.socket], None]) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:  # the test is over
            return
        serve(connection)
