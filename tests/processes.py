"""Runs ``manage.py`` commands of the test TOM as processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.secret import PASSWORD

#: Name of our own sessions in a database that is looked into.
OBSERVER = "observer"
ROOT = Path(__file__).resolve().parent.parent


class Process(subprocess.Popen[bytes]):
    """A command of Django's command line. It prints into a file: a pipe that nobody reads would hold it up at 64 kB."""

    def __init__(self, arguments: Sequence[str], environment: dict[str, str], log: Path) -> None:
        #: What it has printed so far, errors included.
        self.log = log
        command = [sys.executable, "-m", "django", *arguments]
        with log.open("wb") as file:
            super().__init__(command, env=environment, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)


class Tom:
    """A TOM with a database of its own, used only through processes."""

    def __init__(self, folder: Path, database_url: str | None = None, settings: str = "tests.settings_core") -> None:
        """
        :param database_url: a PostgreSQL database; SQLite in the folder where there is none.
        :param settings: with ``tests.settings`` it is a real TOM, which takes seconds to start.
        """
        self.folder = folder
        self.streams: list[dict[str, Any]] = []
        self.defaults: dict[str, Any] = {}
        self.alarms: dict[str, Any] | None = None
        self._database_url = database_url
        self._settings = settings
        self._started = 0

    def environment(self) -> dict[str, str]:
        """What the processes are started with."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TEST_DATABASE")}
        environment |= {
            "DJANGO_SETTINGS_MODULE": self._settings,
            "PYTHONPATH": str(ROOT),
            "EXAMPLE_TOM_RUN_DIR": str(self.folder),
            "TEST_ALERT_STREAMS": json.dumps(self.streams),
            "TEST_ALERT_STREAMS_DEFAULTS": json.dumps(self.defaults),
            "TEST_ALERT_STREAMS_ALARMS": json.dumps(self.alarms),
            "TEST_GATE": str(self.folder),
        }
        if self._database_url:
            environment["TEST_DATABASE_URL"] = self._database_url
        return environment

    def start(self, *arguments: str) -> Process:
        """Start a command, with a log of its own in the folder."""
        self._started += 1
        return Process(arguments, self.environment(), self.folder / f"{arguments[0]}-{self._started}.log")

    def run(self, *arguments: str, timeout_s: float = 100) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        with running(self, *arguments) as process:
            text = output(process, timeout_s)
        return subprocess.CompletedProcess(process.args, process.returncode, text)

    def migrate(self) -> None:
        """Make the tables."""
        done = self.run("migrate", "--run-syncdb", "--verbosity", "0")
        assert done.returncode == 0, done.stdout

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Look into the database, from outside of Django."""
        if self._database_url:
            import psycopg

            with psycopg.connect(self._database_url, application_name=OBSERVER) as connection:
                return connection.execute(sql, parameters).fetchall()  # type: ignore[arg-type]
        import sqlite3
        from contextlib import closing

        with closing(sqlite3.connect(self.folder / "tom.sqlite3", timeout=20)) as connection:
            return connection.execute(sql.replace("%s", "?"), parameters).fetchall()

    def effects(self) -> list[tuple[str, int, int]]:
        """Topic, partition, offset of each effect."""
        return self.query('SELECT topic, "partition", "offset" FROM effects_effect ORDER BY 1, 2, 3')  # type: ignore[return-value]


@contextmanager
def running(tom: Tom, *arguments: str) -> Iterator[Process]:
    """A command that is killed at the end if it still runs."""
    process = tom.start(*arguments)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
    assert PASSWORD not in process.log.read_text(errors="replace")


def wait_until(condition: Callable[[], Any], what: str, timeout_s: float = 40) -> Any:
    """The first true value of a condition.

    :raises AssertionError: it did not come true in time.
    """
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {timeout_s} s for {what}"
        time.sleep(0.02)
    return value


def output(process: Process, timeout_s: float = 40) -> str:
    """Wait for the end of a process and return what it printed."""
    process.wait(timeout_s)
    return process.log.read_text()
