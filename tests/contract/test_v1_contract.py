"""What projects written for tom-alertstreams 1.x rely on: subclasses of AlertStream, and how handlers are called."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Message
from django.contrib.auth.models import Group
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.test import override_settings
from django.utils.module_loading import import_string
from hop import models
from hop.io import Metadata, Producer

from tests.brokers import ScriptedBroker
from tests.contract import legacy
from tests.streams import counts, next_offset
from tom_alertstreams.alertstreams.alertstream import AlertStream, get_alert_streams, get_default_alert_streams
from tom_alertstreams.conf import configured_streams
from tom_alertstreams.delivery import supervisor
from tom_alertstreams.delivery.source import Control
from tom_alertstreams.delivery.supervisor import Supervisor
from tom_alertstreams.models import DeadLetter

HERE = "tests.contract.legacy"
ANY = f"{HERE}.any_arguments"
HOPSKOTCH = "tom_alertstreams.alertstreams.hopskotch.HopskotchAlertStream"
QUICK = {"RETRY": {"MIN_WAIT_S": 0.05, "MAX_WAIT_S": 1, "BACKOFF": 1}}


@pytest.fixture(autouse=True)
def calls() -> Iterator[list[tuple[Any, ...]]]:
    legacy.calls.clear()
    yield legacy.calls
    legacy.calls.clear()


def stream_of(name: str, **options: Any) -> AlertStream:
    return get_alert_streams([{"ACTIVE": True, "NAME": f"{HERE}.{name}", "OPTIONS": options}])[0]


def run(*streams: AlertStream, once: bool = False) -> int:
    return Supervisor(streams, Control(once=once), shutdown_s=20).run()


class TestNames:
    @pytest.mark.parametrize(
        "path",
        [
            "alertstream.AlertStream",
            "alertstream.get_default_alert_streams",
            "alertstream.get_alert_streams",
            "alertstream.alert_logger",
            "hopskotch.HopskotchAlertStream",
            "hopskotch.alert_logger",
            "hopskotch.heartbeat_handler",
            "gcn.GCNClassicAlertStream",
            "gcn.alert_logger",
            "antares.AntaresAlertStream",
        ],
    )
    def test_dotted_paths(self, path: str) -> None:
        assert callable(import_string(f"tom_alertstreams.alertstreams.{path}"))

    def test_options_of_1_3(self) -> None:
        names = {
            "hopskotch.HopskotchAlertStream": "URL GROUP_ID USERNAME PASSWORD TOPIC_HANDLERS START_POSITION",
            "gcn.GCNClassicAlertStream": "GCN_CLASSIC_CLIENT_ID GCN_CLASSIC_CLIENT_SECRET TOPIC_HANDLERS DOMAIN CONFIG",
            "antares.AntaresAlertStream": "API_KEY API_SECRET TOPIC_HANDLERS GROUP SSL_CA_LOCATION ENABLE_AUTO_COMMIT",
        }
        for path, allowed in names.items():
            assert set(allowed.split()) <= set(import_string(f"tom_alertstreams.alertstreams.{path}").allowed_keys)


class TestSubclass:
    def test_keys_in_lower_case(self) -> None:
        stream = stream_of("LowerCase", config={"group": "mine"}, topic_handlers={"any": ANY})
        assert stream.config == {"group.id": "mine"}  # type: ignore[attr-defined]
        assert stream.alert_handler == {"any": legacy.any_arguments}

    @pytest.mark.parametrize(
        ("name", "options"),
        [
            ("Minimal", {"TOPIC_HANDLERS": {"any": ANY}}),
            ("Minimal", {"url": "in lower case", "TOPIC_HANDLERS": {"any": ANY}}),
            ("LowerCase", {"CONFIG": {}, "topic_handlers": {"any": ANY}}),
        ],
    )
    def test_missing_key(self, name: str, options: dict[str, Any]) -> None:
        with pytest.raises(ImproperlyConfigured, match=r"URL|config"):
            stream_of(name, **options)

    def test_attributes_are_the_raw_values(self) -> None:
        url, config = object(), {"nested": {"a": [1]}}
        handlers = {"fink.stream": ANY}
        stream: Any = stream_of("Minimal", URL=url, CONFIG=config, TOPIC_HANDLERS=handlers, UNKNOWN=1)
        assert stream.url is url
        assert stream.config is config
        assert type(stream.config) is dict
        assert stream.topic_handlers is handlers
        assert not hasattr(stream, "unknown")
        assert not hasattr(stream, "max_poll_number")
        stream.config["more"] = 1

    def test_handlers_are_imported_under_keys_of_any_kind(self) -> None:
        stream = stream_of("Minimal", URL="", TOPIC_HANDLERS={"fink.stream": ANY, "second": f"{HERE}.one_argument"})
        assert stream.topic_handlers == {"fink.stream": ANY, "second": f"{HERE}.one_argument"}
        assert stream.alert_handler.keys() == {"fink.stream", "second"}
        assert stream.alert_handler["fink.stream"](1, a=2) == (1,)
        assert stream._get_stream_classname() == "Minimal"

    def test_handler_that_does_not_exist(self) -> None:
        with pytest.raises(ImproperlyConfigured, match="no_such_handler"):
            stream_of("Minimal", URL="", TOPIC_HANDLERS={"any": f"{HERE}.no_such_handler"})

    def test_get_default_alert_streams(self, settings: Any) -> None:
        settings.ALERT_STREAMS = [
            {"ACTIVE": True, "NAME": f"{HERE}.Minimal", "OPTIONS": {"URL": "", "TOPIC_HANDLERS": {}}},
            {"ACTIVE": False, "NAME": "no.such.Stream", "OPTIONS": {}},
            {"NAME": f"{HERE}.Minimal", "OPTIONS": {"URL": "", "TOPIC_HANDLERS": {}}},
        ]
        assert [type(stream) for stream in get_default_alert_streams()] == [legacy.Minimal] * 2
        del settings.ALERT_STREAMS
        with pytest.raises(ImproperlyConfigured, match="ALERT_STREAMS"):
            get_default_alert_streams()


@pytest.mark.django_db(transaction=True)
class TestListen:
    def test_calls_handlers_with_its_own_arguments_and_may_return(self, calls: list[Any]) -> None:
        stream = stream_of("Minimal", URL="", MAX_POLL_NUMBER=2, TOPIC_HANDLERS={"fink.stream": ANY})
        assert run(stream) == 0
        assert calls == [
            ("super().listen()", None),
            ("any_arguments", (0, stream), {"key": "fink.stream"}),
            ("any_arguments", (1, stream), {"key": "fink.stream"}),
        ]

    def test_readstreams_ends_when_all_have_returned(self, settings: Any, calls: list[Any]) -> None:
        settings.ALERT_STREAMS = [
            {"NAME": f"{HERE}.{name}", "OPTIONS": {"URL": "", "TOPIC_HANDLERS": {"a": ANY}}}
            for name in ("Minimal", "TouchesDatabase")
        ]
        with pytest.raises(SystemExit) as ended:
            call_command("readstreams")
        assert ended.value.code == 0
        assert sum(call[0] == "any_arguments" for call in calls) == 2

    def test_is_called_again_when_it_raised(
        self, monkeypatch: pytest.MonkeyPatch, calls: list[Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(supervisor, "_FIRST_RESTART_S", 0.01)
        assert run(stream_of("CrashesOnce", URL="", TOPIC_HANDLERS={"a": ANY})) == 0
        assert calls == [("listen",)] * 2
        assert "the connection is lost" in caplog.text

    def test_with_once_it_is_not(self, calls: list[Any]) -> None:
        assert run(stream_of("CrashesOnce", URL="", TOPIC_HANDLERS={"a": ANY}), once=True) == 1
        assert calls == [("listen",)]

    def test_one_that_cannot_be_made_does_not_stop_the_others(
        self, settings: Any, calls: list[Any], capsys: pytest.CaptureFixture[str]
    ) -> None:
        settings.ALERT_STREAMS = [
            {"NAME": f"{HERE}.{name}", "OPTIONS": {"URL": "", "TOPIC_HANDLERS": {"a": ANY}}}
            for name in ("CannotBeMade", "Minimal")
        ]
        with pytest.raises(SystemExit) as ended:
            call_command("readstreams", once=True)  # else it would be tried again for ever
        assert ended.value.code == 0
        assert "no network" in capsys.readouterr().err
        assert calls


@pytest.mark.django_db
def test_constructor_may_touch_the_database_and_checks_do_not_call_it(settings: Any) -> None:
    entry = {"NAME": f"{HERE}.TouchesDatabase", "OPTIONS": {"URL": "", "TOPIC_HANDLERS": {"a": ANY}}}
    settings.ALERT_STREAMS = [entry]
    run_checks(tags=["alertstreams"])
    configured_streams()
    assert not Group.objects.filter(name="made by the stream").exists()
    (stream,) = get_default_alert_streams()
    assert stream.group == Group.objects.get(name="made by the stream")  # type: ignore[attr-defined]


# --- Hopskotch -----------------------------------------------------------------------------------------------------------


def hopskotch(broker: ScriptedBroker, group_id: str, handlers: dict[str, Any], **options: Any) -> AlertStream:
    full = {key: value if "." in value else f"{HERE}.{value}" for key, value in handlers.items()}
    given = {
        "URL": f"kafka://{broker.bootstrap_servers}/",
        "GROUP_ID": group_id,
        "START_POSITION": "EARLIEST",
        "TOPIC_HANDLERS": full,
        "CONFIG": dict(broker.CONSUMER_CONFIG),
        **options,
    }
    return get_alert_streams([{"NAME": HOPSKOTCH, "LABEL": "test", "OPTIONS": given, "DELIVERY": QUICK}])[0]


def publish(broker: ScriptedBroker, topic: str, content: Any, *, test: bool = False) -> bytes:
    """Send what hop would send; return the message's id."""
    value, headers = Producer.pack(content, test=test)
    broker.produce(topic, value, headers=headers)
    broker.flush()
    return bytes(dict(headers)["_id"])


