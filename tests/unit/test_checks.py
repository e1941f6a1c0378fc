"""System checks: warnings, all at once, without touching a handler or a stream."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.test import override_settings

from tests.streams import entry
from tom_alertstreams.alertstreams import kafka
from tom_alertstreams.alertstreams.alertstream import AlertStream

INGEST = "tom_alertstreams.ingest.handlers.ingest_targets"


def found() -> dict[str, str]:
    return {str(message.id): f"{message.msg} {message.hint or ''}" for message in run_checks(tags=["alertstreams"])}


def test_sound_settings_say_nothing() -> None:
    with override_settings(ALERT_STREAMS=[entry("b:1", "g", {"t": "one"})]):
        assert found() == {}


@override_settings()
def test_no_streams() -> None:
    from django.conf import settings

    del settings.ALERT_STREAMS
    assert list(found()) == ["tom_alertstreams.W001"]


def test_everything_at_once_and_only_warnings() -> None:
    streams: list[Any] = [
        {"NAME": "no.such.Class", "LABEL": "a"},
        {"NAME": entry("b", "g", {})["NAME"], "LABEL": "b", "OPTIONS": {}},
        {"NAME": "x.Y", "LABEL": "c", "OPTION": {}},
        {"NAME": "no.such.Class", "ACTIVE": False},
        entry("b:1", "g", {"t": {"HANDLER": INGEST, "OPTIONS": {"MIN_RBB": 1}}, "u": INGEST}, label="d"),
    ]
    with override_settings(ALERT_STREAMS=streams):
        assert set(found()) == {f"tom_alertstreams.W0{number}" for number in ("03", "04", "20", "21")}
        call_command("check", "--tag", "alertstreams")  # warnings do not fail it


def test_misspelt_options() -> None:
    with override_settings(ALERT_STREAMS=[entry("b:1", "g", {"t": "one"}, DECODR="auto")]):
        assert "DECODR" in found()["tom_alertstreams.W005"]


def test_keys_that_1x_ignored() -> None:
    with override_settings(ALERT_STREAMS=[{**entry("b:1", "g", {"t": "one"}), "DESCRIPTION": "mine", 5: 1}]):
        assert "it has 5, DESCRIPTION, which is ignored" in found()["tom_alertstreams.W005"]


def test_options_whose_names_are_no_text() -> None:
    sound = entry("b:1", "g", {"t": "one"})
    with override_settings(ALERT_STREAMS=[{**sound, "OPTIONS": {**sound["OPTIONS"], 5: 1, "DECODR": 2}}]):
        assert "have 5, DECODR" in found()["tom_alertstreams.W005"]


def test_two_entries_of_one_group() -> None:
    first = entry("b:1", "g", {"a.*": "one"}, label="first")
    with override_settings(ALERT_STREAMS=[first, entry("b:1", "g", {"a.b": "one"}, label="second")]):
        assert list(found()) == ["tom_alertstreams.W006"]
        assert found()["tom_alertstreams.W006"].startswith("second: it reads a.* in the same consumer group as first")
    for other in (
        entry("b:1", "h", {"a.b": "one"}),
        entry("c:1", "g", {"a.b": "one"}),
        entry("b:1", "g", {"b": "one"}),
    ):
        with override_settings(ALERT_STREAMS=[first, {**other, "LABEL": "second"}]):
            assert found() == {}


def gcn(label: str, **options: Any) -> dict[str, Any]:
    login = {"GCN_CLASSIC_CLIENT_ID": "me", "GCN_CLASSIC_CLIENT_SECRET": "", "TOPIC_HANDLERS": {"t": "a.b"}}
    name = "tom_alertstreams.alertstreams.gcn.GCNClassicAlertStream"
    return {"NAME": name, "LABEL": label, "OPTIONS": {**login, **options}}


def antares(label: str, **options: Any) -> dict[str, Any]:
    login = {"API_KEY": "me", "API_SECRET": "", "TOPIC_HANDLERS": {"t": "a.b"}}
    name = "tom_alertstreams.alertstreams.antares.AntaresAlertStream"
    return {"NAME": name, "LABEL": label, "OPTIONS": {**login, **options}}


class ReadsOneTopic(AlertStream):
    """As tom_fink's: one entry for each TOPIC, with one key for all of them."""

    allowed_keys = ("URL", "GROUP_ID", "TOPIC", "TOPIC_HANDLERS")

    def listen(self) -> None:
        """Nothing."""


def fink(topic: str) -> dict[str, Any]:
    options = {"URL": "b:1", "GROUP_ID": "g", "TOPIC": topic, "TOPIC_HANDLERS": {"fink.stream": "a.b"}}
    return {"NAME": f"{__name__}.ReadsOneTopic", "LABEL": topic, "OPTIONS": options}


@pytest.mark.parametrize(
    ("streams", "same"),
    [
        ([gcn("a", CONFIG={"group.id": "g"}), gcn("b", CONFIG={"group.id": "h"})], False),
        ([gcn("a", CONFIG={"group.id": "g"}), gcn("b", GROUP_ID="g")], True),
        ([gcn("a", GROUP_ID="h", CONFIG={"group.id": "g"}), gcn("b", GROUP_ID="g")], False),
        ([gcn("a"), gcn("b", CONFIG=["group.id"])], True),
        ([antares("a", GROUP="g"), antares("b", GROUP="h")], False),
        ([antares("a", GROUP="g"), antares("b", CONFIG={"group.id": "g"})], True),
        ([antares("a"), antares("b")], True),
        ([fink("a"), fink("b")], False),
    ],
)
def test_groups_are_those_that_the_streams_take(streams: list[Any], same: bool) -> None:
    with override_settings(ALERT_STREAMS=streams):
        assert ("tom_alertstreams.W006" in found()) is same


def test_no_handler_is_imported_and_no_stream_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka.KafkaAlertStream, "__init__", lambda *a, **k: pytest.fail("made a stream"))
    with override_settings(ALERT_STREAMS=[entry("b:1", "g", {"t": "no.such.handler"})]):
        assert found() == {}


def test_what_is_not_shared_continuously() -> None:
    mine = {"t": {"HANDLER": INGEST, "OPTIONS": {"CREATE": "never"}}}
    for handlers, sharing, warned in (
        (mine, {"other-tom": {"BASE_URL": "https://example.org/"}}, True),
        (mine, {}, False),
        ({"t": "one"}, {"other-tom": {"BASE_URL": "https://example.org/"}}, False),
    ):
        with override_settings(ALERT_STREAMS=[entry("b:1", "g", handlers)], DATA_SHARING=sharing):
            assert ("tom_alertstreams.W022" in found()) is warned


def test_targets_that_nobody_would_see() -> None:
    rules = {"HANDLER": INGEST, "OPTIONS": {"MIN_RB": 0.6}}
    with override_settings(ALERT_STREAMS=[entry("b:1", "g", {"t": rules})], TARGET_DEFAULT_PERMISSION="PRIVATE"):
        assert "only superusers" in found()["tom_alertstreams.W021"]
