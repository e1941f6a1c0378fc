"""A stream out of the settings of a step."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from apf_bridge import shims
from apf_bridge.compat.consumers import GenericConsumer, KafkaConsumer
from apf_bridge.compat.core.topic_management import GenericTopicStrategy
from apf_bridge.streams import StepAlertStream
from tom_alertstreams.alerts import Alert
from tom_alertstreams.alertstreams.alertstream import get_alert_streams
from tom_alertstreams.exceptions import ConfigurationError, DecodeError
from tom_alertstreams.testing import make_alert


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


class Weekly(GenericTopicStrategy):
    def get_topics(self) -> list[str]:
        return ["week_45"]


class Patterned(Weekly):
    def patterns(self) -> list[str]:
        return ["^week_.*"]


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

    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("Weekly", "names tests.unit.apf_bridge.test_streams.Weekly, and only it knows its topics"),
            ("Absent", "TOPIC_STRATEGY cannot be made: ImportError: .*Absent"),
        ],
    )
    def test_a_strategy_of_ones_own_is_not_read_as_daily_topics(self, name: str, said: str) -> None:
        strategy = {"CLASS": f"tests.unit.apf_bridge.test_streams.{name}", "PARAMS": {}}
        with pytest.raises(ConfigurationError, match=said):
            made({"TOPIC_STRATEGY": strategy})

    def test_one_that_says_what_its_topics_look_like(self) -> None:
        strategy = {"CLASS": "tests.unit.apf_bridge.test_streams.Patterned", "PARAMS": {}}
        assert list(made({"TOPIC_STRATEGY": strategy}).bindings) == ["week_*"]

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


def test_settings_that_import_of_apf(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream is the first in the process to need it."""
    names = ("CONSUMER_SERVER", "CONSUMER_GROUP_ID", "PRODUCER_SERVER", "PRODUCER_TOPIC")
    for name in names:
        monkeypatch.setenv(name, name.lower())
    monkeypatch.setenv("CONSUMER_TOPICS", "a,b")
    shims.uninstall()
    step = "tests.steps.light_curve_classifier"
    settings = Path(__file__).parents[2] / "steps" / "light_curve_classifier" / "settings.py"
    options = {"STEP": f"{step}.step.LightCurveClassifier", "STEP_CONFIG": str(settings)}
    (stream,) = get_alert_streams([{"NAME": "apf_bridge.streams.StepAlertStream", "OPTIONS": options}])
    assert list(stream.bindings) == ["a", "b"]  # type: ignore[attr-defined]


def test_a_settings_py_runs_once_for_all_topics(tmp_path: Path) -> None:
    (tmp_path / "settings.py").write_text(
        "from pathlib import Path\n"
        "with (Path(__file__).parent / 'runs').open('a') as file:\n    file.write('.')\n"
        "reading = {'PARAMS': {'bootstrap.servers': 'x:9'}, 'TOPICS': ['a', 'b', 'c']}\n"
        "STEP_CONFIG = {'CONSUMER_CONFIG': reading}\n"
    )
    made({}, STEP_CONFIG=str(tmp_path / "settings.py"))
    assert (tmp_path / "runs").read_text() == "."


def test_all_that_is_wrong_is_said_at_once() -> None:
    reading = {"PARAMS": {}, "TOPICS": ["^(a|b)_"], "CLASS": "no.such.Consumer", "NUM_MESSAGES": 0}
    with pytest.raises(ConfigurationError) as caught:
        made(reading, STEP="no.such.Step", OUTBOX_DAYS=0)
    for said in (
        "regular expression '^(a|b)_'",
        "no.such.Consumer, which cannot be made",
        "lacks bootstrap.servers",
        "OUTBOX_DAYS is 0",
        "'no.such.Step' cannot be imported",
        "['NUM_MESSAGES'] is 0",
    ):
        assert said in caught.value.message


def test_one_step_for_all_topics() -> None:
    bindings = made({"TOPICS": ["a", "b"]}).bindings
    assert bindings["a"].handler.options is bindings["b"].handler.options


def test_a_schemaless_consumer() -> None:
    schema = str(Path(__file__).parents[2] / "steps" / "output.avsc")
    stream = made({"TOPICS": ["a"], "CLASS": "apf.consumers.KafkaSchemalessConsumer", "SCHEMA_PATH": schema})
    assert (stream.__dict__["decoder"], stream.__dict__["schema"]) == ("schemaless", schema)


class Framed(KafkaConsumer):
    """A group's own: a prefix of its own before JSON."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        self.prefix = config["PREFIX"].encode()

    def _deserialize_message(self, message: Any) -> Any:
        raw = message.value()
        if not raw.startswith(self.prefix):
            raise ValueError("no prefix")
        found = json.loads(raw[len(self.prefix) :])
        if isinstance(found, dict):
            found["place"] = [message.topic(), message.partition(), message.offset(), message.key()]
            found["headers"] = message.headers()
        return found

    def _post_process(self, parsed: Any, original_message: Any) -> Any:
        return {**super()._post_process(parsed, original_message), "own": True}


class Elsewhere(GenericConsumer):
    def consume(self) -> Iterator[Any]:
        yield {}


class TestAConsumerOfOnesOwn:
    HERE = "tests.unit.apf_bridge.test_streams"

    def stream(self, name: str = "Framed", **options: Any) -> StepAlertStream:
        return made({"TOPICS": ["a"], "CLASS": f"{self.HERE}.{name}", "PREFIX": "own:"}, **options)

    def alert(self, raw: bytes | None) -> Alert:
        sent = datetime(2026, 11, 1, tzinfo=timezone.utc)
        return Alert("step", "a", 2, 7, b"k", (("h", b"1"),), sent, raw, _decode=self.stream().decode)

    def test_decodes(self) -> None:
        assert self.alert(b'own:{"n": 1}').content == {
            "n": 1,
            "place": ["a", 2, 7, b"k"],
            "headers": [("h", b"1")],
            "timestamp": 1793491200000,
            "own": True,
        }

    def test_several_records(self) -> None:
        assert [record["n"] for record in self.alert(b'own:[{"n": 1}, {"n": 2}]').content] == [1, 2]

    @pytest.mark.parametrize(("raw", "said"), [(b"{}", "ValueError: no prefix"), (None, "tombstone")])
    def test_what_it_cannot_read_is_one_alert_that_failed(self, raw: bytes | None, said: str) -> None:
        with pytest.raises(DecodeError, match=f"Framed cannot read it: .*{said}"):
            _ = self.alert(raw).content

    def test_no_second_consumer_joins_the_group(self) -> None:
        with mock.patch("apf_bridge.compat.consumers.kafka.Consumer") as client:
            self.stream()
        assert not client.called

    def test_decoder_goes_before_it(self) -> None:
        assert self.stream(DECODER="auto").decode(make_alert({"n": 1})) == {"n": 1}

    def test_one_that_cannot_be_imported_or_made(self) -> None:
        with pytest.raises(ConfigurationError, match=r"names mine\.LsstConsumer, which cannot be made: .*'mine'"):
            made({"TOPICS": ["a"], "CLASS": "mine.LsstConsumer"})
        with pytest.raises(ConfigurationError, match="cannot be made: KeyError: 'PREFIX'"):
            made({"TOPICS": ["a"], "CLASS": f"{self.HERE}.Framed"})

    def test_one_that_is_no_kafka_consumer_is_told(self, caplog: pytest.LogCaptureFixture) -> None:
        self.stream("Elsewhere")
        assert "which is no KafkaConsumer: it is not used" in caplog.text
