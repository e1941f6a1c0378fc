"""The Hopskotch stream: configuration, what handlers get, test messages, messages stored outside of Kafka, topics."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from hop import bson, models
from hop.io import Metadata, Producer

from tests.brokers import ScriptedBroker, read
from tests.processes import wait_until
from tom_alertstreams.alerts import Alert
from tom_alertstreams.alertstreams import hopskotch, silent_servers
from tom_alertstreams.alertstreams.hopskotch import HopskotchAlertStream, HopskotchKeys, alert_logger, heartbeat_handler
from tom_alertstreams.conf import DeliverySettings
from tom_alertstreams.exceptions import ConfigurationError, DecodeError, RejectAlert, RetryLater
from tom_alertstreams.management.commands import hoptestpub
from tom_alertstreams.models import Installation

LOGGER = "tom_alertstreams.alertstreams.hopskotch.alert_logger"


def make(**options: Any) -> HopskotchAlertStream:
    given = {"URL": "kafka://127.0.0.1:1/", "TOPIC_HANDLERS": {"hermes.test": LOGGER}, **options}
    return HopskotchAlertStream(**given)


def packed(content: Any, *, test: bool = False) -> tuple[bytes, tuple[tuple[str, bytes], ...]]:
    """Value and headers as hop sends them."""
    value, headers = Producer.pack(content, test=test)
    return value, tuple(headers)


def alert_of(stream: HopskotchAlertStream, content: Any, *, test: bool = False) -> Alert:
    value, headers = packed(content, test=test)
    return raw_alert(stream, value, headers)


def raw_alert(
    stream: HopskotchAlertStream, value: bytes | None, headers: tuple[tuple[str, bytes | None], ...] = ()
) -> Alert:
    return stream.restore_alert(
        topic="hermes.test", partition=0, offset=7, key=None, headers=headers, timestamp=None, raw=value
    )


class TestConfiguration:
    def test_login_is_hops(self) -> None:
        config = make(URL="kafka://kafka.scimma.org/", USERNAME="tom-12", PASSWORD="pass word").consumer_config()
        assert config["bootstrap.servers"] == "kafka.scimma.org:9092"
        assert config["security.protocol"] == "SASL_SSL"
        assert config["sasl.mechanism"] == "SCRAM-SHA-512"
        assert (config["sasl.username"], config["sasl.password"]) == ("tom-12", "pass word")
        assert Path(config["ssl.ca.location"]).is_file()

    def test_config_comes_last(self) -> None:
        given = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "fetch.wait.max.ms": 10}
        config = make(USERNAME="tom-12", PASSWORD="pass word", CONFIG=given).consumer_config()
        assert config.items() >= given.items()
        assert "ssl.ca.location" not in config

    @pytest.mark.parametrize("options", [{}, {"USERNAME": ""}, {"USERNAME": "", "PASSWORD": None}])
    def test_without_a_name_there_is_no_login(self, options: dict[str, Any]) -> None:
        assert make(**options).consumer_config() == {"bootstrap.servers": "127.0.0.1:1"}

    @pytest.mark.parametrize(
        ("url", "servers"),
        [
            ("kafka://kafka.scimma.org/", "kafka.scimma.org:9092"),
            ("kafka://kafka.scimma.org", "kafka.scimma.org:9092"),
            ("kafka://me@kafka.scimma.org:9093/", "kafka.scimma.org:9093"),
            ("kafka://a:1,b/", "a:1,b:9092"),
            ("127.0.0.1:9092", "127.0.0.1:9092"),
            ("kafka://[::1]:9092/", "[::1]:9092"),
        ],
    )
    def test_url(self, url: str, servers: str) -> None:
        assert make(URL=url).consumer_config()["bootstrap.servers"] == servers

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"URL": "https://kafka.scimma.org/"}, "URL is"),
            ({"URL": "kafka://kafka.scimma.org/topic"}, "topics belong in TOPIC_HANDLERS"),
            ({"URL": ""}, "URL is"),
            ({"URL": None}, "URL is"),
            ({"USERNAME": None, "PASSWORD": None}, "USERNAME is None"),
            ({"USERNAME": "tom-12", "PASSWORD": None}, "PASSWORD is empty"),
            ({"USERNAME": "tom-12", "PASSWORD": ""}, "PASSWORD is empty"),
            ({"TOPIC_HANDLERS": {}}, "TOPIC_HANDLERS is empty"),
        ],
    )
    def test_what_cannot_be_used_is_told(self, options: dict[str, Any], words: str) -> None:
        with pytest.raises(ConfigurationError, match=words):
            make(**options)

    def test_url_is_required(self) -> None:
        with pytest.raises(ImproperlyConfigured, match="URL"):
            HopskotchAlertStream(TOPIC_HANDLERS={"a": LOGGER})

    def test_missing_hop_names_the_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "hop", None)
        with pytest.raises(ConfigurationError, match=r"pip install 'tom-alertstreams\[hopskotch\]'"):
            make()

    @pytest.mark.django_db
    def test_group(self) -> None:
        drawn = Installation.current().id
        assert make(GROUP_ID="mine").group_id == "mine"
        assert make(CONFIG={"group.id": "theirs"}).group_id == "theirs"
        assert make(GROUP_ID=None, USERNAME="tom-12", PASSWORD="pass word").group_id == f"tom-12-{drawn}"
        assert make().group_id == f"tom-{drawn}"

    @pytest.mark.parametrize(
        ("options", "start"),
        [
            ({}, "latest"),
            ({"START_POSITION": "EARLIEST"}, "earliest"),
            ({"START_POSITION": "LATEST"}, "latest"),
            ({"CONFIG": {"auto.offset.reset": "smallest"}}, "earliest"),
        ],
    )
    def test_start(self, options: dict[str, Any], start: str) -> None:
        assert make(**options).start == start

    @pytest.mark.parametrize("options", [{"START_POSITION": "EARLIST"}, {"CONFIG": {"auto.offset.reset": "error"}}])
    def test_start_with_another_word(self, options: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError, match="START_POSITION"):
            make(**options).verify()

    def test_options_are_attributes(self) -> None:
        stream = make(USERNAME="tom-12", PASSWORD="pass word", START_POSITION="EARLIEST")
        assert (stream.url, stream.username, stream.start_position) == ("kafka://127.0.0.1:1/", "tom-12", "EARLIEST")  # type: ignore[attr-defined]
        assert "pass word" not in repr(stream)


class TestWhatHandlersGet:
    def test_model_and_metadata(self) -> None:
        stream = make()
        alert = alert_of(stream, {"count": 300})
        model, metadata = stream.handler_arguments(alert)
        assert isinstance(model, models.JSONBlob)
        assert model.content == {"count": 300}
        assert isinstance(metadata, Metadata)
        assert (metadata.topic, metadata.partition, metadata.offset) == ("hermes.test", 0, 7)
        assert all(isinstance(header, tuple) for header in metadata.headers)
        assert len(dict(metadata.headers)["_id"]) == 16
        assert metadata._raw.value() == alert.raw

    def test_both_are_new_at_each_call(self) -> None:
        stream = make()
        alert = alert_of(stream, {"count": 300})
        first = stream.handler_arguments(alert)
        first[0].content.clear()
        first[1].headers.clear()
        second = stream.handler_arguments(alert)
        assert second[0].content == {"count": 300}
        assert dict(second[1].headers)["_format"] == b"json"

    def test_content_is_the_model(self) -> None:
        stream = make()
        assert alert_of(stream, {"count": 300}).content == models.JSONBlob(content={"count": 300})

    @pytest.mark.parametrize("content", [{"a": [1, None, "é"]}, [{"a": 1}], "text", b"\x00\xff"])
    def test_every_content_comes_back(self, content: Any) -> None:
        stream = make()
        assert alert_of(stream, content).content.content == content

    def test_avro_of_a_list(self) -> None:
        stream = make()
        content = [{"skymap": b"\x00\xff", "ra": 1.5}]
        model = alert_of(stream, models.AvroBlob(content)).content
        assert isinstance(model, models.AvroBlob)
        assert model.content == content

    def test_avro_of_one_record(self) -> None:
        stream = make()
        assert alert_of(stream, models.AvroBlob({"ra": 1.5})).content.content == {"ra": 1.5}

    def test_no_header(self) -> None:
        stream = make()
        assert raw_alert(stream, b'{"a": 1}').content == models.JSONBlob(content={"a": 1})
        assert raw_alert(stream, b'{"format": "blob", "content": [1]}').content == models.JSONBlob(content=[1])
        assert raw_alert(stream, b"\xff\x00").content == models.Blob(content=b"\xff\x00")

    def test_unknown_format_is_a_blob(self) -> None:
        stream = make()
        assert raw_alert(stream, b"abc", (("_format", b"novel"),)).content == models.Blob(content=b"abc")

    @pytest.mark.parametrize(
        ("form", "value"),
        [
            ("json", b"{"),
            ("json", b""),
            ("json", b"\xff"),
            ("json", b"[" * 100_000),
            ("voevent", b"<a/>"),
            ("voevent", b"<voe:VOEvent"),
            ("voevent", b'<voe:VOEvent xmlns:voe="x" ivorn="i"><New/></voe:VOEvent>'),
            ("voevent", b'<!DOCTYPE a [<!ENTITY b "c"><!ENTITY d "&b;&b;">]><voe:VOEvent ivorn="i">&d;</voe:VOEvent>'),
            ("avro", b"Obj\x01"),
            ("avro", b"nothing"),
            ("avro", bytes(models.AvroBlob([{"a": 1}, {"a": 2}], single_record=False))),
            ("circular", b'{"title": 1}'),
            ("gcntextnotice", b"\xff"),
            ("external", b"{}"),
        ],
    )
    def test_broken_message(self, form: str, value: bytes) -> None:
        stream = make()
        with pytest.raises(DecodeError, match=f"as {form}"):
            _ = raw_alert(stream, value, (("_format", form.encode()),)).content

    def test_old_envelope_that_fits_no_model(self) -> None:
        with pytest.raises(DecodeError):
            _ = raw_alert(make(), b'{"format": "voevent", "content": {"new": 1}}').content

    def test_header_without_a_value(self) -> None:
        with pytest.raises(DecodeError):
            _ = raw_alert(make(), b"abc", (("_format", None),)).content

    def test_tombstone(self) -> None:
        stream = make()
        with pytest.raises(DecodeError, match="tombstone"):
            stream.handler_arguments(raw_alert(stream, None))

    @pytest.mark.parametrize(
        ("name", "model", "check"),
        [
            ("example_json.json", models.JSONBlob, lambda m: isinstance(m.content, dict)),
            ("example_avro.avro", models.AvroBlob, lambda m: m.content),
            (
                "example_voevent.xml",
                models.VOEvent,
                lambda m: m.ivorn.startswith("ivo://") and m._raw.startswith(b"<?xml"),
            ),
            ("example_gcn.txt", models.GCNTextNotice, lambda m: "notice_type" in m.fields),
            ("example_gcn.gcn3", models.GCNCircular, lambda m: m.header["title"] and m.body),
        ],
    )
    def test_real_messages(self, samples: Path, name: str, model: Any, check: Callable[[Any], Any]) -> None:
        sent = model.load_file(samples / "hopskotch" / name)
        stream = make()
        got, metadata = stream.handler_arguments(alert_of(stream, sent))
        assert type(got) is model
        assert got == sent
        assert check(got)
        assert metadata.headers[-1][0] == "_format"

    def test_gravitational_wave_of_a_megabyte(self, samples: Path) -> None:
        content = json.loads((samples / "lvk" / "igwn_gwalert_preliminary.json").read_bytes())
        stream = make()
        assert alert_of(stream, content).content.content["superevent_id"] == content["superevent_id"]


class TestTestMessages:
    def test_are_rejected(self) -> None:
        stream = make()
        alert = alert_of(stream, {"a": 1}, test=True)
        with pytest.raises(RejectAlert, match="test"):
            _ = alert.content
        with pytest.raises(RejectAlert, match="test"):
            stream.handler_arguments(alert)

    def test_are_taken_where_asked_for(self) -> None:
        stream = make(INCLUDE_TEST=True)
        assert stream.handler_arguments(alert_of(stream, {"a": 1}, test=True))[0].content == {"a": 1}


class Server:
    """Answers every GET with what it is told to."""

    def __init__(self) -> None:
        self.status, self.body = 200, b""
        self.credentials: list[str | None] = []
        #: It sends a byte of more and more, until this is set.
        self.drips: threading.Event | None = None
        #: It answers once this is set.
        self.awake = threading.Event()
        self.awake.set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.credentials.append(self.headers.get("Authorization"))
                outer.awake.wait()
                if outer.drips is not None:
                    self.send_response(200)
                    self.send_header("Content-Length", "1000000")
                    self.end_headers()
                    with contextlib.suppress(OSError):
                        while not outer.drips.wait(0.02):
                            self.wfile.write(b"x")
                            self.wfile.flush()
                    return
                with contextlib.suppress(OSError):  # nobody waits any more
                    self.send_response(outer.status)
                    self.send_header("Content-Length", str(len(outer.body)))
                    self.end_headers()
                    self.wfile.write(outer.body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/msg/1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self.awake.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


def stored(value: bytes, headers: tuple[tuple[str, bytes], ...]) -> bytes:
    metadata = {"headers": [list(header) for header in headers], "timestamp": 1_700_000_000_000, "key": None}
    return bytes(bson.dumps({"message": value, "metadata": metadata}))


def with_time_out(stream: HopskotchAlertStream, seconds: float) -> HopskotchAlertStream:
    """The same stream, which waits so long for a stored message."""
    stream.settings = replace(stream.settings, delivery=DeliverySettings(prepare_timeout_s=seconds))
    return stream


class TestStoredOutside:
    def test_is_fetched(self, server: Server) -> None:
        stream = make()
        value, headers = packed({"large": "x" * 100_000})
        server.body = stored(value, headers)
        alert = alert_of(stream, models.ExternalMessage(url=server.url))
        model, metadata = stream.handler_arguments(alert)
        assert len(model.content["large"]) == 100_000
        assert dict(metadata.headers)["_id"] == dict(headers)["_id"] != dict(alert.headers)["_id"]
        assert (metadata.topic, metadata.offset, metadata.timestamp) == ("hermes.test", 7, 1_700_000_000_000)
        assert alert.content == model
        assert set(server.credentials) == {None}

    @pytest.mark.parametrize("status", [404, 410, 400, 401, 403])
    def test_is_not_there(self, server: Server, status: int) -> None:
        stream = make()
        server.status = status
        with pytest.raises(DecodeError, match=str(status)):
            _ = alert_of(stream, models.ExternalMessage(url=server.url)).content

    @pytest.mark.parametrize("status", [500, 503, 429])
    def test_cannot_be_fetched_now(self, server: Server, status: int) -> None:
        stream = make()
        server.status = status
        for _ in range(2):  # it is there, so it is asked again
            with pytest.raises(RetryLater, match=str(status)) as waiting:
                _ = alert_of(stream, models.ExternalMessage(url=server.url)).content
        assert waiting.value.give_up_after_s

    @pytest.mark.timeout(30, func_only=True)  # what does not end when it should is found out
    def test_server_that_never_ends_holds_nobody_up(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each of its bytes comes before the time-out of the socket."""
        monkeypatch.setattr(silent_servers, "_SILENT_S", 0.0)
        stream = with_time_out(make(), 0.2)
        server.drips = threading.Event()
        alert = alert_of(stream, models.ExternalMessage(url=server.url))
        try:
            for _ in range(4):
                with pytest.raises(RetryLater, match=r"takes longer than 0\.2 s"):
                    _ = alert.fresh().content
            with pytest.raises(RetryLater, match="4 fetches of stored messages hang already"):
                _ = alert.fresh().content
        finally:
            server.drips.set()
        hanging = [thread for thread in threading.enumerate() if thread.name == "stored-message"]
        wait_until(lambda: not any(thread.is_alive() for thread in hanging), "the fetches that hung")

    def test_server_is_not_there(self) -> None:
        stream = make()
        for says in ("cannot be fetched", "did not answer lately"):
            with pytest.raises(RetryLater, match=says):
                _ = alert_of(stream, models.ExternalMessage(url="http://127.0.0.1:1/msg/1")).content

    def test_of_many_on_a_silent_server_one_is_waited_for(self, server: Server) -> None:
        """Else a stream would be held up for a time-out by each of them, one after the other."""
        stream = with_time_out(make(), 0.2)
        server.awake.clear()
        for number, says in enumerate(["takes longer than", *["did not answer lately"] * 3]):
            with pytest.raises(RetryLater, match=says) as waiting:
                _ = alert_of(stream, models.ExternalMessage(url=f"{server.url}{number}")).content
            assert waiting.value.give_up_after_s
        assert len(server.credentials) == 1
        with pytest.raises(RetryLater, match="cannot be fetched"):  # another server is another matter
            _ = alert_of(stream, models.ExternalMessage(url="http://127.0.0.1:1/msg/1")).content

    def test_a_server_that_answers_again_is_waited_for_as_before(
        self, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The question that nobody waits for any more may be the one that it answers."""
        monkeypatch.setattr(silent_servers, "_SILENT_S", 0.0)
        monkeypatch.setattr(silent_servers, "_FIRST_WAIT_S", 0.01)
        server.body = stored(*packed({"large": 1}))
        server.awake.clear()
        stream = with_time_out(make(), 0.1)
        alert = alert_of(stream, models.ExternalMessage(url=server.url))
        with pytest.raises(RetryLater, match=r"longer than 0\.1 s"):
            _ = alert.content
        with_time_out(stream, 30)
        with pytest.raises(RetryLater, match=r"longer than 0\.01 s"):
            _ = alert.content
        server.awake.set()
        wait_until(lambda: stream._offloaded._silent.patience_s(server.url, 30) == 30, "the answer")
        assert alert.content.content == {"large": 1}

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"no bson",
            bson.dumps({"message": b"a"}),
            bson.dumps({"message": "a", "metadata": {"headers": [], "timestamp": 1}}),
            bson.dumps({"message": b"a", "metadata": {"headers": [["a", 1]], "timestamp": 1}}),
            bson.dumps({"message": b"a", "metadata": {"headers": [["a"]], "timestamp": 1}}),
        ],
    )
    def test_is_not_what_hop_stores(self, server: Server, body: bytes) -> None:
        stream = make()
        server.body = body
        with pytest.raises(DecodeError, match="not what hop stores"):
            _ = alert_of(stream, models.ExternalMessage(url=server.url)).content

    def test_only_from_the_web(self, tmp_path: Path) -> None:
        with pytest.raises(DecodeError, match="not one of the web"):
            _ = alert_of(make(), models.ExternalMessage(url=(tmp_path / "secret").as_uri())).content

    @pytest.mark.django_db
    def test_credential_goes_to_the_brokers_own_server_only(self, own_broker: ScriptedBroker, server: Server) -> None:
        stream = make(
            URL=own_broker.bootstrap_servers,
            USERNAME="tom-12",
            PASSWORD="pass word",
            CONFIG={"security.protocol": "PLAINTEXT", "log_level": 0},
        )
        server.status = 403
        own_broker.create_topic("sys.metadata")
        alert = alert_of(stream, models.ExternalMessage(url=server.url))
        with pytest.raises(DecodeError, match="403"):
            stream.decode(alert)
        assert server.credentials == [None]

        own_broker.produce("sys.metadata", json.dumps({"LargeMessageUploadEndpoint": server.url}).encode())
        own_broker.flush()
        other = make(**stream._options)
        with pytest.raises(DecodeError, match="403"):
            other.decode(alert)
        assert server.credentials[:2] == [None, None]
        assert str(server.credentials[2]).startswith("SCRAM-SHA-512 ")


class TestTopics:
    def test_1x_reading_with_a_warning_once_a_key(self, caplog: pytest.LogCaptureFixture) -> None:
        keys = HopskotchKeys(["hermes.*", "gcn.classic.text.LVC*", "ab*c", "plain"], "hop")
        with caplog.at_level(logging.WARNING):
            assert keys.match("hermes.test") == "hermes.*"
            assert keys.match("plain") == "plain"
            assert keys.match("__consumer_offsets") is None
            assert keys.match("gcn.classic.text.LVC_INITIAL") == "gcn.classic.text.LVC*"
            assert not caplog.records
            assert keys.match("hermesX") == "hermes.*"
            assert keys.match("hermesY") == "hermes.*"
            assert keys.match("gcn.classic.text.LVX") == "gcn.classic.text.LVC*"  # C* is any number of Cs
            assert keys.match("abxc") is None
        texts = [record.getMessage() for record in caplog.records]
        assert sum("'hermes.*' takes the topic 'hermesX'" in text for text in texts) == 1
        assert sum("'ab*c' does not take the topic 'abxc'" in text for text in texts) == 1
        assert not any("hermesY" in text for text in texts)
        assert all(text.startswith("hop: ") for text in texts)

    def test_a_star_takes_the_rest_without_a_word(self, caplog: pytest.LogCaptureFixture) -> None:
        assert HopskotchKeys(["*"], "hop").match("anything") == "*"
        assert not caplog.records

    def test_stream_uses_them(self) -> None:
        keys = make(TOPIC_HANDLERS={"hermes.*": LOGGER, "*": LOGGER}).topic_keys
        assert [keys.match(topic) for topic in ("hermesX", "other", "__internal")] == ["hermes.*", "*", None]


class TestHandlers:
    def test_alert_logger(self, caplog: pytest.LogCaptureFixture) -> None:
        stream = make()
        alert = alert_of(stream, {"a": 1})
        with caplog.at_level(logging.INFO):
            alert_logger(*stream.handler_arguments(alert))
            alert_logger(*stream.handler_arguments(raw_alert(stream, b"{}")))
        assert str(uuid.UUID(bytes=dict(alert.headers)["_id"])) in caplog.text
        assert "uuid=None" in caplog.text

    def test_heartbeat_handler(self, caplog: pytest.LogCaptureFixture) -> None:
        stream = make()
        with caplog.at_level(logging.INFO):
            for count in (299, 300):
                content = {"count": count, "timestamp": 1_700_000_000_000_000}
                heartbeat_handler(*stream.handler_arguments(alert_of(stream, content)))
        assert [r.getMessage().partition(" ")[0] for r in caplog.records] == ["2023-11-14T22:13:20+00:00"]


def hopskotch_at(servers: str) -> dict[str, Any]:
    name = "tom_alertstreams.alertstreams.hopskotch.HopskotchAlertStream"
    return {"NAME": name, "OPTIONS": {"URL": f"kafka://{servers}/", "TOPIC_HANDLERS": {"a": "no.such.handler"}}}


class TestHoptestpub:
    def test_publishes(self, broker: ScriptedBroker, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        def never(*args: Any, **options: Any) -> None:
            raise AssertionError("a stream was constructed")

        monkeypatch.setattr(hopskotch.HopskotchAlertStream, "__init__", never)
        broker.create_topic("tomtoolkit.test")
        settings.ALERT_STREAMS = [
            {"NAME": "no.such.Stream", "OPTIONS": {"TOPIC_HANDLERS": {"a": "b.c"}}},
            hopskotch_at(broker.bootstrap_servers),
        ]
        out = StringIO()
        call_command("hoptestpub", stdout=out)
        (message,) = read(broker.bootstrap_servers, "tomtoolkit.test", 1)
        assert json.loads(message.value() or b"").keys() == {"created", "created-by"}
        headers = dict(message.headers() or [])
        assert headers["_format"] == b"json"
        assert "_test" not in headers
        assert "published to tomtoolkit.test" in out.getvalue()

    def test_says_why_the_broker_did_not_take_it(self, own_broker: ScriptedBroker, settings: Any) -> None:
        own_broker.create_topic("tomtoolkit.test")
        own_broker.set_topic_error("tomtoolkit.test", KafkaError.TOPIC_AUTHORIZATION_FAILED)
        settings.ALERT_STREAMS = [hopskotch_at(own_broker.bootstrap_servers)]
        with pytest.raises(CommandError, match="did not take the message: Broker: Topic authorization failed"):
            call_command("hoptestpub")

    def test_says_why_there_is_no_broker(self, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(hoptestpub, "_TIMEOUT_S", 2.0)
        settings.ALERT_STREAMS = [hopskotch_at("127.0.0.1:1")]
        with pytest.raises(CommandError, match=r"did not take the message: .*(refused|down)"):
            call_command("hoptestpub")

    def test_without_a_stream(self, settings: Any) -> None:
        settings.ALERT_STREAMS = []
        with pytest.raises(CommandError, match="no active Hopskotch stream"):
            call_command("hoptestpub")

    def test_with_options_that_cannot_be_used(self, settings: Any) -> None:
        name = "tom_alertstreams.alertstreams.hopskotch.HopskotchAlertStream"
        settings.ALERT_STREAMS = [{"NAME": name, "OPTIONS": {"URL": "https://a/", "TOPIC_HANDLERS": {"a": LOGGER}}}]
        with pytest.raises(CommandError, match="URL is"):
            call_command("hoptestpub")
