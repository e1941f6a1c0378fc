"""What is there to deploy with: units and manifests can be read, and use options that exist, with time enough to stop."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from django import db
from django.core.management import get_commands, load_command_class
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import Client

from tests import services
from tests.acceptance.documents import DOCS, ROOT
from tests.unit.test_status import STREAM
from tom_alertstreams.alarms.mail import MailNotifier
from tom_alertstreams.alarms.options import alarm_settings
from tom_alertstreams.alarms.rules import HEARTBEAT_SILENCE
from tom_alertstreams.alarms.webhook import WebhookNotifier
from tom_alertstreams.conf import DEFAULT_SHUTDOWN_S
from tom_alertstreams.delivery.failures import DATABASE_AWAY
from tom_alertstreams.delivery.supervisor import _GRACE_S, NEEDS_YOU
from tom_alertstreams.redaction import redact
from tom_alertstreams.topics import HEARTBEAT_TOPICS

DEPLOY = DOCS / "deploy"
UNIT = DEPLOY / "readstreams@.service"
LONGEST_STOP_S = DEFAULT_SHUTDOWN_S + _GRACE_S


def documents() -> Iterator[Any]:
    for name in ("compose.yaml", "kubernetes.yaml"):
        yield from yaml.safe_load_all((DEPLOY / name).read_text())


def containers(node: Any) -> Iterator[dict[str, Any]]:
    """Whatever has a command, at any depth."""
    if isinstance(node, dict):
        if isinstance(node.get("command"), list) and "manage.py" in node["command"]:
            yield node
        for inner in node.values():
            yield from containers(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from containers(inner)


def command_lines() -> Iterator[list[str]]:
    for document in documents():
        for container in containers(document):
            yield [*container["command"], *container.get("args", [])]
    unit = configparser.RawConfigParser(strict=False, delimiters=("=",))
    unit.read(UNIT)
    yield unit["Service"]["ExecStart"].split()


def test_commands_and_options_exist() -> None:
    seen = set()
    for line in command_lines():
        name, *options = line[line.index("manage.py") + 1 :]
        seen.add(name)
        parser = load_command_class(get_commands()[name], name).create_parser("manage.py", name)
        parser.parse_args(options)  # ends the program where one is not known
    assert seen == {"migrate", "readstreams", "alertstreams"}


def test_there_is_time_enough_to_stop() -> None:
    compose, kubernetes, _ = documents()
    grace = compose["services"]["readstreams"]["stop_grace_period"]
    assert float(grace.removesuffix("s")) > LONGEST_STOP_S
    assert kubernetes["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > LONGEST_STOP_S
    assert float(re.findall(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(), re.MULTILINE)[0]) > LONGEST_STOP_S


def test_the_probes_look_at_the_file_that_is_touched(tmp_path: Path) -> None:
    compose, kubernetes, _ = documents()
    service = compose["services"]["readstreams"]
    [container] = kubernetes["spec"]["template"]["spec"]["containers"]
    sample = yaml.safe_load(
        re.findall(r"^```yaml\n(.*?)^```", (DOCS / "how-to" / "deploy.md").read_text(), re.MULTILINE | re.DOTALL)[0]
    )
    probe = container["livenessProbe"]["exec"]["command"]
    assert probe == sample["livenessProbe"]["exec"]["command"]
    assert service["healthcheck"]["test"][1] == probe[-1]
    for arguments in (service["command"], container["args"], sample["args"]):
        assert arguments[arguments.index("--liveness-file") + 1] == "/tmp/readstreams-alive"
    assert [port["containerPort"] for port in container["ports"]] == [9101]

    alive = tmp_path / "alive"
    command = ["sh", "-c", probe[-1].replace("/tmp/readstreams-alive", str(alive))]
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0
    alive.touch()
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    subprocess.run(["touch", "-d", "3 minutes ago", str(alive)], check=True)
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0


def test_the_unit_is_what_systemd_takes(tmp_path: Path) -> None:
    text = UNIT.read_text()
    assert f"RestartPreventExitStatus={NEEDS_YOU}\n" in text
    if shutil.which("systemd-analyze") is None:
        (pytest.fail if services.required() else pytest.skip)("systemd-analyze is not installed (Debian: systemd)")
    # With a program that is there.
    here = text.replace("/srv/tom/.venv/bin/python", sys.executable).replace("/srv/tom", str(tmp_path))
    (tmp_path / UNIT.name).write_text(here)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / UNIT.name)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.django_db
def test_the_health_of_a_closed_tom(client: Client, settings: Any) -> None:
    names: dict[str, Any] = {}
    [block] = re.findall(
        r"^```python\n(# settings.py\nAUTH.*?)^```", (DOCS / "how-to" / "deploy.md").read_text(), re.M | re.S
    )
    exec(block, names)
    settings.ALERT_STREAMS = [STREAM]
    settings.AUTH_STRATEGY, settings.OPEN_URLS = names["AUTH_STRATEGY"], []
    assert Client().get("/alertstreams/health/").status_code == 302
    settings.OPEN_URLS = names["OPEN_URLS"]
    assert client.get("/alertstreams/health/").json()["streams"][0]["state"] == "never"
    assert client.get("/alertstreams/").status_code == 302


def test_the_health_of_a_closed_tom_without_its_database(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the document says: who sends the cookie of a session gets 500, for the toolkit's middleware reads the session."""

    def away(*_: Any, **__: Any) -> Any:
        raise db.OperationalError("could not connect to server")

    monkeypatch.setattr(BaseDatabaseWrapper, "ensure_connection", away)
    settings.ALERT_STREAMS = [STREAM]
    settings.AUTH_STRATEGY, settings.OPEN_URLS = "LOCKED", ["/alertstreams/health/"]
    client = Client(raise_request_exception=False)
    answer = client.get("/alertstreams/health/")
    assert (answer.status_code, answer.json()["reason"]) == (503, DATABASE_AWAY)
    client.cookies["sessionid"] = "a" * 32
    assert client.get("/alertstreams/health/").status_code == 500


