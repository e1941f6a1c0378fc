"""``startalerthandler``: what it writes works as it is, and nothing is overwritten."""

from __future__ import annotations

import ast
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from tests.processes import ROOT
from tom_alertstreams.alertstreams.alertstream import make_stream
from tom_alertstreams.conf import read_streams
from tom_alertstreams.management.new_handler import STYLES


def start(name: str, *arguments: str) -> str:
    out = io.StringIO()
    call_command("startalerthandler", name, *arguments, stdout=out, no_color=True)
    return out.getvalue()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a manage.py, with an app in it."""
    (tmp_path / "mytom").mkdir()
    (tmp_path / "mytom" / "__init__.py").touch()
    for name in [name for name in sys.modules if name.partition(".")[0] == "mytom"]:  # of the test before
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_their_tests_pass(project: Path) -> None:
    """In a process of its own, with pytest, and with Django's runner where that need not make a TOM's tables."""
    for style in STYLES:
        start(f"beginning_{style}", "--style", style, "--directory", "mytom")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("TEST_DATABASE")},
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "PYTHONPATH": f"{project}:{ROOT}:{ROOT / 'example_tom'}",
        "EXAMPLE_TOM_RUN_DIR": str(project),
    }
    modules = [f"mytom/test_beginning_{style}.py" for style in STYLES]
    pytest_ = [sys.executable, "-m", "pytest", "-q", "--no-migrations", "-p", "no:cacheprovider", *modules]
    django = [sys.executable, "-m", "django", "test", "mytom.test_beginning_v1"]
    for command, said in ((pytest_, rf"[{len(STYLES)}-9] passed"), (django, r"Ran [1-9] tests? in")):
        done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stdout + done.stderr
        assert re.search(said, done.stdout + done.stderr)


@pytest.mark.django_db
@pytest.mark.parametrize("style", STYLES)
def test_the_entry_that_it_prints_is_a_stream(project: Path, style: str) -> None:
    said = start(f"entry_{style}", "--style", style, "--directory", "mytom")
    entry = re.search(r"^    \{\n.*?^    \},?\n", said, re.MULTILINE | re.DOTALL)
    assert entry, said
    (settings,), findings = read_streams(ast.literal_eval(f"[{entry[0]}]"))
    assert not findings
    made: Any = make_stream(settings)
    (binding,) = made.bindings.values()
    assert binding.handler.path == f"mytom.entry_{style}.{STYLES[style].function}"
    assert binding.handler.marked == (style != "v1")
    assert settings.label == f"entry_{style}"
    for command in (f"manage.py test mytom.test_entry_{style} ", "manage.py checkstreams", f"--stream entry_{style} "):
        assert command in said


def test_nothing_is_overwritten(project: Path) -> None:
    for taken in ("first.py", "test_first.py"):
        (project / taken).write_text("# mine")
        with pytest.raises(CommandError, match=rf"{taken} exists already"):
            start("first")
        assert [path.name for path in project.glob("*first.py")] == [taken]
        assert (project / taken).read_text() == "# mine"
        (project / taken).unlink()


@pytest.mark.parametrize(
    ("name", "directory", "words"),
    [
        ("my-survey", ".", "cannot be the name of a Python module"),
        ("class", ".", "cannot be the name of a Python module"),
        ("json", ".", "there is a Python module json already"),
        ("survey", "absent", "there is no folder absent"),
        ("survey", "my-tom", "Python cannot import from"),
    ],
)
def test_names_that_cannot_be_imported(project: Path, name: str, directory: str, words: str) -> None:
    (project / "my-tom").mkdir()
    before = sorted(project.rglob("*"))
    with pytest.raises(CommandError, match=words):
        start(name, "--directory", directory)
    assert sorted(project.rglob("*")) == before


def test_the_module_is_named_from_where_python_finds_it(project: Path) -> None:
    assert '"survey.on_alert"' in start("survey")
    (project / "mytom" / "alerts").mkdir()
    (project / "mytom" / "alerts" / "__init__.py").touch()
    assert '"mytom.alerts.survey.on_alert"' in start("survey", "--directory", "mytom/alerts")
    (project / "plain").mkdir()
    assert '"plain.survey.on_alert"' in start("survey", "--directory", str(project / "plain"))


def test_apps_that_are_not_there(project: Path) -> None:
    with override_settings(INSTALLED_APPS=["tom_alertstreams"]):
        with pytest.raises(CommandError, match=r"batch needs tom_targets, tom_alertstreams\.ingest"):
            start("survey", "--style", "batch")
        start("survey", "--style", "v1")
