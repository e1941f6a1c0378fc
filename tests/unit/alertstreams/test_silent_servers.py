"""Servers that have not answered lately."""

from __future__ import annotations

import pytest

from tom_alertstreams.alertstreams import silent_servers
from tom_alertstreams.alertstreams.silent_servers import SilentServers


def test_are_known_by_host_and_port() -> None:
    servers = SilentServers()
    servers.note("https://user:word@Store.org:8443/a")
    assert servers.patience_s("http://store.org:8443/b?c", 30.0) == 0
    assert servers.patience_s("https://store.org/a", 30.0) == 30
    servers.answers("https://store.org:8443/c")
    assert servers.patience_s("https://store.org:8443/a", 30.0) == 30


@pytest.mark.parametrize(("usual_s", "waits_s"), [(30.0, 1.0), (0.2, 0.2)])
def test_are_asked_again_after_a_while_with_less_patience(
    monkeypatch: pytest.MonkeyPatch, usual_s: float, waits_s: float
) -> None:
    monkeypatch.setattr(silent_servers, "_SILENT_S", 0.0)
    servers = SilentServers()
    servers.note("https://store.org/a")
    assert servers.patience_s("https://store.org/a", usual_s) == waits_s


def test_few_are_remembered_and_those_the_latest() -> None:
    """Whoever may send messages chooses the addresses."""
    servers = SilentServers()
    most = silent_servers._MOST
    for number in [*range(most), 0, most]:
        servers.note(f"https://{number}.org/a")
    known = [number for number in range(most + 1) if not servers.patience_s(f"https://{number}.org/a", 30.0)]
    assert known == [0, *range(2, most + 1)]