@pytest.mark.django_db(transaction=True)
@pytest.mark.both_databases
class TestHopskotch:
    def test_handler_gets_model_and_metadata(
        self, broker: ScriptedBroker, topic: str, group_id: str, calls: list[Any]
    ) -> None:
        broker.create_topic(topic)
        message_id = publish(broker, topic, {"name": "AT2026abc"})
        assert run(hopskotch(broker, group_id, {topic: "two_arguments"}), once=True) == 0
        ((_, alert, metadata),) = calls
        assert type(alert) is models.JSONBlob
        assert alert.content == {"name": "AT2026abc"}
        assert type(metadata) is Metadata
        assert (metadata.topic, metadata.partition, metadata.offset) == (topic, 0, 0)
        assert ("_id", message_id) in metadata.headers
        assert metadata.timestamp > 1_600_000_000_000
        assert type(metadata._raw) is Message
        assert counts() == {"done": 1}

    def test_second_try_gets_everything_anew(
        self, broker: ScriptedBroker, topic: str, group_id: str, calls: list[Any]
    ) -> None:
        broker.create_topic(topic)
        publish(broker, topic, {"name": "AT2026abc"})
        assert run(hopskotch(broker, group_id, {topic: "takes_apart"}), once=True) == 0
        assert calls == [("takes_apart", "AT2026abc", b"json")] * 2
        assert counts()["done"] == 1

    def test_handler_of_2_0(self, broker: ScriptedBroker, topic: str, group_id: str, calls: list[Any]) -> None:
        broker.create_topic(topic)
        publish(broker, topic, {"name": "AT2026abc"})
        stream = hopskotch(broker, group_id, {topic: "of_2_0"})
        assert run(stream, once=True) == 0
        ((_, alert, alert_stream, of_topic, metadata, others),) = calls
        assert (alert.content, of_topic, others) == ({"name": "AT2026abc"}, topic, {})
        assert alert_stream is stream
        assert type(metadata) is Metadata

    def test_topic_rules(
        self, broker: ScriptedBroker, topic: str, group_id: str, calls: list[Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        """The exact key; else the first with a star that re.match takes, in the order of the dict; else the star."""
        topics = {
            f"{topic}.exact": "two_arguments",
            f"{topic}.first.x": "marked",
            f"{topic}Xfirst": "marked",  # the dot of a regular expression
            f"{topic}": "marked_batch",
        }
        for name in topics:
            broker.create_topic(name)
            publish(broker, name, {"name": name})
        handlers = {
            f"{topic}.first*": "marked",
            f"{topic}.*": "marked_batch",
            f"{topic}.exact": "two_arguments",
        }
        with caplog.at_level(logging.WARNING):
            assert run(hopskotch(broker, group_id, handlers), once=True) == 0
        assert {call[1].content["name"]: call[0] for call in calls} == topics
        warnings = [r.getMessage() for r in caplog.records if r.name.endswith(".hopskotch")]
        assert len(warnings) == 2
        assert any(f"'{topic}.first*' takes the topic '{topic}Xfirst'" in text for text in warnings)

    @pytest.mark.parametrize("handler", ["two_arguments", "of_2_0", "marked", "marked_batch"])
    def test_test_messages_are_counted_and_passed_over(
        self, broker: ScriptedBroker, topic: str, group_id: str, calls: list[Any], handler: str
    ) -> None:
        broker.create_topic(topic)
        for number in range(6):
            publish(broker, topic, {"n": number}, test=number % 2 == 0)
        stream = hopskotch(broker, group_id, {topic: handler})
        assert run(stream, once=True) == 0
        assert [call[1].content["n"] for call in calls] == [1, 3, 5]
        assert counts() == {"done": 3, "rejected:test": 3}
        assert next_offset(group_id, topic) == 6
        assert not DeadLetter.objects.exists()

    def test_test_messages_where_asked_for(
        self, broker: ScriptedBroker, topic: str, group_id: str, calls: list[Any]
    ) -> None:
        broker.create_topic(topic)
        publish(broker, topic, {"n": 0}, test=True)
        assert run(hopskotch(broker, group_id, {topic: "two_arguments"}, INCLUDE_TEST=True), once=True) == 0
        assert [call[1].content["n"] for call in calls] == [0]

    @pytest.mark.parametrize("handler", ["two_arguments", "marked", "marked_batch"])
    def test_broken_messages_are_dead_letters(
        self, broker: ScriptedBroker, topic: str, group_id: str, calls: list[Any], handler: str
    ) -> None:
        bomb = b'<!DOCTYPE a [<!ENTITY b "c"><!ENTITY d "&b;&b;">]><voe:VOEvent ivorn="i">&d;</voe:VOEvent>'
        broken = [(b"{", b"json"), (None, b"json"), (b"<a/>", b"voevent"), (bomb, b"voevent"), (b"Obj\x01", b"avro")]
        broker.create_topic(topic)
        for value, form in broken:
            broker.produce(topic, value, headers=[("_format", form)])
        publish(broker, topic, {"n": 1})
        assert run(hopskotch(broker, group_id, {topic: handler}), once=True) == 0
        assert [call[1].content["n"] for call in calls] == [1]
        letters = DeadLetter.objects.order_by("offset")
        assert [None if letter.raw is None else bytes(letter.raw) for letter in letters] == [v for v, _ in broken]
        assert all("DecodeError" in letter.error_class for letter in letters), [letter.error for letter in letters]

    def test_stored_outside_where_nobody_answers(
        self, broker: ScriptedBroker, topic: str, group_id: str, calls: list[Any]
    ) -> None:
        """It waits in the database; the others go on."""
        broker.create_topic(topic)
        publish(broker, topic, models.ExternalMessage(url="http://127.0.0.1:1/msg/1"))
        publish(broker, topic, {"n": 1})
        for handler in ("two_arguments", "marked", "marked_batch"):
            calls.clear()
            assert run(hopskotch(broker, f"{group_id}-{handler}", {topic: handler}), once=True) == 0
            assert [call[1].content["n"] for call in calls] == [1]
        waiting = DeadLetter.objects.filter(state=DeadLetter.State.WAITING)
        assert waiting.count() == 3
        assert json.loads(bytes(waiting[0].raw or b""))["url"] == "http://127.0.0.1:1/msg/1"


@pytest.mark.django_db(transaction=True)
def test_gcn_handler_gets_the_message(broker: ScriptedBroker, topic: str, group_id: str, calls: list[Any]) -> None:
    broker.create_topic(topic)
    broker.produce(topic, b"TITLE: GCN/FERMI NOTICE")
    broker.flush()
    options = {
        "GCN_CLASSIC_CLIENT_ID": "",
        "GCN_CLASSIC_CLIENT_SECRET": "",
        "TOPIC_HANDLERS": {topic: f"{HERE}.one_argument"},
        "CONFIG": {
            **broker.CONSUMER_CONFIG,
            "bootstrap.servers": broker.bootstrap_servers,
            "group.id": group_id,
            "auto.offset.reset": "earliest",
        },
    }
    name = "tom_alertstreams.alertstreams.gcn.GCNClassicAlertStream"
    with override_settings(ALERT_STREAMS=[{"ACTIVE": True, "NAME": name, "OPTIONS": options}]):
        assert run(*get_default_alert_streams(), once=True) == 0
    ((_, message),) = calls
    assert type(message) is Message
    assert (message.topic(), message.offset(), message.value()) == (topic, 0, b"TITLE: GCN/FERMI NOTICE")
    assert next_offset(group_id, topic) == 1
