"""What handlers have left to be done after the commit may fail: the alerts are handled, and the rest is done all the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import connection

from tom_alertstreams.logs import get_logger
from tom_alertstreams.redaction import redact

from .failures import text_of, traceback_of

logger = get_logger(__name__)


def outlive_failures(stream: str) -> None:
    """Before the commit: let no function given to ``transaction.on_commit`` stop those after it, or undo what is counted.

    Django leaves the others out where one raises, and the error would come out of a transaction that is committed.
    """
    hooks: list[Any] = connection.run_on_commit  # each of three parts, of which Django's stubs know two
    hooks[:] = [(savepoints, _outlived(function, stream), robust) for savepoints, function, robust in hooks]


def _outlived(function: Callable[[], Any], stream: str) -> Callable[[], None]:
    def call() -> None:
        try:
            function()
        except KeyboardInterrupt:  # of who sits at a command
            raise
        except BaseException as error:  # noqa: BLE001  (whatever the user's code does, a cancellation too)
            name = getattr(function, "__qualname__", None) or type(function).__name__
            logger.error(
                "%s: %s failed after the commit (transaction.on_commit), and is not called again: %s: %s. Its alert is "
                "handled; do by hand what it should have done.",
                stream, f"{getattr(function, '__module__', '')}.{name}", type(error).__name__, text_of(error),
                extra={"stream": stream},
            )  # fmt: skip
            logger.debug("%s", redact(traceback_of(error)), extra={"stream": stream})

    return call
