"""A stream out of the settings of a step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from apf_bridge.streams import StepAlertStream
from tom_alertstreams.alertstreams.alertstream import get_alert_streams
from tom_alertstreams.exceptions import ConfigurationError


def made(consumer: dict[str, Any], **options: Any) -> StepAlertStream:
    entry = {
        "NAME": "apf_bridge.streams.StepAlertStream",
        "LABEL": "step",
        "OPTIONS": {
            "STEP": "tests.steps.steps.NoOp",
            "STEP_CONFIG": {"CONSUMER_CONFIG": {"PARAMS": {"bootstrap.servers": "x:9"}, **consumer}},
            **options,
        },
    }
    (stream,) = get_alert_streams([entry])
    assert isinstance(stream, StepAlertStream)
    return stream


def daily(topic_format: Any, **params: Any) -> dict[str, Any]:
    strategy = "apf.core.topic_management.DailyTopicStrategy"
    return {"TOPIC_STRATEGY": {"CLASS": strategy, "PARAMS": {"topic_format": topic_format, **params}}}


class TestTopics:
    def test_of_topics(self) -> None:
        assert list(made({"TOPICS": ["a", "b"]}).bindings) == ["a", "b"]

    def test_one_topic_as_a_text(self) -> None:
        assert list(made({"TOPICS": "alone"}).bindings) == ["alone"]

    @pytest.mark.parametrize(
        ("pattern", "taken", "left"),
        [
            ("^ztf_.*", "ztf_20261101_programid1", "xztf_1"),
            ("^lc_classifier_[0-9]{8}$", "lc_classifier_20261101", "lc_classifier_ztf_20261101"),
            (r"^a\.b", "a.b.c", "aXb"),
        ],
    )
    def test_a_regular_expression_of_librdkafka(self, pattern: str, taken: str, left: str) -> None:
        keys = made({"TOPICS": [pattern]}).topic_keys
        assert keys.match(taken) is not None
        assert keys.match(left) is None

    def test_one_that_is_no_glob_is_refused(self) -> None:
        with pytest.raises(ConfigurationError, match=r"regular expression '\^\(lc\|stamp\)_\.\*'.*globs"):
            made({"TOPICS": ["^(lc|stamp)_.*"]})

    def test_daily_topics_are_those_that_there_are(self) -> None:
        keys = made(daily(["ztf_%s_programid1", "atlas_%s"])).topic_keys
        for day in ("20251231", "20260101"):
            assert keys.match(f"ztf_{day}_programid1") is not None
            assert keys.match(f"atlas_{day}") is not None
        assert keys.match("ztf_20260101_programid2") is None
        assert keys.match("atlas_today") is None

    def test_in_another_format_of_dates(self) -> None:
        keys = made(daily("s_%s", date_format="%Y-%m-%d")).topic_keys
        assert keys.match("s_2026-01-01") is not None
        assert keys.match("s_20260101") is None

    def test_topics_go_before_a_strategy(self) -> None:
        assert list(made({"TOPICS": ["a"], **daily("s_%s")}).bindings) == ["a"]


class TestConnection:
    def test_params_are_the_connection(self) -> None:
        params = {"bootstrap.servers": "x:9", "group.id": "theirs", "enable.auto.commit": True, "sasl.username": "u"}
        stream = made({"TOPICS": ["a"], "PARAMS": {**params, "auto.offset.reset": "latest"}})
        assert stream.group_id == "theirs"
        assert stream.start == "latest"
        assert stream.consumer_config()["sasl.username"] == "u"
        assert "enable.auto.commit" not in stream.consumer_config()

    def test_config_goes_over_them(self) -> None:
        stream = made({"TOPICS": ["a"]}, CONFIG={"bootstrap.servers": "y:9"}, GROUP_ID="ours")
        assert (stream.consumer_config()["bootstrap.servers"], stream.group_id) == ("y:9", "ours")

    def test_all_that_lacks_is_listed(self) -> None:
        with pytest.raises(
            ConfigurationError, match=r"lacks TOPICS or TOPIC_STRATEGY and bootstrap\.servers in PARAMS"
        ):
            made({"PARAMS": {}})

    def test_options_that_lack(self) -> None:
        with pytest.raises(ConfigurationError, match="lack STEP, STEP_CONFIG"):
            get_alert_streams([{"NAME": "apf_bridge.streams.StepAlertStream", "OPTIONS": {}}])

    def test_a_password_in_their_settings_is_blanked(self) -> None:
        from tom_alertstreams.redaction import redact

        made({"TOPICS": ["a"], "PARAMS": {"bootstrap.servers": "x:9", "sasl.password": "correct-horse"}})
        assert "correct-horse" not in redact("cannot log in with correct-horse")


def test_one_step_for_all_topics() -> None:
    bindings = made({"TOPICS": ["a", "b"]}).bindings
    assert bindings["a"].handler.options is bindings["b"].handler.options


def test_a_schemaless_consumer() -> None:
    schema = str(Path(__file__).parents[2] / "steps" / "output.avsc")
    stream = made({"TOPICS": ["a"], "CLASS": "apf.consumers.KafkaSchemalessConsumer", "SCHEMA_PATH": schema})
    assert (stream.__dict__["decoder"], stream.__dict__["schema"]) == ("schemaless", schema)


def test_a_consumer_of_ones_own_is_told(caplog: pytest.LogCaptureFixture) -> None:
    made({"TOPICS": ["a"], "CLASS": "mine.consumers.LsstKafkaConsumer"})
    assert "its decoding is not used" in caplog.text
