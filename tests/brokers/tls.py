"""TLS in front of a broker that speaks none, with a certificate that nobody knows."""

from __future__ import annotations

import contextlib
import select
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Certificate:
    """Of 127.0.0.1, signed by itself."""

    private: Path
    public: Path

    @classmethod
    def made_in(cls, folder: Path) -> Certificate:
        """A new one; the test is skipped where openssl is missing."""
        if shutil.which("openssl") is None:
            pytest.skip("openssl is not installed, which makes the certificate")
        made = cls(folder / "private.pem", folder / "public.pem")
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command += ["-subj", "/CN=127.0.0.1", "-keyout", str(made.private), "-out", str(made.public)]
        subprocess.run(command, check=True, capture_output=True)
        return made

    def server_context(self) -> ssl.SSLContext:
        """For a server that shows it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.public, self.private)
        return context


@contextlib.contextmanager
def tls_in_front_of(address: str, certificate: Certificate) -> Iterator[str]:
    """A port that speaks TLS, and hands what it hears on to another one.

    Where the broker tells its own address, which speaks no TLS, the client hears this one.
    """
    context = certificate.server_context()
    host, _, port = address.partition(":")
    with socket.create_server(("127.0.0.1", 0)) as server:
        told, ours = ((host.encode() + number.to_bytes(4, "big")) for number in (int(port), server.getsockname()[1]))
        hand_on = partial(_hand_on, context=context, address=(host, int(port)), told=told, ours=ours)
        thread = threading.Thread(target=_accept, args=(server, hand_on), daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def _accept(server: socket.socket, hand_on: Callable[[socket.socket], None]) -> None:
    with contextlib.suppress(OSError):  # the test is over
        while True:
            connection, _ = server.accept()
            threading.Thread(target=hand_on, args=(connection,), daemon=True).start()


def _hand_on(
    connection: socket.socket, context: ssl.SSLContext, address: tuple[str, int], told: bytes, ours: bytes
) -> None:
    with (
        contextlib.suppress(OSError),
        connection,
        socket.create_connection(address) as broker,
        context.wrap_socket(connection, server_side=True) as client,
    ):
        while ready := [client] if client.pending() else select.select([client, broker], [], [], 5)[0]:
            for source, sink in ((client, broker), (broker, client)):
                if source in ready:
                    data = source.recv(65536)
                    if not data:
                        return
                    sink.sendall(data.replace(told, ours))
