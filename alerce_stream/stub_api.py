"""A stand-in for ALeRCE's web API; use it from :mod:`alerce_stream.testing`."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from .resolver import Position

if TYPE_CHECKING:
    from typing_extensions import Self


class StubApi:
    """ALeRCE's list of objects on a free port of 127.0.0.1, in the shape of the real one; in its own thread."""

    def __init__(self, positions: Mapping[str, Position] | None = None) -> None:
        #: What it knows; may be changed at any time.
        self.positions = dict(positions or {})
        #: The ids of every request it was sent, failed ones included.
        self.requests: list[list[str]] = []
        #: Pages hold no more objects than this, whatever is asked for.
        self.page_size = 100
        self._failure: tuple[int, bytes, dict[str, str]] | None = None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _request_handler(self._answer))
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name="alertstream-stub-api", daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """For API_URL."""
        return f"http://127.0.0.1:{self._server.server_port}/ztf/v1"

    def fail(self, status: int = 503, body: bytes = b"", **headers: str) -> None:
        """Answer everything with this until :meth:`recover`; ``Retry_After="60"`` sets the header Retry-After."""
        self._failure = (status, body, {name.replace("_", "-"): value for name, value in headers.items()})

    def recover(self) -> None:
        """End :meth:`fail`."""
        self._failure = None

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _answer(self, address: str) -> tuple[int, bytes, dict[str, str]]:
        query = parse_qs(urlsplit(address).query)
        names = query.get("oid", [])
        self.requests.append(names)
        if self._failure is not None:
            return self._failure
        if not urlsplit(address).path.rstrip("/").endswith("/objects"):
            return 404, b'{"errors": {}, "code": "404", "message": "Not Found"}', {"Content-Type": "application/json"}
        size = min(self.page_size, int(query.get("page_size", ["10"])[0]))
        page = int(query.get("page", ["1"])[0])
        known = [name for name in names if name in self.positions]
        shown, more = known[(page - 1) * size : page * size], len(known) > page * size
        content = {
            "total": None,
            "page": page,
            "next": page + 1 if more else None,
            "has_next": more,
            "prev": page - 1 if page > 1 else None,
            "has_prev": page > 1,
            "items": [self._item(name) for name in shown],
        }
        return 200, json.dumps(content).encode(), {"Content-Type": "application/json"}

    def _item(self, name: str) -> dict[str, Any]:
        ra, dec, first_mjd = self.positions[name]
        return {
            "oid": name, "ndet": 5, "firstmjd": first_mjd, "lastmjd": 61365.3, "deltamjd": 1.0, "meanra": ra, "meandec": dec,
            "sigmara": 2e-5, "sigmadec": 2e-5, "stellar": False, "corrected": True, "class": None, "classifier": None,
            "probability": None, "step_id_corr": "stub",
        }  # fmt: skip


def _request_handler(answer: Callable[[str], tuple[int, bytes, dict[str, str]]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body, headers = answer(self.path)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing on the terminal."""

    return Handler
