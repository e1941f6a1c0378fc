"""``apf`` is importable for these tests, and for no other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from apf_bridge import shims


@pytest.fixture(autouse=True)
def apf(tmp_path: Path) -> Iterator[None]:
    """Steps write __SUCCESS__ into the folder that they run in."""
    shims.install()
    before = Path.cwd()
    os.chdir(tmp_path)
    yield
    os.chdir(before)
    shims.uninstall()
