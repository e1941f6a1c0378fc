"""Looks after the alarms in ``readstreams``, from a thread of its own: a mail server that hangs holds nobody up."""

from __future__ import annotations

import threading
from types import TracebackType

from django.db import connections

from tom_alertstreams.delivery.failures import text_of
from tom_alertstreams.logs import get_logger

from .book import Book
from .options import AlarmSettings

logger = get_logger(__name__)

#: The first look comes soon: who had stopped may run again.
_FIRST_LOOK_S, _LOOK_EVERY_S = 10.0, 60.0
#: What a stop waits for it. A thread that waits for a mail server ends with the process.
_STOP_S = 0.5


class Watch:
    """Looks every minute while the ``with`` block runs."""

    def __init__(self, settings: AlarmSettings) -> None:
        self._book = Book(settings)
        self._over = threading.Event()
        self._looking = threading.Lock()
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="alertstream-alarms", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(_STOP_S)

    def last_look(self, limit_s: float) -> None:
        """Look once more, for the process ends and nobody asked for it.

        :param limit_s: wait no longer for it.
        """
        self._over.set()
        last = threading.Thread(target=self._look, name="alertstream-last-look", daemon=True)
        last.start()
        last.join(limit_s)

    def _run(self) -> None:
        pause_s = _FIRST_LOOK_S
        while not self._over.wait(pause_s):
            self._look()
            pause_s = _LOOK_EVERY_S

    def _look(self) -> None:
        with self._looking:
            try:
                self._book.look()
            except BaseException as error:  # noqa: BLE001  (the database is away; or a fault of ours, which must stop nothing)
                if not self._failing:
                    logger.warning("alarms cannot be looked after: %s: %s", type(error).__name__, text_of(error))
                self._failing = True
            else:
                self._failing = False
            finally:
                connections.close_all()
