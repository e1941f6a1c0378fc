"""OPTIONS of a step: what is wrong is said before the first alert."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from apf_bridge.config_report import report
from apf_bridge.options import StepOptions
from apf_bridge.step_config import messages_at_once, producer_params
from tom_alertstreams.exceptions import ConfigurationError
from tom_alertstreams.handlers import resolve

STEP = "tests.steps.steps.NoOp"
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


class TestStepConfig:
    def test_a_settings_py_is_run(self, tmp_path: Path) -> None:
        (tmp_path / "settings.py").write_text(SETTINGS)
        options = StepOptions(STEP, str(tmp_path / "settings.py"))
        assert options.step_config["MODEL"] == "a/b"
        assert options.step_config["CONSUMER_CONFIG"]["TOPICS"] == ["a"]

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
            ("nowhere.py", "there is no file nowhere.py"),
            ({"CONSUMER_CONFIG": []}, "CONSUMER_CONFIG in STEP_CONFIG is list"),
            ({"CONSUMER_CONFIG": {"consume.messages": 0}}, "consume.messages in CONSUMER_CONFIG is 0"),
        ],
    )
    def test_what_is_none(self, given: Any, said: str) -> None:
        with pytest.raises(ConfigurationError, match=said):
            resolve(HANDLER, {"STEP": STEP, "STEP_CONFIG": given})

    @pytest.mark.parametrize("text", ["1/0", "x = 1", "STEP_CONFIG = []"])
    def test_a_settings_py_that_cannot_be_used(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "settings.py").write_text(text)
        with pytest.raises(ConfigurationError, match=r"STEP_CONFIG: .*settings\.py"):
            resolve(HANDLER, {"STEP": STEP, "STEP_CONFIG": str(tmp_path / "settings.py")})


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"STEP": "no.such.Step"}, "STEP 'no.such.Step' cannot be imported"),
            ({"CONTRACT": "3"}, "CONTRACT is '3'"),
            ({"OUTBOX_DAYS": 0}, "OUTBOX_DAYS is 0"),
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

    def test_a_step_is_not_made_by_looking_at_its_options(self) -> None:
        assert resolve(HANDLER, {"STEP": "tests.unit.apf_bridge.test_options.Never", "STEP_CONFIG": {}})


class Never:
    """A step whose constructor takes a minute to load its model."""

    def __init__(self) -> None:
        raise AssertionError


def test_every_key_is_told_what_becomes_of_it() -> None:
    config = {
        "CONSUMER_CONFIG": {"CLASS": "c", "TOPICS": ["a"], "TIMEOUT": 5, "NUM_MESSAGES": 9, "TYPO": 1},
        "PRODUCER_CONFIG": {"PARAMS": {}, "TOPIC": "b"},
        "COMMIT": False,
        "MODEL": "m",
    }
    assert {item.key: item.use for item in report(config)} == {
        "CONSUMER_CONFIG.CLASS": "mapped",
        "CONSUMER_CONFIG.TOPICS": "mapped",
        "CONSUMER_CONFIG.TIMEOUT": "ignored",
        "CONSUMER_CONFIG.NUM_MESSAGES": "used",
        "CONSUMER_CONFIG.TYPO": "ignored",
        "PRODUCER_CONFIG.PARAMS": "mapped",
        "PRODUCER_CONFIG.TOPIC": "used",
        "COMMIT": "ignored",
        "MODEL": "used",
    }


def test_every_producer_of_a_step_is_known() -> None:
    config = {"PRODUCER_CONFIG": {"PARAMS": {"a": 1}}, "SCRIBE_PRODUCER_CONFIG": {"PARAMS": {"b": 2}}, "PRODUCER": 1}
    assert producer_params(config) == {"PRODUCER_CONFIG": {"a": 1}, "SCRIBE_PRODUCER_CONFIG": {"b": 2}}
