"""The ANTARES stream: configuration, topics on the broker and in settings, loci."""

from __future__ import annotations

import logging
import sys
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from hop import bson

from tests.brokers import ScriptedBroker
from tom_alertstreams.alerts import Alert
from tom_alertstreams.alertstreams import antares
from tom_alertstreams.alertstreams.antares import AntaresAlertStream, AntaresKeys
from tom_alertstreams.delivery.source import Control
from tom_alertstreams.delivery.supervisor import Supervisor
from tom_alertstreams.exceptions import ConfigurationError, DecodeError
from tom_alertstreams.handlers import alert_handler
from tom_alertstreams.models import DeadLetter, Installation, OutcomeCount

LOCUS = {
    "id": "ANT2020abc",
    "ra": 123.5,
    "dec": -7.25,
    "properties": {"ztf_object_id": "ZTF18abc", "num_alerts": 3, "large": 2**60},
    "tags": ["nuclear_transient"],
    "catalogs": ["gaia"],
}
received: list[Any] = []


@alert_handler
def take_alert(alert: Alert) -> None:
    received.append(alert)


def take_locus(locus: Any) -> None:
    received.append(locus)


MARKED, UNMARKED = f"{__name__}.take_alert", f"{__name__}.take_locus"


def make(**options: Any) -> AntaresAlertStream:
    given = {"API_KEY": "a key", "API_SECRET": "very secret", "TOPIC_HANDLERS": {"nuclear": MARKED}, **options}
    return AntaresAlertStream(**given)


def alert_of(stream: AntaresAlertStream, raw: bytes | None) -> Alert:
    return stream.restore_alert(
        topic="client.nuclear", partition=0, offset=7, key=None, headers=(), timestamp=None, raw=raw
    )


def wire(document: dict[str, Any]) -> bytes:
    return zlib.compress(bson.dumps(document))


