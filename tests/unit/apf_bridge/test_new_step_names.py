"""``newapfstep``: a name that no module can have is refused; nothing is overwritten, and nothing is left half-written."""

from __future__ import annotations

import builtins
import keyword
import re
import stat
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from apf_bridge.management import pins
from tests.processes import ROOT

from .new_steps import NAMES, new, run


class TestNames:
    @pytest.mark.parametrize("name", NAMES)
    def test_what_becomes_of_them(self, tmp_path: Path, name: str) -> None:
        module, title = NAMES[name]
        assert f"--class {module}.step.{title} " in new(name)
        assert (tmp_path / module / module / "step.py").is_file()

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("", "it is empty"),
            (" ", "it is empty"),
            ("class", "class is a word of Python's"),
            ("Lambda", "lambda is a word of Python's"),
            ("2mass", "it begins with '2'"),
            ("_private", "it begins with '_'"),
            ("-", "it begins with '_'"),
            ("é", r"it has '\\xe9'"),
            ("a/b", "it has '/'"),
            ("../up", r"it has '\.', '/'"),
            ("a\\b", r"it has '\\\\'"),
            ("a.b", r"it has '\.'"),
            ("a\n", r"it has '\\n'"),
            ("n" * 41, "it has 41 characters"),
            ("json", "there is a Python module json already"),
            ("Fast-Avro", None),
            ("fastavro", "there is a Python module fastavro already"),
            ("apf_bridge", "there is a Python module apf_bridge already"),
            ("__main__", "it begins with '_'"),
            ("apf", "a step has another apf beside it"),
            ("settings", "a step has another settings beside it"),
            ("generic", "GenericStep is what every step is made of"),
        ],
    )
    def test_that_cannot_be_one(self, tmp_path: Path, name: str, reason: str | None) -> None:
        if reason is None:
            new(name)
            return
        with pytest.raises(CommandError, match=rf"cannot be the name of a step: {reason}.*Use up to 40 letters"):
            new(name)
        assert list(tmp_path.iterdir()) == []

    @given(
        st.text(max_size=30)
        | st.from_regex(r"[A-Za-z][A-Za-z0-9_ -]{0,45}", fullmatch=True)
        | st.sampled_from([*keyword.kwlist, *keyword.softkwlist])
        | st.sampled_from([*sorted(sys.stdlib_module_names), *dir(builtins)])
    )
    @example("GENERIC STEP")
    @example("class")
    @example("match")
    @settings(max_examples=60, deadline=None)
    def test_any_name_is_a_module_or_is_refused(self, name: str) -> None:
        with tempfile.TemporaryDirectory() as temporary, pytest.MonkeyPatch.context() as patch:
            directory = Path(temporary)
            patch.setattr(sys, "dont_write_bytecode", True)
            try:
                said = new(name, "--directory", temporary)
            except CommandError as error:
                refused = str(error)
            else:
                refused = ""
            if refused:
                assert f"{name!r} cannot be the name of a step: " in refused
                assert list(directory.iterdir()) == []
                return
            (folder,) = directory.iterdir()
            assert folder.name.isidentifier()
            assert not keyword.iskeyword(folder.name)
            for file in folder.rglob("*.py"):
                compile(file.read_text(), file.name, "exec")
            path = re.search(r"--class (\S+)", said)
            assert path, said
            module, _, title = path[1].rpartition(".")
            assert title.isidentifier()
            assert not keyword.iskeyword(title)
            before = set(sys.modules)
            patch.syspath_prepend(folder)
            try:
                found = import_module(module)
                assert getattr(found, title).__mro__[1].__name__ == "GenericStep"
                assert found.__file__ == str(folder / folder.name / "step.py")
            finally:
                for imported in set(sys.modules) - before:
                    del sys.modules[imported]

    def test_ruff_finds_nothing(self, tmp_path: Path) -> None:
        """With the settings of this project; short names and long ones."""
        for name in ("ab", "my_step", "zwicky", "n" * 40):
            new(name)
        for command in (["check"], ["format", "--check", "--diff"]):
            config = ["--no-cache", "--config", str(ROOT / "pyproject.toml")]
            for folder in tmp_path.iterdir():
                done = run(folder, "-m", "ruff", *command, *config, ".", TMPDIR=tempfile.gettempdir())
                assert done.returncode == 0, done.stdout + done.stderr


class TestNothingIsLost:
    def test_what_is_there_stays(self, tmp_path: Path) -> None:
        (tmp_path / "first").mkdir()
        (tmp_path / "first" / "notes.txt").write_text("mine")
        (tmp_path / "second").write_text("mine")
        (tmp_path / "third").symlink_to(tmp_path / "nowhere")
        for name in ("first", "second", "third"):
            with pytest.raises(CommandError, match=rf"{name} exists already, and is left as it is"):
                new(name)
        assert sorted(path.name for path in tmp_path.rglob("*")) == ["first", "notes.txt", "second", "third"]
        assert (tmp_path / "first" / "notes.txt").read_text() == (tmp_path / "second").read_text() == "mine"

    def test_its_own_work_stays(self, tmp_path: Path) -> None:
        new("my_step")
        (tmp_path / "my_step" / "my_step" / "step.py").write_text("# mine")
        with pytest.raises(CommandError, match="my_step exists already"):
            new("My Step")
        assert (tmp_path / "my_step" / "my_step" / "step.py").read_text() == "# mine"

    def test_what_comes_meanwhile_stays(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Between the look into the folder and the writing."""

        def meanwhile() -> pins.Pins:
            (tmp_path / "my_step").mkdir()
            (tmp_path / "my_step" / "notes.txt").write_text("mine")
            return pins.Pins((), None)

        monkeypatch.setattr("apf_bridge.management.new_step.pins", meanwhile)
        with pytest.raises(CommandError, match="cannot be written"):
            new("my_step")
        assert [path.name for path in tmp_path.rglob("*")] == ["my_step", "notes.txt"]

    def test_an_empty_folder_is_taken(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Also where Python could import it."""
        monkeypatch.syspath_prepend(tmp_path)
        (tmp_path / "my_step").mkdir()
        new("my_step")
        assert (tmp_path / "my_step" / "my_step" / "step.py").is_file()

    def test_nothing_is_left_of_a_failure(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write, written = Path.write_text, []

        def full_disk(path: Path, *args: Any, **kwargs: Any) -> int:
            written.append(path)
            if len(written) > 4:
                raise OSError(28, "No space left on device", str(path))
            return write(path, *args, **kwargs)

        monkeypatch.setattr(Path, "write_text", full_disk)
        with pytest.raises(CommandError, match=r"cannot be written: No space left on device\."):
            new("my_step")
        assert len(written) == 5
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(CommandError, match="there is no folder absent"):
            new("my_step", "--directory", "absent")

    def test_others_may_read_it(self, tmp_path: Path) -> None:
        """As any folder that the user makes."""
        new("my_step")
        (tmp_path / "plain").mkdir()
        modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "my_step")}
        assert len(modes) == 1
