"""Writes a handler module and a test of it, as a beginning that works."""

from __future__ import annotations

import keyword
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from django.apps import apps

from .scaffold import CannotWrite, dotted_path, is_taken, rendered

_TEMPLATES: Final = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Style:
    """One way to write a handler."""

    #: Its function.
    function: str
    #: OPTIONS in the entry of TOPIC_HANDLERS, as Python.
    options: str = ""
    #: Apps without which it cannot be imported.
    apps: tuple[str, ...] = ()


STYLES: Final = {
    "alert": Style("on_alert", '{"MAX_MAGNITUDE": 18.5}', ("tom_targets",)),
    "batch": Style("on_alerts", '{"CREATE": "always"}', ("tom_targets", "tom_alertstreams.ingest")),
    "v1": Style("on_alert"),
}


@dataclass(frozen=True)
class NewHandler:
    """What was written, and what is left to do."""

    #: Dotted path of the module.
    module: str
    files: tuple[Path, ...]
    #: For ALERT_STREAMS.
    entry: str


def write_handler(name: str, style: str, directory: Path) -> NewHandler:
    """Write DIRECTORY/NAME.py and DIRECTORY/test_NAME.py.

    :param style: one of STYLES.
    :raises CannotWrite: a file is there already, the name is not one of Python's, an app is missing; nothing is written.
    """
    if not name.isidentifier() or keyword.iskeyword(name):
        raise CannotWrite(f"{name!r} cannot be the name of a Python module: use letters, digits and underscores.")
    if not directory.is_dir():
        raise CannotWrite(f"there is no folder {directory}. Make it, or name another with --directory.")
    chosen = STYLES[style]
    if missing := [app for app in chosen.apps if not apps.is_installed(app)]:
        raise CannotWrite(f"the style {style} needs {', '.join(missing)} in INSTALLED_APPS. Add it, or use --style v1.")
    files = {directory / f"{name}.py": f"{style}.py-tpl", directory / f"test_{name}.py": f"test_{style}.py-tpl"}
    if there := [str(path) for path in files if path.exists()]:
        raise CannotWrite(f"{' and '.join(there)} exists already, and is left as it is. Choose another name.")
    module = dotted_path(name, directory.resolve())
    if "." not in module and is_taken(name):
        raise CannotWrite(f"there is a Python module {name} already. Choose another name.")
    path = f'"{module}.{chosen.function}"'
    handler = f'{{"HANDLER": {path}, "OPTIONS": {chosen.options}}}' if chosen.options else path
    words = {"name": name, "module": module, "title": name.title().replace("_", ""), "handler": handler}
    for file, template in files.items():
        with file.open("x", encoding="utf-8") as output:
            output.write(rendered(_TEMPLATES / template, words))
    return NewHandler(module, tuple(files), rendered(_TEMPLATES / "entry.py-tpl", words))
