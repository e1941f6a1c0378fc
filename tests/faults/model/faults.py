"""Faults of the database and of services, and the deaths of processes, at the n-th point where they can happen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper

from tom_alertstreams.exceptions import LookUpUnavailable

from .fates import database_error


class Killed(KeyboardInterrupt):
    """The process dies here."""


#: Where something can happen: at a statement, at a commit, at the call of a handler, when an alert is made ready for it
#: for the first time or after it has waited.
Place = Literal["statement", "commit", "call", "open", "open again"]


@dataclass
class Fault:
    """An error that is still to come, or (where alerts are opened) a turn of the other process."""

    place: Place
    #: As :func:`~.fates.database_error` takes it; of a call it may be ``service``.
    kind: str
    #: It has taken effect all the same.
    after: bool
    #: How many go well before it.
    countdown: int
    #: How many fail.
    times: int

    def strikes(self, place: Place) -> bool:
        """Whether this one fails."""
        if place != self.place or self.times <= 0:
            return False
        if self.countdown > 0:
            self.countdown -= 1
            return False
        self.times -= 1
        return True


class Faults:
    """Looks at every statement and every commit while a process of the model runs."""

    def __init__(self) -> None:
        self.armed: list[Fault] = []
        #: The process dies when it has passed so many points more.
        self.points_left: int | None = None
        #: A process of the model runs now; else it is the test itself.
        self.acting = False
        #: An error was raised since this was last set to False.
        self.struck = False
        self._dead = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """The code of a process runs in this block."""
        before, self.acting, self._dead = self.acting, True, False
        try:
            yield
        finally:
            self.acting, self._dead = before, False

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Another process, or the test itself, runs in this block without faults."""
        before, self.acting, self._dead = (self.acting, self._dead), False, False
        try:
            yield
        finally:
            self.acting, self._dead = before

    def point(self) -> None:
        """A process may die here. It does nothing more when it has."""
        if not self.acting:
            return
        if self.points_left is not None:
            self.points_left -= 1
            if self.points_left < 0:
                self.die()
        if self._dead:
            raise Killed

    def die(self) -> None:
        """:raises Killed: always."""
        self._dead, self.points_left = True, None
        raise Killed

    def called(self) -> None:
        """A handler is called with an alert."""
        self.point()
        if fault := self._strikes("call"):
            raise LookUpUnavailable if fault.kind == "service" else database_error(fault.kind)

    def opened(self, *, again: bool) -> bool:
        """An alert is made ready: whether the other process has a turn now."""
        self.point()
        return self._strikes("open again" if again else "open") is not None

    def end(self) -> None:
        """No more faults."""
        self.armed.clear()
        self.points_left = None

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Statements and commits go through here."""
        commit = BaseDatabaseWrapper.commit

        def commit_with_faults(wrapper: BaseDatabaseWrapper) -> None:
            try:
                self.point()
            except Killed:
                wrapper.rollback()  # as the server does; leaving it to Python would commit on SQLite
                raise
            fault = self._strikes("commit")
            if fault is not None and not fault.after:
                raise database_error(fault.kind)
            commit(wrapper)
            self.point()
            if fault is not None:
                raise database_error("away")

        with connection.execute_wrapper(self._execute), pytest.MonkeyPatch.context() as patch:
            patch.setattr(BaseDatabaseWrapper, "commit", commit_with_faults)
            yield

    def _execute(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        self.point()
        fault = self._strikes("statement")
        # Never after a BEGIN: Django would not know that it has begun.
        if fault is not None and (not fault.after or sql.startswith("BEGIN")):
            raise database_error(fault.kind)
        result = execute(sql, params, many, context)
        if fault is not None:
            raise database_error(fault.kind)
        return result

    def _strikes(self, place: Place) -> Fault | None:
        if not self.acting:
            return None
        struck = next((fault for fault in self.armed if fault.strikes(place)), None)
        self.struck = self.struck or (struck is not None and not place.startswith("open"))
        return struck
