"""The GCN stream: configuration, content, what 1.x handlers get."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import gcn_kafka
import pytest
from confluent_kafka import Message
from django.core.exceptions import ImproperlyConfigured

from tests.brokers import RunningKafka, TokenEndpoint
from tom_alertstreams.alerts import Alert
from tom_alertstreams.alertstreams.gcn import GCNClassicAlertStream, alert_logger
from tom_alertstreams.delivery.source import Control
from tom_alertstreams.delivery.supervisor import Supervisor
from tom_alertstreams.exceptions import ConfigurationError, DecodeError
from tom_alertstreams.models import DeadLetter, Installation, OutcomeCount

LOGGER = "tom_alertstreams.alertstreams.gcn.alert_logger"


def make(**options: Any) -> GCNClassicAlertStream:
    given = {
        "GCN_CLASSIC_CLIENT_ID": "client",
        "GCN_CLASSIC_CLIENT_SECRET": "very secret",
        "TOPIC_HANDLERS": {"gcn.circulars": LOGGER},
        **options,
    }
    return GCNClassicAlertStream(**given)


def alert_of(topic: str, raw: bytes | None) -> Alert:
    return make().restore_alert(topic=topic, partition=0, offset=7, key=None, headers=(), timestamp=None, raw=raw)


class TestConfiguration:
    def test_login_is_gcn_kafkas(self) -> None:
        config = make().consumer_config()
        assert config["bootstrap.servers"] == "kafka.gcn.nasa.gov"
        assert config["security.protocol"].upper() == "SASL_SSL"
        assert config["sasl.mechanisms"] == "OAUTHBEARER"
        assert config["sasl.oauthbearer.client.id"] == "client"
        assert config["sasl.oauthbearer.client.secret"] == "very secret"
        assert config["sasl.oauthbearer.token.endpoint.url"] == "https://auth.gcn.nasa.gov/oauth2/token"
        assert Path(config["ssl.ca.location"]).is_file()

    def test_the_loop_chooses_group_and_start(self) -> None:
        stream = make(CONFIG={"group.id": "mine", "auto.offset.reset": "earliest"})
        assert not {"group.id", "auto.offset.reset", "client_id", "domain"} & stream.consumer_config().keys()
        assert (stream.group_id, stream.start) == ("mine", "earliest")
        assert "group.id" not in make().consumer_config()

    @pytest.mark.parametrize("options", [{}, {"DOMAIN": None, "CONFIG": None}, {"CONFIG": {}}])
    def test_domain_and_config_are_optional(self, options: dict[str, Any]) -> None:
        stream = make(**options)
        assert stream.consumer_config()["bootstrap.servers"] == "kafka.gcn.nasa.gov"
        assert stream.start == "latest"

    def test_domain(self) -> None:
        config = make(DOMAIN="test.gcn.nasa.gov").consumer_config()
        assert config["bootstrap.servers"] == "kafka.test.gcn.nasa.gov"
        assert config["sasl.oauthbearer.token.endpoint.url"] == "https://auth.test.gcn.nasa.gov/oauth2/token"

    def test_config_comes_last(self) -> None:
        given = {
            "bootstrap.servers": "127.0.0.1:1",
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.oauthbearer.token.endpoint.url": "http://127.0.0.1:2/token",
            "sasl.oauthbearer.client.id": "another",
        }
        config = make(CONFIG=given).consumer_config()
        assert config.items() >= given.items()
        assert "ssl.ca.location" not in config

    def test_config_stays_as_it_was_given(self) -> None:
        given = {"fetch.wait.max.ms": 10}
        stream = make(CONFIG=given)
        stream.consumer_config()
        assert given == {"fetch.wait.max.ms": 10}
        assert stream.config is given  # type: ignore[attr-defined]

    def test_names_that_gcn_kafka_takes_out_of_config(self) -> None:
        config = make(CONFIG={"domain": "dev.gcn.nasa.gov"}).consumer_config()
        assert config["bootstrap.servers"] == "kafka.dev.gcn.nasa.gov"
        assert "domain" not in config

    def test_mirror_without_a_login(self) -> None:
        stream = make(GCN_CLASSIC_CLIENT_ID="", GCN_CLASSIC_CLIENT_SECRET="", CONFIG={"bootstrap.servers": "a:1"})
        assert stream.consumer_config() == {"bootstrap.servers": "a:1", "security.protocol": "PLAINTEXT"}

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"GCN_CLASSIC_CLIENT_ID": None}, "CLIENT_ID is empty"),
            ({"GCN_CLASSIC_CLIENT_ID": ""}, "CLIENT_ID is empty"),
            ({"GCN_CLASSIC_CLIENT_SECRET": None}, "CLIENT_SECRET is empty"),
            ({"CONFIG": "kafka"}, "CONFIG is not a dict"),
        ],
    )
    def test_what_cannot_be_used_is_told(self, options: dict[str, Any], words: str) -> None:
        with pytest.raises(ConfigurationError, match=words):
            make(**options)

    def test_credentials_are_required(self) -> None:
        with pytest.raises(ImproperlyConfigured, match="GCN_CLASSIC_CLIENT_ID, GCN_CLASSIC_CLIENT_SECRET"):
            GCNClassicAlertStream(TOPIC_HANDLERS={"gcn.circulars": LOGGER})

    def test_missing_gcn_kafka_names_the_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "gcn_kafka", None)
        with pytest.raises(ConfigurationError, match=r"pip install 'tom-alertstreams\[gcn\]'"):
            make()

    def test_old_gcn_kafka_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gcn_kafka, "__version__", "0.3.3")
        with pytest.raises(ConfigurationError, match=r"0\.3\.3 is too old"):
            make()

    @pytest.mark.django_db
    def test_group(self) -> None:
        assert make(GROUP_ID="mine").group_id == "mine"
        assert make(GROUP_ID=None).group_id == f"tom-{Installation.current().id}"


class TestContent:
    def test_json(self) -> None:
        assert alert_of("gcn.notices.einstein_probe.wxt.alert", b' {"ra": 1.5}').content == {"ra": 1.5}

    @pytest.mark.parametrize("raw", [b"<?xml version='1.0'?><a/>", b"\n <a/>", b"\xef\xbb\xbf<a/>", b"<a>\xe9</a>"])
    def test_xml_stays_bytes(self, raw: bytes) -> None:
        assert alert_of("gcn.classic.voevent.FERMI_GBM_GND_POS", raw).content == raw

    def test_text(self) -> None:
        assert alert_of("gcn.classic.text.FERMI_GBM_GND_POS", b"TITLE: GCN\n").content == "TITLE: GCN\n"

    def test_binary_stays_bytes(self) -> None:
        raw = b"{" + bytes(159)
        assert alert_of("gcn.classic.binary.FERMI_GBM_GND_POS", raw).content == raw

    @pytest.mark.parametrize(
        ("topic", "raw", "words"),
        [
            ("gcn.classic.binary.FERMI_GBM_GND_POS", b"short", "5 bytes; a binary notice has 160"),
            ("gcn.classic.binary.FERMI_GBM_GND_POS", None, "tombstone"),
            ("gcn.circulars", b"", "empty"),
            ("gcn.circulars", None, "tombstone"),
            ("gcn.circulars", b'{"a":', "invalid JSON"),
            ("gcn.classic.text.FERMI_GBM_GND_POS", b"\xff\xfe", "neither"),
        ],
    )
    def test_broken(self, topic: str, raw: bytes | None, words: str) -> None:
        with pytest.raises(DecodeError, match=words):
            _ = alert_of(topic, raw).content

    def test_every_sample(self, samples: Path) -> None:
        for path in sorted((samples / "gcn").rglob("*.*")):
            if path.suffix == ".json":
                assert alert_of("gcn.notices", path.read_bytes()).content == json.loads(path.read_bytes()), path.name
            else:
                assert alert_of("gcn.classic.voevent.X", path.read_bytes()).content == path.read_bytes(), path.name

    def test_gravitational_wave(self, samples: Path) -> None:
        raw = (samples / "lvk" / "igwn_gwalert_preliminary.json").read_bytes()
        assert alert_of("igwn.gwalert", raw).content == json.loads(raw)


class TestWhatHandlersGet:
    def test_message(self) -> None:
        stream = make()
        alert = alert_of("gcn.circulars", b"abc")
        (message,) = stream.handler_arguments(alert)
        assert type(message) is Message
        assert (message.topic(), message.partition(), message.offset()) == ("gcn.circulars", 0, 7)
        assert message.value() == b"abc"
        assert message.error() is None
        assert message.key() is None
        assert message.headers() is None

    def test_what_a_handler_does_to_it_does_not_show(self) -> None:
        stream = make()
        alert = alert_of("gcn.circulars", b"abc")
        stream.handler_arguments(alert)[0].set_value(b"changed")
        assert stream.handler_arguments(alert)[0].value() == b"abc"

    def test_alert_logger(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.INFO):
            alert_logger(*make().handler_arguments(alert_of("gcn.circulars", b"abc")))
        assert "gcn.circulars: b'abc'" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_logs_in_with_a_token(
    real_kafka: RunningKafka, token_endpoint: TokenEndpoint, topic: str, group_id: str
) -> None:
    real_kafka.create_topic(topic)
    real_kafka.produce(topic, b"abc")
    real_kafka.flush()
    stream = make(
        GCN_CLASSIC_CLIENT_SECRET=token_endpoint.client_secret,
        GROUP_ID=group_id,
        START_POSITION="EARLIEST",
        TOPIC_HANDLERS={topic: LOGGER},
        CONFIG={
            "bootstrap.servers": real_kafka.sasl_servers,
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.oauthbearer.token.endpoint.url": token_endpoint.url,
        },
    )
    assert Supervisor([stream], Control(once=True), shutdown_s=20).run() == 0
    assert not DeadLetter.objects.exists()
    assert [(row.topic, row.outcome, row.n) for row in OutcomeCount.objects.all()] == [(topic, "done", 1)]
    assert token_endpoint.requests[0].client_id == "client"
