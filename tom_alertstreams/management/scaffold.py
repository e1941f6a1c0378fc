"""What the commands share that write code to begin with: templates, and names that Python can import."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from string import Template


class CannotWrite(Exception):
    """It cannot be written as asked; the message says why and what to do."""


def rendered(template: Path, words: Mapping[str, str]) -> str:
    """A template with its ``$words`` put in."""
    return Template(template.read_text(encoding="utf-8")).substitute(words)


def dotted_path(name: str, directory: Path) -> str:
    """How Python names a module NAME in a folder: from the outermost package, else from the working directory.

    :raises CannotWrite: a folder on the way has a name that Python cannot import.
    """
    root = directory
    while (root / "__init__.py").exists():
        root = root.parent
    if root == directory and directory.is_relative_to(Path.cwd()):
        root = Path.cwd()
    parts = (*directory.relative_to(root).parts, name)
    if not all(part.isidentifier() for part in parts):
        raise CannotWrite(f"Python cannot import from {directory}: use a folder with a name of letters and digits.")
    return ".".join(parts)


def is_taken(name: str, apart_from: Path | None = None) -> bool:
    """Whether there is a module of that name already, which another one would hide.

    :param name: without dots.
    :param apart_from: a folder that does not count, as the one that is about to be written.
    """
    if name in sys.modules or name in sys.stdlib_module_names:
        return True
    found = importlib.util.find_spec(name)
    if found is None:
        return False
    folders = {Path(folder).resolve() for folder in found.submodule_search_locations or ()}
    return found.origin is not None or not folders <= {apart_from}
