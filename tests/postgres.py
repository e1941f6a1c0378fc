"""A private PostgreSQL server: started in seconds, on a free port, in a directory that goes with it."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import psycopg

from tests.brokers.real import free_ports

#: Not the one that pytest sets for each run: that is closed to the user whom the server runs as when we are root.
_TEMPORARY = tempfile.gettempdir()


class PostgresServer:
    """PostgreSQL on 127.0.0.1, user and database ``tom``, without a password and without any care for its data."""

    def __init__(self) -> None:
        self._folder = _programs()
        self._process: subprocess.Popen[bytes] | None = None
        self._home: Path | None = None
        self._port = free_ports(1)[0]

    @staticmethod
    def missing() -> str:
        """Why PostgreSQL cannot be run here; empty where it can."""
        if _programs() is None:
            return "PostgreSQL's server programs are not installed (Debian: postgresql)"
        if os.geteuid() == 0 and _unprivileged() is None:
            return "PostgreSQL does not run as root, and there is no user postgres or nobody"
        return ""

    @property
    def pid(self) -> int | None:
        """The server's process, while it runs."""
        return self._process.pid if self._process else None

    def url(self, database: str = "tom") -> str:
        """The address of one of its databases, for TEST_DATABASE_URL; Django's tests make theirs beside it."""
        return f"postgresql://tom@127.0.0.1:{self._port}/{database}"

    def start(self, timeout_s: float = 60) -> None:
        """Start it, after :meth:`shut_down` with the data of the last time.

        :raises RuntimeError: it did not start; its log is in the message.
        """
        if self._folder is None:
            raise RuntimeError(self.missing())
        if self._process is not None:
            raise RuntimeError("PostgreSQL is running already")
        user = _unprivileged() if os.geteuid() == 0 else None
        identity: dict[str, Any] = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
        try:
            if self._home is None:
                self._home = Path(tempfile.mkdtemp(prefix="tom-alertstreams-postgres-", dir=_TEMPORARY))
                if user:
                    os.chown(self._home, user.pw_uid, user.pw_gid)
                self._initialise(identity)
            self._launch(identity, time.monotonic() + timeout_s)
        except BaseException:
            self.stop()
            raise

    def _environment(self) -> dict[str, str]:
        return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "HOME": str(self._home)}

    def _initialise(self, identity: dict[str, Any]) -> None:
        assert self._home
        assert self._folder
        data = str(self._home / "data")
        initdb = [str(self._folder / "initdb"), "-D", data, "-U", "tom", "-A", "trust", "-E", "UTF8", "-N"]
        done = subprocess.run(
            [*initdb, "--locale=C"], cwd=self._home, env=self._environment(), capture_output=True, text=True, **identity
        )
        if done.returncode:
            raise RuntimeError(f"initdb failed:\n{done.stdout}{done.stderr}")

    def _launch(self, identity: dict[str, Any], deadline: float) -> None:
        assert self._home
        assert self._folder
        data, log = self._home / "data", self._home / "log"
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",
            "full_page_writes": "off",
            "shared_buffers": "64MB",
        }
        command = [str(self._folder / "postgres"), "-D", str(data), "-p", str(self._port)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with log.open("ab") as file:
            # A session of its own: Ctrl-C on the terminal is for the tests, not for the server under them.
            process = self._process = subprocess.Popen(
                command,
                cwd=self._home,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
                **identity,
            )
        while True:
            try:
                with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
                    if not connection.execute("SELECT FROM pg_database WHERE datname = 'tom'").fetchall():
                        connection.execute("CREATE DATABASE tom")
            except psycopg.OperationalError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text()[-4000:]}") from None
                time.sleep(0.05)
            else:
                return

    def shut_down(self, how: signal.Signals = signal.SIGINT) -> None:
        """End the server and keep its data; nothing happens where it does not run.

        :param how: SIGINT is its mode "fast", which does not wait for the clients, SIGQUIT is "immediate", as by a crash.
        """
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGQUIT)
                process.wait()

    def stop(self) -> None:
        """End the server and delete its directory. May be called twice."""
        self.shut_down()
        home, self._home = self._home, None
        if home is not None:
            shutil.rmtree(home, ignore_errors=True)

    def __enter__(self) -> PostgresServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _programs() -> Path | None:
    """Where ``initdb`` and ``postgres`` are. Debian keeps them out of the PATH, a directory for each version."""

    def version(folder: Path) -> float:
        found = re.search(r"/(\d+(?:\.\d+)?)/bin$", str(folder))
        return float(found[1]) if found else 0

    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=version, reverse=True)
    if server := shutil.which("postgres"):
        folders.insert(0, Path(server).resolve().parent)
    return next((f for f in folders if (f / "initdb").exists() and (f / "postgres").exists()), None)


def _unprivileged() -> pwd.struct_passwd | None:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    return None
