"""``apf`` is put in place only when asked, and hides nothing."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

import apf_bridge
from apf_bridge import shims

ROOT = Path(__file__).resolve().parents[3]

#: Imports all of compat and the runner; Django and the rest of this project cannot be imported.
WITHOUT_DJANGO = """
import importlib, pkgutil, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("django", "tom_alertstreams", "alerce_stream"):
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocked())
import apf_bridge.compat
for module in pkgutil.walk_packages(apf_bridge.compat.__path__, "apf_bridge.compat."):
    importlib.import_module(module.name)
for name in sys.argv[1:]:
    importlib.import_module(name)
apf_bridge.install()
from apf.core.step import GenericStep
assert "django" not in sys.modules
print(GenericStep.__module__)
"""


def python(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=cwd or ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
    )


def test_nothing_of_it_needs_django() -> None:
    done = python("-c", WITHOUT_DJANGO, "apf_bridge.run_step", "apf_bridge.step_from_settings", "apf_bridge.runner")
    assert (done.stdout.strip(), done.returncode) == ("apf_bridge.compat.core.step", 0), done.stderr


def test_not_in_place_until_asked() -> None:
    done = python("-c", "import apf_bridge, apf_bridge.compat.core.step\nimport apf")
    assert "No module named 'apf'" in done.stderr


def test_a_module_has_two_names_and_is_one() -> None:
    apf_bridge.install()
    for name in (
        "core.step",
        "core",
        "consumers.generic",
        "producers.generic",
        "metrics.prometheus",
        "metrics.pyroscope",
    ):
        assert importlib.import_module(f"apf.{name}") is importlib.import_module(f"apf_bridge.compat.{name}")
    with mock.patch("apf.core.step.get_class", return_value="patched"):
        assert importlib.import_module("apf_bridge.compat.core.step").get_class() == "patched"


def test_twice_is_once() -> None:
    apf_bridge.install()
    apf_bridge.install()
    assert sum(isinstance(finder, shims.ApfFinder) for finder in sys.meta_path) == 1


def test_what_apf_does_not_have() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"apf\.databases"):
        importlib.import_module("apf.databases")


@pytest.mark.parametrize("with_init", [True, False])  # released APF has none
def test_an_installed_apf_is_not_hidden(tmp_path: Path, with_init: bool) -> None:
    (tmp_path / "apf" / "core").mkdir(parents=True)
    if with_init:
        (tmp_path / "apf" / "__init__.py").touch()
    done = python("-c", "import apf_bridge; apf_bridge.install()", cwd=tmp_path)
    assert "ApfInstalledError: There is another apf at" in done.stderr
    assert str(tmp_path / "apf") in done.stderr
