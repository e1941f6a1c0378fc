"""A password that the streams of the tests have, and that errors of their handlers tell: nothing may show it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from django.apps import apps

PASSWORD: Final = "tinker-tailor-1974"


def told_with(act: Callable[[], Any]) -> Any:
    """Do something whose errors have the password in their context, as those of a client that cannot log in."""
    try:
        raise RuntimeError(f"cannot log in with {PASSWORD}")
    except RuntimeError:
        return act()


def rows_that_show_it() -> list[str]:
    """Rows of our tables; the bytes of alerts as they came are not looked at."""
    rows = [
        str(row) for model in apps.get_app_config("tom_alertstreams").get_models() for row in model.objects.values()
    ]
    return [row for row in rows if PASSWORD in row]
