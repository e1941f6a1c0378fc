"""A real browser: Chromium, told what to do through chromedriver by the WebDriver protocol, which is a few JSON requests."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import requests

#: The key of an element's id in WebDriver's JSON.
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
#: What WebDriver calls the keys that are no character.
KEYS = {"Tab": "\ue004", "Enter": "\ue007", "Space": " "}


class Browser:
    """Chromium without a window. It reaches this machine only, so that no test depends on servers of others."""

    def __init__(self) -> None:
        # Not where pytest keeps its files: the path of a socket has at most 107 characters.
        self._folder = tempfile.TemporaryDirectory(dir="/tmp", prefix="browser-", ignore_cleanup_errors=True)
        self._log = Path(self._folder.name, "chromedriver.log")
        self._process: subprocess.Popen[bytes] | None = None
        self._session = ""

    @staticmethod
    def missing() -> str | None:
        """Why there is no browser on this machine; None where there is."""
        return None if shutil.which("chromedriver") else "chromedriver is not installed (Debian: chromium-driver)"

    def __enter__(self) -> Browser:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["chromedriver", "--port=0"],
                env={**os.environ, "TMPDIR": self._folder.name},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            address = f"http://127.0.0.1:{self._port()}/session"
            self._session = f"{address}/{self._request(address, capabilities=self._capabilities())['sessionId']}"
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            requests.delete(self._session, timeout=20)
        finally:
            self._end()

    def open(self, url: str) -> None:
        """Open a page and wait until it is loaded."""
        self._request(f"{self._session}/url", url=url)

    def add_cookie(self, name: str, value: str) -> None:
        """Of the site that is open."""
        self._request(f"{self._session}/cookie", cookie={"name": name, "value": value})

    def run(self, script: str) -> Any:
        """What a piece of JavaScript returns. Fails while the page shows an ``alert()``."""
        return self._request(f"{self._session}/execute/sync", script=script, args=[])

    def click(self, css: str) -> None:
        """Click on the first element that the selector finds. It has to be there and in sight."""
        found = self._request(f"{self._session}/element", using="css selector", value=css)
        self._request(f"{self._session}/element/{found[_ELEMENT]}/click")

    def press(self, *keys: str) -> None:
        """Press keys one after the other, where the focus is. Names of special keys are those of KEYS."""
        presses = [{"type": kind, "value": KEYS.get(key, key)} for key in keys for kind in ("keyDown", "keyUp")]
        self._request(f"{self._session}/actions", actions=[{"type": "key", "id": "keyboard", "actions": presses}])

    def resize(self, width: int, height: int) -> None:
        """The part of the window that shows the page, in its pixels; also narrower than a window can be."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.command("Emulation.setDeviceMetricsOverride", **size)

    def picture(self) -> bytes:
        """What is in sight, as a PNG."""
        answer = requests.get(f"{self._session}/screenshot", timeout=60).json()["value"]
        return base64.b64decode(answer)

    @contextmanager
    def behind_another_tab(self) -> Iterator[None]:
        """Meanwhile the page is hidden, as its reader looks at another one."""
        own = requests.get(f"{self._session}/window", timeout=60).json()["value"]
        other = self._request(f"{self._session}/window/new", type="tab")["handle"]
        self._request(f"{self._session}/window", handle=other)
        try:
            yield
        finally:
            requests.delete(f"{self._session}/window", timeout=60)
            self._request(f"{self._session}/window", handle=own)

    def disconnect(self, away: bool) -> None:
        """No server can be reached any more, or again."""
        self.command("Network.enable")
        rates = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        self.command("Network.emulateNetworkConditions", offline=away, **rates)

    def command(self, name: str, **parameters: Any) -> Any:
        """A command of Chromium's own protocol."""
        return self._request(f"{self._session}/goog/cdp/execute", cmd=name, params=parameters)

    def _capabilities(self) -> dict[str, Any]:
        arguments = [
            "--headless=new",
            "--no-sandbox",  # it refuses root otherwise, and containers have nobody else
            "--disable-dev-shm-usage",  # small in containers
            "--window-size=1400,1000",
            "--force-prefers-reduced-motion",  # a page that still glides to its place cannot be clicked on
            f"--user-data-dir={self._folder.name}/profile",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
        ]
        options: dict[str, Any] = {"args": arguments}
        if program := shutil.which("chromium"):
            options["binary"] = program
        return {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}

    def _request(self, address: str, **body: Any) -> Any:
        answer = requests.post(address, json=body, timeout=60).json()["value"]
        assert not (isinstance(answer, dict) and "error" in answer), answer
        return answer

    def _port(self) -> str:
        deadline = time.monotonic() + 30
        while not (found := re.search(r"on port (\d+)\.", self._log.read_text(errors="replace"))):
            assert time.monotonic() < deadline, self._log.read_text(errors="replace")
            time.sleep(0.05)
        return found[1]

    def _end(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
        self._folder.cleanup()
