"""How the streams are, on a terminal; and the exit code that says whether all is well."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import dataclass
from typing import Any

import pytest
from django import db
from django.core.management import call_command
from django.test import Client

from tests.unit.test_status import STREAM, State, run
from tests.unit.views.test_streams import saying
from tom_alertstreams.alarms.notifier import Notice, Notifier
from tom_alertstreams.management.commands import alertstreams

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _stream(settings: Any) -> None:
    settings.ALERT_STREAMS = [STREAM]


def told(*arguments: str) -> tuple[int, str]:
    """The exit code, and what is printed."""
    out = io.StringIO()
    try:
        call_command("alertstreams", *arguments, stdout=out)
    except SystemExit as end:
        return int(str(end.code)), out.getvalue()
    return 0, out.getvalue()


@pytest.fixture(params=["rich", "plain"])
def _either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "plain":
        monkeypatch.setitem(sys.modules, "rich.console", None)


@pytest.mark.usefixtures("_either")
def test_well() -> None:
    run(lag=1234, rate=4.5, topics={"ztf_1": {"handler": "my.handler", "lag": 1234}})
    code, text = told()
    assert code == 0
    for word in ("ztf", "catching up", "1,234", "4.5", "waiting letters", "ztf_1 → my.handler, 1,234 behind"):
        assert word in text


@pytest.mark.usefixtures("_either")
def test_the_last_alert_of_a_listen_of_ones_own_is_not_known() -> None:
    run(group_id="", lag=0)
    _, text = told()
    assert "unknown" in text
    assert "never" not in text


@pytest.mark.usefixtures("_either")
def test_what_other_apps_say() -> None:
    run()
    with saying("3 messages \x1b[31mwait"):
        assert "    3 messages \\x1b[31mwait" in told()[1]


@pytest.mark.usefixtures("_either")
def test_not_well_says_why_and_what_to_do() -> None:
    run(state=State.FUSE, reason="100 failed: \x1b[31mKeyError [bold]", last_error="x")
    code, text = told()
    assert code == 1
    assert "stopped by its fuse" in text
    assert "100 failed: \\x1b[31mKeyError [bold]" in text  # no colours of a stranger, no markup
    assert "Mend the handler" in text


def test_without_a_stream(settings: Any) -> None:
    settings.ALERT_STREAMS = []
    assert told() == (1, "ALERT_STREAMS has no active stream.\n")


def test_json_is_what_monitors_get(client: Client) -> None:
    run(lag=5)
    code, text = told("--json")
    of_monitors = client.get("/alertstreams/health/").json()
    of_command = json.loads(text)
    assert code == 0
    assert of_command.pop("time") < of_monitors.pop("time")
    assert of_command == of_monitors


def test_json_without_a_database(monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> Any:
        raise db.OperationalError("could not connect: password=hunter2")

    monkeypatch.setattr(alertstreams, "stream_statuses", away)
    code, text = told("--json")
    assert (code, json.loads(text)["reason"]) == (1, "the database cannot be reached")
    assert "hunter2" not in text


@dataclass(frozen=True)
class Slate(Notifier):
    """Whoever reads it is told."""

    def tell(self, notice: Notice) -> None:
        """Keep nothing."""


def test_notify_says_which_notifier_is_left_out(settings: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run()
    settings.ALERT_STREAMS_ALARMS = {"NOTIFIERS": [f"{__name__}.Slate"]}
    assert told("--notify") == (0, "")
    assert capsys.readouterr().err == ""
    settings.ALERT_STREAMS_ALARMS["NOTIFIERS"].append("no.such.Notifier")
    assert told("--notify") == (1, "")
    assert "NOTIFIERS[1]: ModuleNotFoundError: No module named 'no'" in capsys.readouterr().err
