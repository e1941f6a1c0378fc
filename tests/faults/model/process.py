"""One process that reads the stream: the real delivery loop, a turn at a time."""

from __future__ import annotations

from typing import Any

from django import db
from django.db import connection

from tom_alertstreams.alertstreams.alertstream import get_alert_streams
from tom_alertstreams.delivery.intake import Intake
from tom_alertstreams.delivery.loop import DeliveryLoop
from tom_alertstreams.delivery.preparing import Preparer
from tom_alertstreams.delivery.runs import RunRecord
from tom_alertstreams.delivery.source import Control
from tom_alertstreams.exceptions import StreamStopped

from .clock import Clock, Stopping
from .faults import Faults, Killed
from .kafka import ALL, Member

#: What may end the life of a stream when the database or the broker has failed; the supervisor starts it again.
_TROUBLE = (db.Error,)


class Process:
    """A life of :meth:`DeliveryLoop.run`, which cannot be stopped between two turns and is taken apart here."""

    def __init__(self, entry: dict[str, Any], clock: Clock, faults: Faults) -> None:
        """
        :param entry: of ALERT_STREAMS.
        """
        self.alive = True
        self.control = Control(stopping=Stopping(clock))
        self._faults = faults
        self._loop = DeliveryLoop(get_alert_streams([entry])[0], self.control)  # type: ignore[arg-type]
        self._run(self._open)

    @property
    def member(self) -> Member:
        """Its consumer."""
        consumer: Any = self._loop._intake.consumer
        assert isinstance(consumer, Member)
        return consumer

    def turn(self, *, arriving: int = ALL, late: bool = False, dies_after: int | None = None) -> None:
        """One turn of the loop, or the end of its life if it was told to stop.

        :param arriving: how many messages there are to fetch.
        :param late: news of the group come between two messages.
        :param dies_after: it dies when it has passed so many points where it can, at the latest after this turn.
        """
        self.member.arriving, self.member.late = arriving, late
        self._faults.points_left = dies_after
        self._run(self._end if self._loop._finished() else self._loop._turn)
        if dies_after is not None and self.alive:
            self._run(self._faults.die)

    def meanwhile(self) -> None:
        """A turn without faults, while another process is at work between two transactions."""
        struck = self._faults.struck
        with self._faults.suspended():
            self.member.arriving, self.member.late = ALL, False
            self._guarded(self._end if self._loop._finished() else self._loop._turn)
        self._faults.struck = struck

    def stop(self) -> None:
        """SIGTERM; it hears of it when it looks."""
        self.control.stopping.set()

    def _open(self) -> None:
        loop = self._loop
        loop._record = RunRecord(loop.source.settings, loop.source.group_id, loop.status)
        loop._record.beat(force=True)
        loop._preparer = Preparer(loop.source.settings.label)
        loop._intake = Intake(loop.source, loop._errors, loop.status, note_ends=False)
        assert loop._open()

    def _end(self) -> None:
        loop = self._loop
        self.alive = False
        loop._note_lags()
        loop._intake.mirror(wait=True)
        self._close()

    def _close(self) -> None:
        self._loop._intake.close()
        self._loop._record.end()

    def _run(self, action: Any) -> None:
        with self._faults.watched():
            self._guarded(action)

    def _guarded(self, action: Any) -> None:
        self._faults.struck = False
        try:
            action()
        except Killed:
            self.alive = False
            connection.close()  # the server rolls back
        except StreamStopped:
            self._die_in_order()
        except _TROUBLE:
            if not self._faults.struck:
                raise
            connection.close()
            self._die_in_order()
        assert not connection.in_atomic_block

    def _die_in_order(self) -> None:
        self.alive = False
        try:
            self._close()
        except Killed:
            connection.close()
