"""SQLite has one writer: what a slow handler in ``readstreams`` means for a web site on the same database."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.brokers import ScriptedBroker
from tests.effects import handlers
from tests.processes import ROOT, Tom, output, running, wait_until
from tests.streams import entry

#: How long the handler works at an alert; over 2 s, so that it is warned about.
WORK_S = 2.2
#: A process of the web site: logs somebody in, which writes sessions and users, when there is a file ``log-in``.
LOGIN = """
import sys, time
from pathlib import Path
import django
django.setup()
from django.contrib.auth.models import User
from django.test import Client
folder = Path(sys.argv[1])
client = Client()
astronomer = User.objects.get(username="astronomer")
(folder / "web-is-ready").touch()
while not (folder / "log-in").exists():
    time.sleep(0.005)
began = time.monotonic()
client.force_login(astronomer)
lasted = time.monotonic() - began
(folder / "logging-in").write_text(str(lasted))
(folder / "logging-in").rename(folder / "logged-in")
"""


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with one user, to copy: making its tables takes seconds."""
    tom = Tom(tmp_path_factory.mktemp("migrated"), settings="tests.acceptance.web_settings")
    tom.migrate()
    create = "from django.contrib.auth.models import User; User.objects.create_user('astronomer')"
    done = tom.run("shell", "-c", create)
    assert done.returncode == 0, done.stdout
    return tom.folder / "tom.sqlite3"


@pytest.fixture
def tom(migrated: Path, tmp_path: Path) -> Tom:
    (tmp_path / "tom.sqlite3").write_bytes(migrated.read_bytes())
    return Tom(tmp_path, settings="tests.acceptance.web_settings")


@contextmanager
def web(tom: Tom) -> Iterator[None]:
    """The web site, about to log somebody in."""
    command = [sys.executable, "-c", LOGIN, str(tom.folder)]
    process = subprocess.Popen(command, env=tom.environment(), cwd=ROOT)
    try:
        yield
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


def log_in(tom: Tom) -> None:
    (tom.folder / "log-in").touch()


def logged_in(tom: Tom) -> float:
    """Wait for the end of the login. Returns how long it took, in seconds."""
    wait_until((tom.folder / "logged-in").exists, "the login")
    return float((tom.folder / "logged-in").read_text())


def wait_for(tom: Tom, name: str) -> None:
    wait_until((tom.folder / name).exists, name)


def test_a_login_waits_for_about_one_alert(tom: Tom, broker: ScriptedBroker, topic: str, group_id: str) -> None:
    broker.create_topic(topic)
    for _ in range(8):
        broker.produce(topic, handlers.content(work_s=WORK_S))
    broker.flush()
    tom.streams = [entry(broker.bootstrap_servers, group_id, {topic: "hard_working"})]
    with web(tom), running(tom, "readstreams") as process:
        wait_for(tom, "web-is-ready")
        wait_for(tom, "at-work-1")
        before = len(tom.effects())
        log_in(tom)
        lasted = logged_in(tom)
        after = len(tom.effects())
        process.send_signal(signal.SIGTERM)
        text = output(process)
    assert process.returncode == 0, text
    assert before == 1
    assert 1 <= after - before <= 2  # it did wait
    assert lasted < 3 * WORK_S
    warnings = [line for line in text.splitlines() if "held SQLite's writer lock" in line]
    assert after >= 2
    assert len(warnings) == 1, text  # though each of them took as long
    assert '"ATOMIC": False' in warnings[0]
    assert "tests.effects.handlers.hard_working" in warnings[0]


def test_without_our_transaction_a_login_waits_for_nobody(
    tom: Tom, broker: ScriptedBroker, topic: str, group_id: str
) -> None:
    broker.create_topic(topic)
    broker.produce(topic, handlers.content(slow=True))
    broker.flush()
    topic_entry = {"HANDLER": "tests.effects.handlers.gated", "ATOMIC": False}
    tom.streams = [entry(broker.bootstrap_servers, group_id, {topic: topic_entry})]
    with web(tom), running(tom, "readstreams") as process:
        wait_for(tom, "web-is-ready")
        wait_for(tom, "at-work")
        assert len(tom.effects()) == 1  # written, and the handler is still at it
        log_in(tom)
        assert logged_in(tom) < WORK_S
        assert process.poll() is None
        (tom.folder / "go-on").touch()
        wait_until(
            lambda: tom.query("SELECT next_offset FROM tom_alertstreams_streampartition") == [(1,)], "the offset"
        )
        process.send_signal(signal.SIGTERM)
        text = output(process)
    assert process.returncode == 0, text
    assert len(tom.effects()) == 1
    assert "held SQLite's writer lock" not in text
