"""``apf.core``."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["get_class"]


def get_class(string: str) -> Any:
    """The class of a dotted path, as in CLASS of a config. ``apf.…`` is found also where the shims are not installed.

    :raises ImportError: there is no such module, or nothing of that name in it.
    """
    module_name, _, class_name = string.rpartition(".")
    if not module_name:
        raise ImportError(f"CLASS {string!r} is no dotted path. Write package.module.Class.")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != "apf":
            raise
        module = importlib.import_module(f"apf_bridge.compat{module_name.removeprefix('apf')}")
    try:
        return getattr(module, class_name)
    except AttributeError:
        raise ImportError(f"CLASS {string!r}: {module_name} has no {class_name}.") from None