class TestAlarmsDocument:
    """The samples of docs/how-to/alarms.md."""

    @pytest.fixture
    def samples(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        for name in ("SLACK_HOOK", "PAGER", "GCN_CLIENT_ID", "GCN_CLIENT_SECRET"):
            monkeypatch.setenv(name, "https://hooks.slack.com/services/T000/B000/XXXX")
        return re.findall(
            r"^```python\n(.*?)^```", (DOCS / "how-to" / "alarms.md").read_text(), re.MULTILINE | re.DOTALL
        )

    def test_settings_can_be_used(self, samples: list[str], settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        pager = ModuleType("mytom.pager")
        monkeypatch.setitem(sys.modules, "mytom", ModuleType("mytom"))
        monkeypatch.setitem(sys.modules, "mytom.pager", pager)
        exec(next(block for block in samples if block.startswith("# mytom/pager.py")), pager.__dict__)
        names: dict[str, Any] = {}
        found = []
        for block in samples:
            if block.startswith("# settings.py"):
                names.pop("ALERT_STREAMS_ALARMS", None)
                exec(block, names)
                if "ALERT_STREAMS_ALARMS" in names:
                    settings.ADMINS = names["ADMINS"]
                    settings.ALERT_STREAMS = [STREAM]
                    settings.ALERT_STREAMS_ALARMS = names["ALERT_STREAMS_ALARMS"]
                    parsed, findings = alarm_settings()
                    assert not findings
                    assert parsed is not None
                    found += [type(notifier).__name__ for notifier in parsed.notifiers]
        assert found == ["MailNotifier", "WebhookNotifier", "Pager"]
        assert "XXXX" not in redact("https://hooks.slack.com/services/T000/B000/XXXX")

    def test_options_are_documented(self) -> None:
        text = (DOCS / "how-to" / "alarms.md").read_text().partition("## Built-in notifiers")[2]
        rows = re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", text, re.MULTILINE)
        known = [(f.name.upper(), f.default) for kind in (MailNotifier, WebhookNotifier) for f in fields(kind)]
        assert [(name, eval(default)) for name, default in rows] == known

    def test_heartbeats_are_documented(self) -> None:
        text = (DOCS / "how-to" / "alarms.md").read_text()
        assert {"gcn.heartbeat", "sys.heartbeat"} <= set(HEARTBEAT_TOPICS) & set(re.findall(r"`([\w.]+)`", text))
        assert timedelta(minutes=10) == HEARTBEAT_SILENCE
        assert "after 10 minutes" in text


def test_nothing_names_a_folder_that_is_not_there() -> None:
    for path in re.findall(r"docs/[\w/.@-]+", (DOCS / "how-to" / "deploy.md").read_text()):
        assert (ROOT / path.rstrip(".")).exists(), path
