"""Servers that alarms are told to: they keep what they were sent, or hang."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Any


class Listener:
    """A server on this machine while the ``with`` block runs."""

    def __init__(self, handler: type[socketserver.BaseRequestHandler]) -> None:
        self.heard: list[Any] = []
        #: Cleared, it takes what is sent and does not answer.
        self.answers = threading.Event()
        self.answers.set()
        #: Somebody waits for an answer.
        self.asked = threading.Event()
        #: What it answers: a status of HTTP, a code of SMTP.
        self.code = 0
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._server.listener = self  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> Any:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.answers.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def take(self, what: Any) -> None:
        """Keep it, and hang where that is wanted."""
        self.asked.set()
        self.answers.wait(30)
        self.heard.append(what)


class WebListener(Listener):
    """Takes JSON by POST."""

    def __init__(self) -> None:
        super().__init__(_Post)
        self.code = 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/services/T0000/very-secret-hook"


class _Post(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        listener: WebListener = self.server.listener  # type: ignore[attr-defined]
        listener.take(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(listener.code)
        if 300 <= listener.code < 400:
            self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_args: Any) -> None:
        pass


class MailListener(Listener):
    """Takes mails by SMTP."""

    def __init__(self) -> None:
        super().__init__(_Smtp)
        self.code = 250


class _Smtp(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        listener: MailListener = self.server.listener  # type: ignore[attr-defined]
        answer: Callable[[str], Any] = lambda line: self.wfile.write(f"{line}\r\n".encode())  # noqa: E731
        answer("220 tests")
        while line := self.rfile.readline().strip().upper():
            if line.startswith(b"DATA"):
                answer("354 go on")
                lines = []
                while (text := self.rfile.readline()) not in (b".\r\n", b""):
                    lines.append(text.decode())
                listener.take("".join(lines))
                answer(f"{listener.code} well")
            else:
                answer("221 bye" if line.startswith(b"QUIT") else "250 well")