class TestConfiguration:
    def test_login(self) -> None:
        config = make(SSL_CA_LOCATION="/ca.pem").consumer_config()
        assert config == {
            "bootstrap.servers": "kafka.antares.noirlab.edu:9092",
            "security.protocol": "SASL_SSL",
            "sasl.mechanisms": "PLAIN",
            "sasl.username": "a key",
            "sasl.password": "very secret",
            "ssl.endpoint.identification.algorithm": "none",
            "ssl.ca.location": "/ca.pem",
        }

    def test_certificate_of_antares_client(self) -> None:
        pytest.importorskip("antares_client")
        assert "BEGIN CERTIFICATE" in Path(make().consumer_config()["ssl.ca.location"]).read_text()

    def test_no_certificate_is_warned_about(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(antares, "_bundled_authority", lambda: None)
        assert "ssl.ca.location" not in make().consumer_config()
        assert "SSL_CA_LOCATION" in caplog.text

    def test_config_comes_last(self) -> None:
        given = {"bootstrap.servers": "a:1", "security.protocol": "SASL_PLAINTEXT", "sasl.mechanisms": "SCRAM-SHA-256"}
        config = make(CONFIG=given).consumer_config()
        assert config.items() >= given.items()
        assert "ssl.ca.location" not in config

    def test_mirror_without_a_login(self) -> None:
        stream = make(API_KEY="", API_SECRET="", CONFIG={"bootstrap.servers": "a:1"})
        assert stream.consumer_config() == {"bootstrap.servers": "a:1"}

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"API_KEY": None}, "API_KEY is empty"),
            ({"API_SECRET": ""}, "API_SECRET is empty"),
            ({"API_KEY": "", "CONFIG": {"bootstrap.servers": "a:1"}}, "API_KEY is empty"),
        ],
    )
    def test_what_cannot_be_used_is_told(self, options: dict[str, Any], words: str) -> None:
        with pytest.raises(ConfigurationError, match=words):
            make(**options)

    def test_key_is_required(self) -> None:
        with pytest.raises(ImproperlyConfigured, match="API_KEY, API_SECRET"):
            AntaresAlertStream(TOPIC_HANDLERS={"nuclear": MARKED})

    def test_start(self) -> None:
        assert make().start == "earliest"
        assert make(START_POSITION="LATEST").start == "latest"

    @pytest.mark.django_db
    def test_group(self) -> None:
        assert make(GROUP="mine").group_id == "mine"
        assert make(GROUP=None).group_id == f"tom-{Installation.current().id}"

    def test_auto_commit_is_accepted(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.INFO):
            stream = make(ENABLE_AUTO_COMMIT=True, SSL_CA_LOCATION="/ca.pem")
        assert "enable.auto.commit" not in stream.consumer_config()
        assert "does nothing" in caplog.text

    def test_unmarked_handler_needs_antares_client(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "antares_client.stream", None)
        with pytest.raises(ConfigurationError, match=r"pip install 'tom-alertstreams\[antares\]'"):
            make(TOPIC_HANDLERS={"nuclear": UNMARKED})
        make()

    def test_bson_inside_hop_will_do(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "bson", None)
        stream = make()
        assert alert_of(stream, wire(LOCUS)).content == LOCUS

    @pytest.mark.parametrize("name", ["loads", "decode"])
    def test_bson_may_be_pymongos(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        """The package bson and pymongo overwrite one another."""
        pytest.importorskip("antares_client.stream")
        module = ModuleType("bson")
        setattr(module, name, bson.loads)
        monkeypatch.setitem(sys.modules, "bson", module)
        stream = make(TOPIC_HANDLERS={"nuclear": UNMARKED})
        alert = alert_of(stream, wire(LOCUS))
        assert alert.content == LOCUS
        assert stream.handler_arguments(alert)[0].locus_id == LOCUS["id"]


class TestTopics:
    def test_prefix_is_on_the_broker_only(self) -> None:
        keys = make(TOPIC_HANDLERS={"nuclear": MARKED, "sn_*": MARKED}).topic_keys
        assert keys.subscription() == ["client.nuclear", "^client[.]sn_.*$"]
        topics = ("client.nuclear", "nuclear", "client.sn_ia", "other.nuclear")
        assert [keys.match(topic) for topic in topics] == ["nuclear", None, "sn_*", None]

    def test_everything(self) -> None:
        keys = AntaresKeys(["*"])
        assert keys.subscription() == ["^client[.]_?[^_].*"]
        assert (keys.match("client.a"), keys.match("a")) == ("*", None)


class TestLoci:
    def test_content_is_a_dict(self) -> None:
        assert alert_of(make(), wire(LOCUS)).content == LOCUS

    @pytest.mark.parametrize(
        "document",
        [
            LOCUS,
            {"data": {"id": LOCUS["id"], "attributes": {name: LOCUS[name] for name in LOCUS if name != "id"}}},
        ],
    )
    def test_1x_handler_gets_a_locus(self, document: dict[str, Any]) -> None:
        models = pytest.importorskip("antares_client.models")
        stream = make(TOPIC_HANDLERS={"nuclear": UNMARKED})
        alert = alert_of(stream, wire(document))
        (locus,) = stream.handler_arguments(alert)
        assert isinstance(locus, models.Locus)
        assert (locus.locus_id, locus.ra, locus.dec) == ("ANT2020abc", 123.5, -7.25)
        assert locus.properties == LOCUS["properties"]
        assert locus.tags == LOCUS["tags"]
        assert stream.handler_arguments(alert)[0] is not locus

    @pytest.mark.parametrize(
        ("raw", "words"),
        [
            (None, "tombstone"),
            (b"", "empty"),
            (b"plain", "not compressed"),
            (wire(LOCUS)[:-9], "cut short"),
            (zlib.compress(b""), "BSON"),
            (zlib.compress(b"\xff" * 20), "BSON"),
            (zlib.compress(bson.dumps(LOCUS)[:40]), "BSON"),
        ],
    )
    def test_broken(self, raw: bytes | None, words: str) -> None:
        with pytest.raises(DecodeError, match=words):
            _ = alert_of(make(), raw).content

    def test_bomb(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(antares, "_LARGEST_BYTES", 1000)
        with pytest.raises(DecodeError, match="larger than 1,000 bytes"):
            _ = alert_of(make(), zlib.compress(bytes(1_000_000))).content

    @pytest.mark.parametrize("raw", [None, b"plain", wire({"id": "ANT"})])
    def test_no_locus(self, raw: bytes | None) -> None:
        pytest.importorskip("antares_client.stream")
        stream = make(TOPIC_HANDLERS={"nuclear": UNMARKED})
        with pytest.raises(DecodeError):
            stream.handler_arguments(alert_of(stream, raw))


@pytest.mark.django_db(transaction=True)
def test_delivery(broker: ScriptedBroker, topic: str, group_id: str) -> None:
    received.clear()
    broker.create_topic(f"client.{topic}")
    broker.produce(f"client.{topic}", wire(LOCUS))
    broker.produce(f"client.{topic}", b"broken")
    broker.flush()
    stream = make(
        API_KEY="",
        API_SECRET="",
        GROUP=group_id,
        TOPIC_HANDLERS={topic: MARKED},
        CONFIG={"bootstrap.servers": broker.bootstrap_servers, **broker.CONSUMER_CONFIG},
    )
    assert Supervisor([stream], Control(once=True), shutdown_s=10).run() == 0
    assert [alert.content for alert in received] == [LOCUS]
    assert received[0].topic == f"client.{topic}"
    assert [letter.raw for letter in DeadLetter.objects.all()] == [b"broken"]
    assert {row.outcome: row.n for row in OutcomeCount.objects.all()} == {"done": 1, "dead": 1}
