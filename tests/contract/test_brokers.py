"""The brokers that the other tests stand on do what those tests take for granted."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from tests.brokers import RealKafka, RunningKafka, ScriptedBroker, TokenEndpoint, read


def _values(servers: str, topic: str, count: int, config: dict[str, Any] | None = None) -> list[bytes]:
    return sorted(message.value() for message in read(servers, topic, count, config))


class TestScriptedBroker:
    def test_group_is_joined_at_once(self, broker: ScriptedBroker, topic: str, group_id: str) -> None:
        broker.create_topic(topic)
        broker.produce(topic, b"1")
        broker.flush()
        since = time.monotonic()
        assert _values(broker.bootstrap_servers, topic, 1, {"session.timeout.ms": 2000}) == [b"1"]
        assert time.monotonic() - since < 2.5  # 0.2 s on an idle machine; 3 s and more if joining were delayed

    def test_topic_has_the_partitions_asked_for(self, broker: ScriptedBroker, topic: str) -> None:
        broker.create_topic(topic, partitions=3)
        for partition in range(3):
            broker.produce(topic, str(partition), partition=partition)
        broker.flush()
        assert _values(broker.bootstrap_servers, topic, 3) == [b"0", b"1", b"2"]
        with pytest.raises(KafkaException, match="partition"):
            broker.produce(topic, b"", partition=3)

    def test_broker_goes_down_and_comes_back(self, own_broker: ScriptedBroker, topic: str) -> None:
        own_broker.create_topic(topic)
        own_broker.broker_down()
        own_broker.produce(topic, b"1")
        with pytest.raises(RuntimeError, match="not delivered"):
            own_broker.flush(0.3)
        own_broker.broker_up()
        own_broker.flush()
        assert _values(own_broker.bootstrap_servers, topic, 1) == [b"1"]

    def test_commit_fails_on_command(self, own_broker: ScriptedBroker, topic: str, group_id: str) -> None:
        own_broker.create_topic(topic)
        own_broker.produce(topic, b"1")
        own_broker.flush()
        config = {**own_broker.CONSUMER_CONFIG, "bootstrap.servers": own_broker.bootstrap_servers}
        config |= {"group.id": group_id, "auto.offset.reset": "earliest", "enable.auto.commit": False, "log_level": 0}
        consumer = Consumer(config)
        try:
            consumer.subscribe([topic])
            message = None
            while message is None:
                message = consumer.poll(0.1)
            own_broker.push_errors(own_broker.OFFSET_COMMIT, KafkaError.ILLEGAL_GENERATION)
            with pytest.raises(KafkaException) as failure:
                consumer.commit(message, asynchronous=False)
            assert failure.value.args[0].code() == KafkaError.ILLEGAL_GENERATION
        finally:
            consumer.close()

    def test_answers_are_delayed_on_command(self, own_broker: ScriptedBroker, topic: str) -> None:
        own_broker.create_topic(topic)
        own_broker.produce(topic, b"1")
        own_broker.flush()
        own_broker.rtt(300)
        since = time.monotonic()
        own_broker.produce(topic, b"2")
        own_broker.flush()
        assert time.monotonic() - since > 0.25


class TestRealKafka:
    def test_eight_million_bytes_pass(self, real_kafka: RunningKafka, topic: str) -> None:
        real_kafka.create_topic(topic)
        real_kafka.produce(topic, b"x" * 8_000_000)
        real_kafka.flush()
        assert len(_values(real_kafka.bootstrap_servers, topic, 1)[0]) == 8_000_000

    @pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"])
    def test_login(self, real_kafka: RunningKafka, topic: str, mechanism: str) -> None:
        real_kafka.create_topic(topic)
        real_kafka.produce(topic, b"1")
        real_kafka.flush()
        assert _values(real_kafka.sasl_servers, topic, 1, real_kafka.sasl_config(mechanism)) == [b"1"]

    def test_wrong_password_is_refused(self, real_kafka: RunningKafka) -> None:
        errors: list[int] = []
        config = real_kafka.sasl_config(password="wrong")
        client = Producer({**config, "log_level": 0, "error_cb": lambda error: errors.append(error.code())})
        with pytest.raises(KafkaException):
            client.list_topics(timeout=3)
        client.poll(0)
        client.close()
        assert KafkaError._AUTHENTICATION in errors

    def test_login_with_a_token(self, real_kafka: RunningKafka, token_endpoint: TokenEndpoint, topic: str) -> None:
        real_kafka.create_topic(topic)
        real_kafka.produce(topic, b"1")
        real_kafka.flush()
        config = token_endpoint.client_config("newcomer", scope="gcn")
        assert _values(real_kafka.sasl_servers, topic, 1, config) == [b"1"]
        asked = token_endpoint.requests[0]
        assert (asked.grant_type, asked.client_id, asked.scope) == ("client_credentials", "newcomer", "gcn")

    def test_deleted_topic_is_gone(self, real_kafka: RunningKafka, topic: str) -> None:
        real_kafka.create_topic(topic, partitions=2)
        real_kafka.delete_topic(topic)
        with pytest.raises(KafkaException):
            real_kafka.delete_topic(topic)

    def test_data_outlives_stop_and_kill(self, own_kafka: RealKafka, topic: str) -> None:
        own_kafka.create_topic(topic)
        own_kafka.produce(topic, b"1")
        own_kafka.flush()
        own_kafka.stop()
        assert own_kafka.pid is None
        own_kafka.start()
        own_kafka.produce(topic, b"2")
        own_kafka.flush()
        assert _values(own_kafka.bootstrap_servers, topic, 2) == [b"1", b"2"]
        own_kafka.kill()
        own_kafka.start()
        assert _values(own_kafka.bootstrap_servers, topic, 2) == [b"1", b"2"]


def test_failure_to_start_shows_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if reason := RealKafka.missing():
        pytest.skip(reason)
    kafka = RealKafka(tmp_path)
    kafka._settings = kafka._settings.replace("num.partitions=4", "num.partitions=none")
    with pytest.raises(RuntimeError, match=r"num\.partitions"), kafka:
        pass


def test_token_endpoint_refuses_what_it_should(token_endpoint: TokenEndpoint) -> None:
    requests = pytest.importorskip("requests")
    form = {"grant_type": "client_credentials", "client_id": "a", "client_secret": "wrong"}
    assert requests.post(token_endpoint.url, data=form, timeout=5).status_code == 401
    form["client_secret"] = token_endpoint.client_secret
    token_endpoint.failures.append(503)
    assert requests.post(token_endpoint.url, data=form, timeout=5).status_code == 503
    answer = requests.post(token_endpoint.url, data=form, timeout=5).json()
    assert answer["token_type"] == "Bearer"
    assert answer["access_token"].count(".") == 2
    assert [request.client_secret for request in token_endpoint.requests] == ["wrong", "secret", "secret"]


def test_postgres_database_is_empty_and_ones_own(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        (name,) = connection.execute("SELECT current_database()").fetchone() or ("",)
        tables = connection.execute("SELECT 1 FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert postgres_url.endswith(name)
    assert name not in os.environ["TEST_DATABASE_URL"]
    assert tables == []
