"""A token endpoint of OpenID Connect, for clients that log in with OAUTHBEARER."""

from __future__ import annotations

import base64
import json
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote


@dataclass(frozen=True)
class TokenRequest:
    """What a client sent."""

    path: str
    grant_type: str
    client_id: str
    client_secret: str
    scope: str


class TokenEndpoint:
    """Hands an unsecured JWT (``alg`` none) to whoever asks with the client secret, and writes down who asked.

    RealKafka's OAUTHBEARER listener takes these tokens.
    """

    def __init__(self, client_secret: str = "secret", lifetime_s: int = 3600) -> None:
        self.client_secret = client_secret
        self.lifetime_s = lifetime_s
        self.requests: list[TokenRequest] = []
        #: HTTP statuses to answer the next requests with, instead of a token.
        self.failures: list[int] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="token-endpoint")
        self._thread.start()

    @property
    def url(self) -> str:
        """The address for ``sasl.oauthbearer.token.endpoint.url``."""
        return f"http://127.0.0.1:{self._server.server_port}/token"

    def client_config(self, client_id: str = "client", scope: str = "") -> dict[str, Any]:
        """Librdkafka's keys to log in with a token from here."""
        config = {
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "OAUTHBEARER",
            "sasl.oauthbearer.method": "oidc",
            "sasl.oauthbearer.client.id": client_id,
            "sasl.oauthbearer.client.secret": self.client_secret,
            "sasl.oauthbearer.token.endpoint.url": self.url,
        }
        if scope:
            config["sasl.oauthbearer.scope"] = scope
        return config

    def token(self, client_id: str) -> str:
        """An unsecured JWT with the claims that Kafka asks for."""
        now = int(time.time())
        claims = {"sub": client_id, "iat": now, "exp": now + self.lifetime_s}
        return f"{_base64({'alg': 'none'})}.{_base64(claims)}."

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> TokenEndpoint:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _base64(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def _handler(endpoint: TokenEndpoint) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = parse_qs(self.rfile.read(int(self.headers.get("Content-Length", 0))).decode())
            form = {name: values[0] for name, values in body.items()}
            # A client may put its name and secret into the header (as librdkafka does) or into the form.
            scheme, _, credentials = self.headers.get("Authorization", "").partition(" ")
            if scheme.lower() == "basic":
                name, _, secret = base64.b64decode(credentials).decode().partition(":")
                form["client_id"], form["client_secret"] = unquote(name), unquote(secret)
            request = TokenRequest(
                self.path, *(form.get(name, "") for name in ("grant_type", "client_id", "client_secret", "scope"))
            )
            endpoint.requests.append(request)
            if endpoint.failures:
                self.answer(endpoint.failures.pop(0), {"error": "server_error"})
            elif request.grant_type != "client_credentials":
                self.answer(400, {"error": "unsupported_grant_type"})
            elif request.client_secret != endpoint.client_secret:
                self.answer(401, {"error": "invalid_client"})
            else:
                token = endpoint.token(request.client_id)
                self.answer(200, {"access_token": token, "token_type": "Bearer", "expires_in": endpoint.lifetime_s})

        def answer(self, status: int, content: dict[str, Any]) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing: the requests are kept."""

    return Handler
