"""``apf.core``: classes by their paths, configs in YAML, secrets, profiling."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from apf_bridge import shims
from apf_bridge.compat.core import get_class
from apf_bridge.compat.core.secret_manager import get_secret
from apf_bridge.compat.core.settings import config_from_yaml_file, config_from_yaml_string
from apf_bridge.compat.metrics.pyroscope import profile


def test_classes_are_found_with_and_without_the_shims() -> None:
    found = get_class("apf.consumers.GenericConsumer")
    shims.uninstall()
    assert get_class("apf.consumers.GenericConsumer") is found


@pytest.mark.parametrize(
    ("path", "says"),
    [("Consumer", "package.module.Class"), ("apf.core.Nothing", "has no Nothing"), ("no_such.Class", "no_such")],
)
def test_a_class_that_cannot_be_imported(path: str, says: str) -> None:
    with pytest.raises(ImportError, match=says):
        get_class(path)


def test_keys_with_dots_survive_yaml(tmp_path: Path) -> None:
    text = "CONSUMER_CONFIG:\n  PARAMS:\n    bootstrap.servers: localhost:9092\n  consume.messages: 5\n"
    (tmp_path / "config.yaml").write_text(text)
    config = config_from_yaml_file(str(tmp_path / "config.yaml"))
    assert config == config_from_yaml_string(text)
    assert config["CONSUMER_CONFIG"] == {"PARAMS": {"bootstrap.servers": "localhost:9092"}, "consume.messages": 5}


def test_secrets_say_what_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(ImportError, match="pip install boto3"):
        get_secret("name")


def test_secrets_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    class Client:
        def get_secret_value(self, SecretId: str) -> dict[str, Any]:  # noqa: N803  AWS's spelling
            return {"SecretString": f"secret of {SecretId}", "Name": SecretId}

    regions = []

    def client(service_name: str, region_name: str) -> Client:
        regions.append((service_name, region_name))
        return Client()

    boto3 = ModuleType("boto3")
    boto3.client = client  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "boto3", boto3)
    assert get_secret("name") == "secret of name"
    assert get_secret("name", "Name", "eu-south-2") == "name"
    assert regions == [("secretsmanager", "us-east-1"), ("secretsmanager", "eu-south-2")]


def test_profiling_keeps_what_a_function_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    assert profile(lambda: 5)() == 5
    monkeypatch.setitem(sys.modules, "pyroscope", None)
    monkeypatch.setenv("USE_PROFILING", "false")
    assert profile(lambda: 5)() == 5
    monkeypatch.setenv("USE_PROFILING", "1")
    with pytest.raises(ImportError, match="pyroscope-io"):
        profile(lambda: 5)()
