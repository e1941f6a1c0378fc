"""A progress bar where somebody watches."""

from __future__ import annotations

import io
import sys

import pytest

from tom_alertstreams.management.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress_bar("Replaying") as show:
        show(0, 0)
        show(1500, 3000)
        show(3000, 3000)
    lines = sys.stderr.getvalue().split("\r")  # type: ignore[attr-defined]
    assert lines[2:] == [f"Replaying [{'#' * 15}{'.' * 15}] 1,500 of 3,000", f"Replaying [{'#' * 30}] 3,000 of 3,000\n"]


def test_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress_bar("Replaying") as show:
        show(1, 2)
    assert sys.stderr.getvalue() == ""  # type: ignore[attr-defined]
