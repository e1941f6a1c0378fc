"""What ``checkstreams`` tells of a stream's last run."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import redirect_stderr
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import override_settings
from django.utils import timezone

from apf_bridge import shims
from tests.streams import entry
from tom_alertstreams.models import StreamRun

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def settings_of_today() -> Iterator[None]:
    with override_settings(ALERT_STREAMS=[entry("127.0.0.1:1", "group", {"ztf_*": "one"}, label="ztf")]):
        yield


def ran(state: str, *, ago_s: float = 0, ended: bool = False, reason: str = "") -> None:
    time = timezone.now() - timedelta(seconds=ago_s)
    StreamRun.objects.create(
        stream="ztf", state=state, started=time, heartbeat=time, ended=time if ended else None, reason=reason,
        host="tomhost", pid=1, version="", settings_fingerprint="",
    )  # fmt: skip


def check(*arguments: str) -> tuple[str, str, int]:
    """What it prints, its errors, and its exit code."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with redirect_stderr(err):
        try:
            call_command("checkstreams", "--no-login", *arguments, stdout=out, stderr=err)
        except SystemExit as exit_:
            code = int(exit_.code or 0)
    return out.getvalue(), err.getvalue(), code


def test_it_has_never_run() -> None:
    text, errors, code = check()
    assert "last run" not in text
    assert (errors, code) == ("", 0)


@pytest.mark.parametrize("state", ["fuse", "taken", "gap"])
def test_it_has_stopped_until_somebody_acts(state: str) -> None:
    ran("running", ago_s=7200, ended=True)
    ran(state, ago_s=3600, ended=True, reason="3 alerts in a row failed")
    text, errors, code = check()
    assert f"last run: {StreamRun.State(state).label}" in text
    assert "on tomhost since 20" in text
    assert "ztf: it has stopped: 3 alerts in a row failed" in errors
    assert code == 1
    report: Any = json.loads(check("--json")[0])["streams"][0]["last_run"]
    assert (report["state"], report["needs_you"]) == (state, True)


@pytest.mark.parametrize(
    ("run", "words"),
    [
        ({"state": "running"}, "running"),
        ({"state": "running", "ago_s": 600}, "no heartbeat"),
        ({"state": "stopped", "ago_s": 600, "ended": True}, "stopped"),
        ({"state": "down", "ended": True}, "down"),
    ],
)
def test_the_newest_run_counts(run: dict[str, Any], words: str) -> None:
    ran("fuse", ago_s=7200, ended=True)
    ran(**run)
    text, errors, code = check()
    assert f"last run: {words}, on tomhost" in text
    assert (errors, code) == ("", 0)


def test_what_becomes_of_the_keys_of_a_step_is_shown_once() -> None:
    reading = {
        "PARAMS": {"bootstrap.servers": "x:9", "group.id": "g"},
        "TOPICS": ["a", "b"],
        "NUM_MESSAGES": 900,
        "NUM": 1,
    }
    options = {"STEP": "tests.steps.steps.NoOp", "STEP_CONFIG": {"CONSUMER_CONFIG": reading, "COMIT": 1}}
    step = {"NAME": "apf_bridge.streams.StepAlertStream", "LABEL": "step", "OPTIONS": options}
    try:
        with override_settings(ALERT_STREAMS=[step]):
            text, errors, code = check()
    finally:
        shims.uninstall()
    assert (errors, code) == ("", 0)
    assert text.count("STEP_CONFIG unknown: COMIT (is COMMIT meant?), CONSUMER_CONFIG['NUM'] (read by nobody)") == 1
    assert "CONSUMER_CONFIG['NUM_MESSAGES'] (messages of one call, of a batch of BATCH_SIZE alerts at most)" in text


def test_a_module_that_exits_as_it_is_imported_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "exiting_stream.py").write_text("import sys\nsys.exit('no licence')\n")
    monkeypatch.syspath_prepend(tmp_path)
    sound = entry("127.0.0.1:1", "group", {"ztf_*": "one"}, label="ztf")
    with override_settings(ALERT_STREAMS=[{"NAME": "exiting_stream.Stream", "LABEL": "bad", "OPTIONS": {}}, sound]):
        text, errors, code = check()
    assert "ztf" in text
    assert "bad: SystemExit: no licence" in errors
    assert code == 1
