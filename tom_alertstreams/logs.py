"""Loggers that never raise: a line of the log is worth less than an alert.

Python's own handlers swallow what goes wrong in them; others (of a log service, of somebody's own) let it out, and then
it would be the handler's failure, or the end of a stream.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

#: What a line may carry as ``extra``, and nothing else: attributes of the record, for whoever searches logs.
EXTRA: Final = ("stream", "topic", "partition", "offset")

if TYPE_CHECKING:
    from .alerts import Alert

    _Adapter = logging.LoggerAdapter[logging.Logger]
else:  # Python 3.10 cannot say of what
    _Adapter = logging.LoggerAdapter


class CarefulLogger(_Adapter):
    """The logger of one module. What its handlers raise is told on stderr, without the line."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Keeps ``extra`` as it is given."""
        return msg, kwargs

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """As of any logger; this method is not shown as the place of the line."""
        try:
            super().log(level, msg, *args, **{"stacklevel": 2, **kwargs})
        except Exception as error:  # noqa: BLE001  (whatever a handler raises)
            with suppress(Exception):
                sys.stderr.write(f"{self.logger.name}: a line could not be logged: {type(error).__name__}\n")


def where(alert: Alert) -> dict[str, Any]:
    """Where an alert comes from, as ``extra`` of a line about it."""
    return {"stream": alert.stream, "topic": alert.topic, "partition": alert.partition, "offset": alert.offset}


def get_logger(name: str) -> CarefulLogger:
    """As ``logging.getLogger``."""
    return CarefulLogger(logging.getLogger(name), {})
