"""Writes the folder of a step that runs: its code, its settings, its tests and what a container of it needs."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tom_alertstreams.management.scaffold import CannotWrite, dotted_path, rendered

from .pins import pins
from .step_names import names_of

_TEMPLATES: Final = Path(__file__).parent / "templates"
#: Template → file in the folder; MODULE is that of the step. Those without a template are empty.
_FILES: Final = {
    "README.md": "README.md-tpl",
    "MODULE/__init__.py": None,
    "MODULE/step.py": "step.py-tpl",
    "settings.py": "settings.py-tpl",
    "settings_files.py": "settings_files.py-tpl",
    "schema.avsc": "schema.avsc-tpl",
    "alerts.json": "alerts.json-tpl",
    "tests/__init__.py": "tests_init.py-tpl",
    "tests/test_step.py": "test_step.py-tpl",
    "pytest.ini": "pytest.ini-tpl",
    "requirements.txt": "requirements.txt-tpl",
    "Dockerfile": "Dockerfile-tpl",
}


@dataclass(frozen=True)
class NewStep:
    """What was written, and what is left to do."""

    #: DIRECTORY/MODULE.
    folder: Path
    files: tuple[Path, ...]
    #: Dotted path of the class, from its folder.
    step_class: str
    #: For ALERT_STREAMS.
    entry: str
    #: What pip makes the wheel of this project of, for a container; None where an index has it.
    wheel_source: str | None


def write_step(name: str, directory: Path) -> NewStep:
    """Write the folder of a step, all of it or nothing.

    :param name: names the folder, the module and the class: :func:`.step_names.names_of`.
    :raises CannotWrite: no module can have that name, or there is something in the folder already.
    """
    names = names_of(name, directory)
    folder = directory / names.module
    if not directory.is_dir():
        raise CannotWrite(f"there is no folder {directory}. Make it, or name another with --directory.")
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise CannotWrite(f"{folder} exists already, and is left as it is. Choose another name, or --directory.")
    pinned = pins()
    words = {
        "module": names.module,
        "title": names.title,
        "python": platform.python_version(),
        "pins": "\n".join(pinned.lines),
        "copy_wheels": "COPY wheels/ ./wheels/\n" if pinned.source else "",
        "make_wheel": _MAKE_WHEEL if pinned.source else "",
        **_in_the_tom(names.module, names.title, directory.resolve()),
    }
    words["entry"] = rendered(_TEMPLATES / "step_entry.py-tpl", words)
    files = {path.replace("MODULE", names.module): _content(template, words) for path, template in _FILES.items()}
    _write(folder, files)
    return NewStep(
        folder,
        tuple(folder / path for path in files),
        f"{names.module}.step.{names.title}",
        words["entry"],
        pinned.source,
    )


_MAKE_WHEEL: Final = "pip wheel --no-deps --wheel-dir wheels CHECKOUT    # CHECKOUT: that of tom-alertstreams\n"


def _in_the_tom(module: str, title: str, directory: Path) -> dict[str, str]:
    """The class and the settings as a TOM names them whose manage.py is in the working directory."""
    package = dotted_path(module, directory)
    folder = directory / module
    settings = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    return {"step": f"{package}.{module}.step.{title}", "settings": (settings / "settings.py").as_posix()}


def _content(template: str | None, words: Mapping[str, str]) -> str:
    return rendered(_TEMPLATES / template, words) if template else ""


def _write(folder: Path, files: Mapping[str, str]) -> None:
    """Beside it first: the folder is there at once and whole, or it is not there."""
    with tempfile.TemporaryDirectory(prefix=".newapfstep-", dir=folder.parent) as beside:
        made = Path(beside) / folder.name
        for path, content in files.items():
            file = made / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content, encoding="utf-8")
        made.rename(folder)  # an empty folder is replaced, another one refuses
