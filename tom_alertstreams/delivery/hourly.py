"""What a stream does hourly beside its alerts. None of it is worth one: what fails is told, and the alerts go on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django import db
from django.utils import timezone

from tom_alertstreams.models import Rejection
from tom_alertstreams.signals import housekeeping

from .broker_errors import ErrorMemory
from .failures import Meaning, fingerprint, heal_connection, judge, text_of
from .letters import chunks
from .source import AlertSource

#: How long that goes on between two groups of alerts: this part of the stream's time, within these limits (seconds).
_PART_OF_TIME = 0.05
_AT_A_TURN_S, _AT_MOST_S = 0.1, 1.0
#: Rows that are deleted in one transaction.
_AT_ONCE = 500
#: Rows looked up in one query: each passes over the old rows of other streams too.
_LOOKED_UP = 10_000
_NEXT_STEP = {
    Meaning.AWAY: "If the database is back nothing need be done.",
    Meaning.CONTENTION: "The database took too long, or was busy: look at what else runs on it, and at its statement_timeout "
    "and lock_timeout.",
}
_OTHERWISE = "If ./manage.py migrate has nothing to do, it is a bug: report it."


class Hourly:
    """The hourly work of one life of a stream."""

    def __init__(self, source: AlertSource, errors: ErrorMemory) -> None:
        """
        :param errors: is told what fails, once for each cause.
        """
        self._source = source
        self._errors = errors
        #: What is left of this hour's work: whose it is, and what is to be advanced until nothing comes.
        self._left: list[tuple[str, Iterator[Any]]] = []
        self._went_on = time.monotonic()
        #: What has failed at its last try → the cause.
        self._told: dict[str, str] = {}

    @property
    def is_done(self) -> bool:
        """Nothing of this hour's work is left."""
        return not self._left

    def begin(self) -> None:
        """The hour has come."""
        settings = self._source.settings
        days = max(topic.delivery.rejections_days for topic in settings.topics)
        self._left = [("The deletion of old rejections", forget_rejections(settings.label, days))]
        for receiver, answer in housekeeping.send_robust(type(self._source), source=self._source):
            name = f"{receiver.__module__}.{getattr(receiver, '__qualname__', repr(receiver))}"
            if isinstance(answer, Iterator):
                self._left.append((name, answer))
            else:
                self._note(name, answer if isinstance(answer, Exception) else None)

    def go_on(self) -> None:
        """Do some of it; what is left then is for the next turn of the loop."""
        now = time.monotonic()
        part = _PART_OF_TIME * (now - self._went_on)
        over, self._went_on = now + max(_AT_A_TURN_S, min(part, _AT_MOST_S)), now
        while self._left:
            name, work = self._left[0]
            failed = None
            try:
                for _ in work:
                    if time.monotonic() >= over:
                        return
            except Exception as error:  # noqa: BLE001  (a database that is away is met by the next alert too)
                failed = error
            del self._left[0]
            self._note(name, failed)

    def _note(self, what: str, error: Exception | None) -> None:
        if error is None:
            self._told.pop(what, None)
            return
        if isinstance(error, db.Error):
            heal_connection()
        cause = fingerprint(error, what)
        if self._told.get(what) != cause:
            self._told[what] = cause
            self._errors.remember(
                f"{what} has failed, and is tried again in an hour; alerts are read on. "
                f"{type(error).__name__}: {text_of(error)} {_NEXT_STEP.get(judge(error), _OTHERWISE)}"
            )


def forget_rejections(stream: str, older_than_days: int) -> Iterator[int]:
    """Delete rejections of a stream that are older, in short transactions; their counts stay.

    :returns: for each, how many rows it was to delete.
    """
    before = timezone.now() - timedelta(days=older_than_days)
    old = Rejection.objects.filter(stream=stream, time__lt=before).order_by("time")  # which has an index
    while pks := list(old.values_list("pk", flat=True)[:_LOOKED_UP]):
        deleted = 0
        for some in chunks(pks, _AT_ONCE):
            deleted += Rejection.objects.filter(pk__in=some).delete()[0]
            yield len(some)
        if not deleted:  # another process of this stream is at it
            return
