"""A stand-in for ALeRCE's web API."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from alerce_stream.resolver import Position, forget_positions

from .stub_light_curves import light_curve

if TYPE_CHECKING:
    from typing_extensions import Self


_JSON: Final = {"Content-Type": "application/json"}
_OBJECTS: Final = re.compile(r".*/objects/?")
_LIGHT_CURVE: Final = re.compile(r"/ztf/v1/objects/([^/]+)/lightcurve")
_FORCED: Final = re.compile(r"/v2/lightcurve/forced-photometry/([^/]+)")


class StubApi:
    """ALeRCE's list of objects and their light curves on a free port of 127.0.0.1, in the shape of the real one.

    It runs in its own thread.
    """

    def __init__(self, positions: Mapping[str, Position] | None = None) -> None:
        #: What it knows; may be changed at any time.
        self.positions = dict(positions or {})
        #: Object → its light curve as the API has it; the others of :attr:`positions` have a simulated one.
        self.light_curves: dict[str, dict[str, Any]] = {}
        #: Object → its forced photometry; likewise.
        self.forced_photometry: dict[str, list[dict[str, Any]]] = {}
        #: The ids of every request for positions that it was sent, failed ones included.
        self.requests: list[list[str]] = []
        #: The objects of every request for a light curve, failed ones included.
        self.light_curve_requests: list[str] = []
        #: Pages hold no more objects than this, whatever is asked for.
        self.page_size = 100
        self._failure: tuple[int, bytes, dict[str, str]] | None = None
        #: How many connections were made to it.
        self.connections = 0
        self._open: set[socket.socket] = set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _request_handler(self._answer, self._opened, self._closed))
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name="alertstream-stub-api", daemon=True
        )
        self._thread.start()
        forget_positions()  # its port may have been another one's

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
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _opened(self, connection: socket.socket) -> None:
        self.connections += 1
        self._open.add(connection)

    def _closed(self, connection: socket.socket) -> None:
        self._open.discard(connection)

    def _answer(self, address: str) -> tuple[int, bytes, dict[str, str]]:
        path, query = unquote(urlsplit(address).path), parse_qs(urlsplit(address).query)
        curve, forced = _LIGHT_CURVE.fullmatch(path), _FORCED.fullmatch(path)
        if curve:
            self.light_curve_requests.append(curve[1])
        elif not forced:
            self.requests.append(query.get("oid", []))
        if self._failure is not None:
            return self._failure
        if curve and curve[1] in self.positions:
            content: Any = self.light_curves.get(curve[1]) or light_curve(curve[1])[0]
        elif forced and forced[1] in self.positions:
            rows = self.forced_photometry.get(forced[1])
            content = light_curve(forced[1])[1] if rows is None else rows
        elif _OBJECTS.fullmatch(path):
            content = self._objects(query)
        else:
            return 404, b'{"errors": {}, "code": "404", "message": "Not Found"}', dict(_JSON)
        return 200, json.dumps(content).encode(), dict(_JSON)

    def _objects(self, query: Mapping[str, list[str]]) -> dict[str, Any]:
        size = min(self.page_size, int(query.get("page_size", ["10"])[0]))
        page = int(query.get("page", ["1"])[0])
        known = [name for name in query.get("oid", []) if name in self.positions]
        shown, more = known[(page - 1) * size : page * size], len(known) > page * size
        return {
            "total": None,
            "page": page,
            "next": page + 1 if more else None,
            "has_next": more,
            "prev": page - 1 if page > 1 else None,
            "has_prev": page > 1,
            "items": [self._item(name) for name in shown],
        }

    def _item(self, name: str) -> dict[str, Any]:
        ra, dec, first_mjd = self.positions[name]
        return {
            "oid": name, "ndet": 5, "firstmjd": first_mjd, "lastmjd": 61365.3, "deltamjd": 1.0, "meanra": ra, "meandec": dec,
            "sigmara": 2e-5, "sigmadec": 2e-5, "stellar": False, "corrected": True, "class": None, "classifier": None,
            "probability": None, "step_id_corr": "stub",
        }  # fmt: skip


def _request_handler(
    answer: Callable[[str], tuple[int, bytes, dict[str, str]]],
    opened: Callable[[socket.socket], None],
    closed: Callable[[socket.socket], None],
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # connections stay open, as the real API's do
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            opened(self.connection)

        def finish(self) -> None:
            with suppress(OSError):
                super().finish()
            closed(self.connection)

        def do_GET(self) -> None:
            status, body, headers = answer(self.path)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            if int(headers.get("Content-Length", len(body))) != len(body):
                self.close_connection = True  # a partial answer

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing on the terminal."""

    return Handler
