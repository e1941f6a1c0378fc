"""``import apf…`` finds :mod:`apf_bridge.compat`, once asked to and where no APF is installed."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

COMPAT = f"{__package__}.compat"


class ApfInstalledError(ImportError):
    """An APF is installed."""


class ApfFinder(MetaPathFinder, Loader):
    """Each ``apf.x`` is the very module ``apf_bridge.compat.x``: one class has two names, and is the same class."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "apf" and not fullname.startswith("apf."):
            return None
        found = importlib.util.find_spec(_ours(fullname))
        if found is None:
            return None
        return ModuleSpec(fullname, self, is_package=found.submodule_search_locations is not None)

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        # The import system gives out what stands in sys.modules now.
        sys.modules[name] = importlib.import_module(_ours(name))


def install() -> None:
    """Make ``apf`` importable in this process. May be called twice.

    :raises ApfInstalledError: an APF is installed, or a folder ``apf`` is on the path; it would be hidden.
    """
    if any(isinstance(finder, ApfFinder) for finder in sys.meta_path):
        return
    found = importlib.util.find_spec("apf")
    if found is not None:
        where = found.origin or ", ".join(found.submodule_search_locations or ())
        raise ApfInstalledError(
            f"There is another apf at {where}, and apf_bridge does not hide it. Uninstall apf_base, or take that "
            f"folder off the path.",
            name="apf",
        )
    # First: the path of the package apf leads others to these files, who would make modules of their own of them.
    sys.meta_path.insert(0, ApfFinder())


def uninstall() -> None:
    """Take ``apf`` away again: for tests."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, ApfFinder)]
    for name in [name for name in sys.modules if name == "apf" or name.startswith("apf.")]:
        del sys.modules[name]


def _ours(name: str) -> str:
    return COMPAT + name[len("apf") :]
