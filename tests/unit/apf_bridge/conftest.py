"""``apf`` is importable for these tests, and for no other."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from apf_bridge import shims


@pytest.fixture(autouse=True)
def apf(tmp_path: Path) -> Iterator[None]:
    """Steps write __SUCCESS__ into the folder that they run in; a settings.py is run as Python runs a script."""
    shims.install()
    before, path = Path.cwd(), list(sys.path)
    os.chdir(tmp_path)
    yield
    os.chdir(before)
    sys.path[:] = path
    sys.modules.pop("settings", None)
    shims.uninstall()
