"""ALERT_STREAMS into dataclasses."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import override_settings

from tom_alertstreams import redaction
from tom_alertstreams.conf import RetrySettings, configured_streams, read_streams, shutdown_s

HOPSKOTCH = "tom_alertstreams.alertstreams.hopskotch.HopskotchAlertStream"


def one(**entry: Any) -> Any:
    streams, findings = read_streams([{"NAME": HOPSKOTCH, **entry}])
    assert not findings
    return streams[0]


def test_settings_of_1x() -> None:
    stream = one(ACTIVE=True, OPTIONS={"URL": "kafka://x/", "TOPIC_HANDLERS": {"t": "a.b"}})
    assert (stream.label, stream.topics[0].key, stream.topics[0].handler) == ("hopskotch", "t", "a.b")
    assert (stream.delivery.batch_size, stream.delivery.retry.total, stream.delivery.start) == (500, 3, None)


@override_settings(ALERT_STREAMS_DEFAULTS={"BATCH_SIZE": 7, "RETRY": {"TOTAL": 9}, "SHUTDOWN_S": 5})
def test_defaults_then_stream_then_topic() -> None:
    topic = {"HANDLER": "a.b", "RETRY": {"MIN_WAIT_S": 3}, "BATCH_BYTES": 99, "ATOMIC": False, "ON_ERROR": "reject"}
    stream = one(OPTIONS={"TOPIC_HANDLERS": {"t": topic, "u": "c.d"}}, DELIVERY={"BATCH_SIZE": 8, "START": "Earliest"})
    t, u = stream.topics
    assert stream.delivery.start == "earliest"
    assert (t.delivery.batch_size, t.delivery.batch_bytes, t.delivery.retry.total, t.delivery.retry.min_wait_s) == (
        8,
        99,
        9,
        3,
    )
    assert (t.atomic, t.on_error, u.atomic, u.delivery.retry.min_wait_s) == (False, "reject", True, 1.0)
    assert shutdown_s() == 5


def test_keys_that_1x_ignored_stop_no_stream() -> None:
    assert one(DESCRIPTION="for the group", LABEL="mine", **{"5": 1}).ignored == ("5", "DESCRIPTION")


def test_labels_are_unique() -> None:
    entry = {"NAME": HOPSKOTCH, "OPTIONS": {"TOPIC_HANDLERS": {}}}
    streams, _ = read_streams([entry, entry, {**entry, "LABEL": "mine"}])
    assert [stream.label for stream in streams] == ["hopskotch", "hopskotch-2", "mine"]
    _, findings = read_streams([{**entry, "LABEL": "mine"}, {**entry, "LABEL": "mine"}])
    assert "used twice" in findings[0].message


@pytest.mark.parametrize(
    ("entry", "word"),
    [
        ("text", "not a dict"),
        ({}, "NAME is missing"),
        ({"NAME": "a.B", "OPTION": {}}, "unknown key OPTION"),
        ({"NAME": "a.B", 5: 1, "OPTION": {}}, "unknown key OPTION"),
        ({"NAME": "a.B", "DELIVRY": {}}, "unknown key DELIVRY"),
        ({"NAME": "a.B", "label": "x"}, "unknown key label"),
        ({"NAME": "a.B", "LABEL": "x" * 101}, f"LABEL is '{'x' * 100}'"),
        ({"NAME": "a.B", "LABEL": "a\0b"}, r"LABEL is 'a\x00b'"),
        ({"NAME": "a.B", "OPTIONS": {"TOPIC_HANDLERS": {"": "a.b"}}}, "an empty key"),
        ({"NAME": "a.B", "OPTIONS": []}, "OPTIONS is not a dict"),
        ({"NAME": "a.B", "OPTIONS": {"TOPIC_HANDLERS": ["t"]}}, "TOPIC_HANDLERS is not a dict"),
        ({"NAME": "a.B", "OPTIONS": {"TOPIC_HANDLERS": {"t": {}}}}, "names no handler"),
        ({"NAME": "a.B", "OPTIONS": {"TOPIC_HANDLERS": {"t": {"HANDLER": "a.b", "ON_ERROR": "x"}}}}, "ON_ERROR"),
        (
            {"NAME": "a.B", "OPTIONS": {"TOPIC_HANDLERS": {"t": {"HANDLER": "a.b", "ATOMICS": 1}}}},
            "unknown setting ATOMICS",
        ),
        ({"NAME": "a.B", "DELIVERY": {"BATCH_SIZE": 0}}, "BATCH_SIZE is 0"),
        ({"NAME": "a.B", "DELIVERY": {"BATCH_SECONDS": "1"}}, "BATCH_SECONDS is '1'"),
        ({"NAME": "a.B", "DELIVERY": {"RETRY": {"TIMES": 3}}}, "RETRY cannot be read"),
        ({"NAME": "a.B", "DELIVERY": {"START": "now"}}, "START is 'now'"),
        ({"NAME": "a.B", "DELIVERY": {"SHUTDOWN_S": 3}}, "unknown setting SHUTDOWN_S"),
        ({"NAME": "a.B", "DELIVERY": None}, "settings of the delivery are not a dict"),
        ({"NAME": "a.B", "OPTIONS": {"TOPIC_HANDLERS": {"t": {"HANDLER": "a.b", "OPTIONS": None}}}}, "OPTIONS of 't'"),
        ({"NAME": "a.B", "OPTIONS": {"TOPIC_HANDLERS": {"t": {"HANDLER": "a.b", "OPTIONS": ["x"]}}}}, "OPTIONS of 't'"),
        ({"NAME": "a.B", "DELIVERY": {"BATCH_SIZE": 2.5}}, "BATCH_SIZE is 2.5"),
        ({"NAME": "a.B", "DELIVERY": {"HANDLER_TIMEOUT_S": float("inf")}}, "HANDLER_TIMEOUT_S is inf"),
        ({"NAME": "a.B", "DELIVERY": {"PREPARE_TIMEOUT_S": float("nan")}}, "PREPARE_TIMEOUT_S is nan"),
        ({"NAME": "a.B", "DELIVERY": {"REJECTIONS_DAYS": 10**7}}, "REJECTIONS_DAYS is 10000000"),
    ],
)
def test_what_is_wrong_is_a_finding_and_spoils_nobody_else(entry: Any, word: str) -> None:
    streams, findings = read_streams([entry, {"NAME": HOPSKOTCH}, {"NAME": 7, "ACTIVE": False}])
    assert [stream.label for stream in streams] == ["hopskotch"]
    assert len(findings) == 1
    assert word in findings[0].message
    assert findings[0].hint


@pytest.mark.parametrize("defaults", [None, [], {"SHUTDOWN_S": "30"}, {"SHUTDOWN_S": float("inf")}])
def test_defaults_that_cannot_be_read_spoil_no_stream(defaults: Any) -> None:
    with override_settings(ALERT_STREAMS_DEFAULTS=defaults):
        streams, findings = read_streams([{"NAME": HOPSKOTCH}])
        assert shutdown_s() == 30
    assert [stream.label for stream in streams] == ["hopskotch"]
    assert [finding.id for finding in findings] == ["W002"]


@override_settings(ALERT_STREAMS_DEFAULTS={"START": "latest", "BATCH_SIZ": 3, "RETRY": None, "BATCH_SIZE": 7})
def test_what_is_wrong_in_defaults_spoils_nothing_else_of_them() -> None:
    [stream], findings = read_streams([{"NAME": HOPSKOTCH}])
    assert (stream.delivery.start, stream.delivery.batch_size) == ("latest", 7)
    assert [(finding.id, finding.label) for finding in findings] == [("W002", "ALERT_STREAMS_DEFAULTS")] * 2
    assert findings[0].message == "left out: unknown setting BATCH_SIZ."


def test_a_label_that_nothing_can_keep_is_told_by_its_place() -> None:
    _, findings = read_streams([{"NAME": HOPSKOTCH}, {"NAME": HOPSKOTCH, "LABEL": "a\0b"}])
    assert [finding.label for finding in findings] == ["ALERT_STREAMS[1]"]


@override_settings(ALERT_STREAMS="text")
def test_not_a_list() -> None:
    assert configured_streams()[1][0].message == "ALERT_STREAMS is not a list."


def test_waits_grow_to_a_limit() -> None:
    assert [RetrySettings().wait_s(n) for n in (1, 2, 3, 7, 1000)] == [1, 2, 4, 60, 60]


def test_secrets_are_remembered_and_never_shown() -> None:
    secrets = {"PASSWORD": "open sesame 1", "CONFIG": {"sasl.oauthbearer.client.secret": "open sesame 2"}}
    shown = {"sasl.oauthbearer.token.endpoint.url": "https://auth.example/token", "USERNAME": "somebody"}
    stream = one(OPTIONS={**secrets, "CONFIG": {**secrets["CONFIG"], **shown}})  # type: ignore[dict-item]
    assert "sesame" not in repr(stream)
    assert redaction.redact("open sesame 1, open sesame 2") == f"{redaction.BLANK}, {redaction.BLANK}"
    assert redaction.redact("https://auth.example/token") == "https://auth.example/token"


def test_passwords_in_addresses_are_secrets() -> None:
    one(OPTIONS={"URL": "kafka://me:hunter%2Bthree@h:9092/x", "CONFIG": {"x": "https://k:hunter4you@reg/?a=b@c"}})
    told = redaction.redact("at hunter%2Bthree or hunter+three: port 'hunter4you@reg', kafka://me@h")
    assert told == f"at {redaction.BLANK} or {redaction.BLANK}: port '{redaction.BLANK}@reg', kafka://me@h"
