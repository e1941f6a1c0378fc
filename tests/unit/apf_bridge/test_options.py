"""OPTIONS of a step: what is wrong is said before the first alert."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from apf_bridge.config_report import report
from apf_bridge.options import StepOptions
from apf_bridge.step_config import messages_at_once, producer_params, read_config
from tom_alertstreams.exceptions import ConfigurationError
from tom_alertstreams.handlers import resolve

from .parts import Step1, Step2

HERE = "tests.unit.apf_bridge.test_options"
STEP = "tests.steps.steps.NoOp"
STEP_1X = "tests.steps.steps.EarlyClassifier"
HANDLER = "apf_bridge.handlers.run_step"
SETTINGS = """
import os
CONSUMER_CONFIG = {"CLASS": "apf.consumers.KafkaConsumer", "PARAMS": {"bootstrap.servers": "x"}, "TOPICS": ["a"]}
STEP_CONFIG = {"CONSUMER_CONFIG": CONSUMER_CONFIG, "MODEL": os.path.join("a", "b")}
"""
YAML = """
CONSUMER_CONFIG:
  consume.messages: 50
  PARAMS:
    bootstrap.servers: x
"""


def test_it_is_said_why_no_order_of_commit_is_heeded() -> None:
    [use] = report({"COMMIT_ORDER": "legacy"})
    assert (use.use, str(use)) == (
        "ignored", "COMMIT_ORDER (offsets and output are one transaction, so neither comes first)"
    )  # fmt: skip


class TestStepConfig:
    def test_a_settings_py_is_run(self, tmp_path: Path) -> None:
        (tmp_path / "settings.py").write_text(SETTINGS)
        options = StepOptions(STEP, str(tmp_path / "settings.py"))
        assert options.step_config["MODEL"] == "a/b"
        assert options.step_config["CONSUMER_CONFIG"]["TOPICS"] == ["a"]

    def test_a_section_that_stands_beside_it(self, tmp_path: Path) -> None:
        """As in the template of APF 1.x. What is inside goes before it."""
        name = "CONSUMER_CONFIG"
        text = f"{name} = {{'PARAMS': {{'bootstrap.servers': 'x'}}}}\nSTEP_CONFIG = "
        (tmp_path / "settings.py").write_text(f"{text}{{'MODEL': 1}}")
        config = read_config(tmp_path / "settings.py")
        assert config == {"MODEL": 1, name: {"PARAMS": {"bootstrap.servers": "x"}}}
        assert f"{name} (it stands beside STEP_CONFIG, which has none)" in [str(use) for use in report(config)]
        (tmp_path / "settings.py").write_text(f"{text}{{'{name}': {{}}}}")
        assert read_config(tmp_path / "settings.py") == {name: {}}
        (tmp_path / "settings.py").write_text("PRODUCER_CONFIG = {'TOPIC': 'out'}\nSTEP_CONFIG = {'MODEL': 1}")
        assert read_config(tmp_path / "settings.py") == {"MODEL": 1}, "left out, as with APF"

    def test_a_function_that_makes_it(self, tmp_path: Path) -> None:
        (tmp_path / "settings.py").write_text("def settings_factory():\n    return {'MODEL': 1}\n")
        assert StepOptions(STEP, str(tmp_path / "settings.py")).step_config == {"MODEL": 1}

    @pytest.mark.parametrize("head", ["", "STEP_CONFIG:\n"])
    def test_a_yaml(self, tmp_path: Path, head: str) -> None:
        text = YAML if not head else head + "\n".join(f"  {line}" for line in YAML.splitlines())
        (tmp_path / "config.yaml").write_text(text)
        assert messages_at_once(StepOptions(STEP, str(tmp_path / "config.yaml")).step_config) == 50

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            (7, "STEP_CONFIG is 7"),
            (
                "nowhere.py",
                "nowhere.py cannot be used: There is no such file from the working directory; give its whole",
            ),
            ("/nowhere.py", "STEP_CONFIG: /nowhere.py cannot be used: There is no such file\\."),
            ({"CONSUMER_CONFIG": ["a"]}, "CONSUMER_CONFIG is list; it is a dict"),
            (
                {"CONSUMER_CONFIG": {"consume.messages": 0}},
                r"CONSUMER_CONFIG\['consume.messages'\] is 0; it is a number",
            ),
            ({"CONTRACT": "3"}, "CONTRACT is '3'"),
            ({"COMMIT_ORDER": "first"}, "COMMIT_ORDER is 'first'"),
            ({"PRODUCER_CONFIG": {"CLASS": "no.such.Producer"}}, "PRODUCER_CONFIG: CLASS 'no.such.Producer' cannot be"),
            (
                {
                    "PRODUCER_CONFIG": {"CLASS": "apf.producers.KafkaProducer", "PARAMS": {"bootstrap.servers": "x"}},
                    "METRICS_CONFIG": {"CLASS": "apf.metrics.LogfileMetricsProducer"},
                },
                r"no SCHEMA or SCHEMA_PATH\. PRODUCER_CONFIG has no TOPIC or TOPIC_STRATEGY .*METRICS_CONFIG has no PARAMS",
            ),
        ],
    )
    def test_what_is_none(self, given: Any, said: str) -> None:
        with pytest.raises(ConfigurationError, match=said):
            resolve(HANDLER, {"STEP": STEP, "STEP_CONFIG": given})

    @pytest.mark.parametrize("text", ["1/0", "x = 1", "STEP_CONFIG = []", "exit('no model')"])
    def test_a_settings_py_that_cannot_be_used(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "settings.py").write_text(text)
        with pytest.raises(ConfigurationError, match=r"STEP_CONFIG: .*settings\.py"):
            resolve(HANDLER, {"STEP": STEP, "STEP_CONFIG": str(tmp_path / "settings.py")})

    def test_what_is_beside_it_is_imported_and_the_step_imports_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("own", "tom"):
            (tmp_path / name).mkdir()
        (tmp_path / "own" / "beside_settings.py").write_text("MODEL = 'm'\n")
        settings = "import beside_settings\nSTEP_CONFIG = {'MODEL': beside_settings.MODEL}\n"
        (tmp_path / "own" / "settings.py").write_text(settings)
        step = "from apf.core.step import GenericStep\nfrom settings import STEP_CONFIG\nclass Own(GenericStep):\n    pass\n"
        (tmp_path / "tom" / "step_of_settings.py").write_text(step)
        monkeypatch.syspath_prepend(tmp_path / "tom")
        before = list(sys.path)
        assert StepOptions("step_of_settings.Own", str(tmp_path / "own" / "settings.py")).step_config == {"MODEL": "m"}
        assert sys.path == before

    def test_each_of_two_gets_what_is_beside_itself(self, tmp_path: Path) -> None:
        for name in ("first", "second"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "beside_both.py").write_text(f"MODEL = {name!r}\n")
            (tmp_path / name / "settings.py").write_text(
                "from beside_both import MODEL\nSTEP_CONFIG = {'MODEL': MODEL}\n"
            )
        read = [StepOptions(STEP, str(tmp_path / name / "settings.py")) for name in ("first", "second", "first")]
        assert [options.step_config["MODEL"] for options in read] == ["first", "second", "first"]

    def test_the_toms_own_settings_keep_their_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        of_the_tom = object()
        monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "settings")
        monkeypatch.setitem(sys.modules, "settings", of_the_tom)  # type: ignore[arg-type]
        (tmp_path / "settings.py").write_text(SETTINGS)
        StepOptions(STEP, str(tmp_path / "settings.py"))
        assert sys.modules["settings"] is of_the_tom  # type: ignore[comparison-overlap]


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"STEP": "no.such.Step"}, "The step 'no.such.Step' cannot be imported"),
            ({"STEP": f"{HERE}.report"}, "The step .* is no class"),
            ({"STEP": STEP_1X, "FIELDS": {"object_id": "oid"}}, "Under contract 1 a step returns nothing"),
            ({"CONTRACT": "3"}, "CONTRACT is '3'"),
            ({"OUTBOX_DAYS": 0}, "OUTBOX_DAYS is 0"),
            ({"PROMETHEUS_PORT": "8000"}, "PROMETHEUS_PORT is '8000'"),
            ({"RESULT_HANDLER": "no.such"}, "RESULT_HANDLER 'no.such' cannot be imported"),
            ({"FIELDS": {"ra": "ra"}}, "object_id"),
            ({"RULES": {"CREATE": "always"}}, "RULES are for Targets"),
            ({"FIELDS": {"object_id": "oid"}, "RULES": {"CREAT": "x"}}, "does not know the option CREAT"),
            ({"SCHEMA": "x"}, "does not know the option SCHEMA"),
        ],
    )
    def test_what_is_wrong_is_said_at_the_start(self, options: dict[str, Any], said: str) -> None:
        with pytest.raises(ConfigurationError, match=said):
            resolve(HANDLER, {"STEP": STEP, "STEP_CONFIG": {}, **options})

    def test_a_step_whose_module_exits(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "exiting_step.py").write_text("import sys\nsys.exit('no model')\n")
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(ConfigurationError, match="SystemExit: no model"):
            resolve(HANDLER, {"STEP": "exiting_step.Step", "STEP_CONFIG": {}})

    @pytest.mark.parametrize("contract", [6, "6"])
    def test_a_contract_may_be_a_number(self, contract: Any) -> None:
        assert resolve(HANDLER, {"STEP": STEP, "STEP_CONFIG": {}, "CONTRACT": contract})

    def test_all_that_is_wrong_is_said_at_once(self) -> None:
        config = {"CONTRACT": "3", "COMIT": 1, "CONSUMER_CONFIG": {"NUM_MESSAGES": 0}}
        with pytest.raises(ConfigurationError) as caught:
            resolve(HANDLER, {"STEP": "no.such.Step", "STEP_CONFIG": config, "OUTBOX_DAYS": 0, "RULES": {"A": 1}})
        for said in (
            "OUTBOX_DAYS is 0",
            "RULES are for Targets",
            "'no.such.Step' cannot be imported",
            "CONTRACT is '3'",
            "['NUM_MESSAGES'] is 0",
            "COMIT (is COMMIT meant?) is read by nobody",
        ):
            assert said in caught.value.message

    def test_what_becomes_of_the_keys_is_told_when_the_stream_begins(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("INFO", "apf_bridge")
        options = StepOptions(STEP, {"COMIT": 1, "MODEL": "m"})
        for _ in range(2):
            options.host("night")
        assert [message for message in caplog.messages if "STEP_CONFIG" in message] == [
            f"night: {STEP}: STEP_CONFIG used: MODEL (by the step)",
            f"night: {STEP}: STEP_CONFIG unknown: COMIT (is COMMIT meant?)",
        ]

    def test_a_step_is_not_made_by_looking_at_its_options(self) -> None:
        assert resolve(HANDLER, {"STEP": "tests.unit.apf_bridge.test_options.Never", "STEP_CONFIG": {}})


class Never:
    """A step whose constructor takes a minute to load its model."""

    def __init__(self) -> None:
        raise AssertionError


def test_every_key_is_told_what_becomes_of_it() -> None:
    config = {
        "CONSUMER_CONFIG": {"CLASS": "c", "TOPICS": ["a"], "TIMEOUT": 5, "NUM_MESSAGES": 9, "TYPO": 1},
        "PRODUCER_CONFIG": {"CLASS": "apf.producers.KafkaProducer", "PARAMS": {}, "TOPIC": "b", "STRCT": True},
        "METRICS_CONFIG": {"PARAMS": {}, "EXTRAS": []},
        "COMMIT": False,
        "COMIT": False,
        "MODEL": "m",
    }
    assert {item.key: item.use for item in report(config)} == {
        "CONSUMER_CONFIG['CLASS']": "mapped",
        "CONSUMER_CONFIG['TOPICS']": "mapped",
        "CONSUMER_CONFIG['TIMEOUT']": "ignored",
        "CONSUMER_CONFIG['NUM_MESSAGES']": "used",
        "CONSUMER_CONFIG['TYPO']": "unknown",
        "PRODUCER_CONFIG['CLASS']": "used",
        "PRODUCER_CONFIG['PARAMS']": "mapped",
        "PRODUCER_CONFIG['TOPIC']": "used",
        "PRODUCER_CONFIG['STRCT']": "unknown",
        "METRICS_CONFIG['PARAMS']": "used",
        "METRICS_CONFIG['EXTRAS']": "unknown",
        "METRICS_CONFIG": "used",  # if the step names a class
        "COMMIT": "ignored",
        "COMIT": "unknown",
        "MODEL": "used",
    }


@pytest.mark.parametrize("section", ["PRODUCER_CONFIG", "METRICS_CONFIG"])
def test_a_section_without_a_class_is_told(section: str) -> None:
    """Whether the step names one by itself is known only when it is made."""
    told = f"{section} (only if the step names a class by itself: there is no CLASS)"
    assert told in [str(item) for item in report({section: {"PARAMS": {}}}, Step2)]
    assert told not in [str(item) for item in report({section: {"PARAMS": {}}}, Step1)]
    assert told not in [str(item) for item in report({section: {"CLASS": "c"}}, Step2)]
    assert told not in [str(item) for item in report({section: {}}, Step2)]


def test_every_producer_of_a_step_is_known() -> None:
    config = {"PRODUCER_CONFIG": {"PARAMS": {"a": 1}}, "SCRIBE_PRODUCER_CONFIG": {"PARAMS": {"b": 2}}, "PRODUCER": 1}
    assert producer_params(config) == {"PRODUCER_CONFIG": {"a": 1}, "SCRIBE_PRODUCER_CONFIG": {"b": 2}}
