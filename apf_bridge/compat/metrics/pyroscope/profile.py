"""USE_PROFILING in the environment: a Pyroscope that the step has configured sees ``start`` by its name."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def profile(func: Callable[P, R]) -> Callable[P, R]:
    """Tag a function for Pyroscope, where USE_PROFILING is set to other than 0, no or false."""

    @functools.wraps(func)
    def tagged(*args: P.args, **kwargs: P.kwargs) -> R:
        if os.getenv("USE_PROFILING", "").lower() in ("", "0", "no", "false", "off"):
            return func(*args, **kwargs)
        try:
            import pyroscope
        except ImportError as error:
            raise ImportError("USE_PROFILING needs pyroscope: pip install pyroscope-io.") from error
        with pyroscope.tag_wrapper({"function": func.__name__}):
            return func(*args, **kwargs)

    return tagged
