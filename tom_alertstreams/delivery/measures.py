"""How long batches and handlers take, and how old alerts are when they are committed.

For monitors. Written once for each transaction by the thread of a stream and read by another one whenever that likes: a
value that is a moment old does no harm, so there is no lock. Nothing here knows what reads it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from django.utils import timezone

from tom_alertstreams.alerts import Alert

#: Upper bounds, in seconds: of a transaction, of the time that handlers take in one, of the age of an alert.
BATCH_BOUNDS: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
AGE_BOUNDS: Final = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3600.0, 6 * 3600.0, 86_400.0, 7 * 86_400.0)


class Histogram:
    """How many values were how large."""

    def __init__(self, bounds: Sequence[float]) -> None:
        """:param bounds: upper bounds of the classes, in order; a last class without one is added."""
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def note(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


@dataclass
class Measures:
    """Of one stream, since the process began."""

    batch: Histogram = field(default_factory=lambda: Histogram(BATCH_BOUNDS))
    #: Dotted path of a handler → how long it took in each transaction.
    handlers: dict[str, Histogram] = field(default_factory=dict)
    age: Histogram = field(default_factory=lambda: Histogram(AGE_BOUNDS))
    #: Seconds that handlers have taken since the last commit, tries that were rolled back included.
    _handler_s: float = 0.0

    def called(self, seconds: float) -> None:
        """A handler has returned, after so long."""
        self._handler_s += seconds

    def committed(self, handler: str, seconds: float, alerts: Sequence[Alert]) -> None:
        """A transaction is committed.

        :param handler: its dotted path; empty where no handler belongs to the topic.
        :param seconds: how long the transaction was open.
        :param alerts: those that it finishes. Of many the first and the last tell how old all are.
        """
        self.batch.note(seconds)
        if handler not in self.handlers:
            # A new dict: whoever goes through the old one must not see it grow.
            self.handlers = {**self.handlers, handler: Histogram(BATCH_BOUNDS)}
        self.handlers[handler].note(self._handler_s)
        self._handler_s = 0.0
        now = timezone.now()
        for alert in {id(alert): alert for alert in (*alerts[:1], *alerts[-1:])}.values():
            if alert.timestamp is not None:
                self.age.note(max(0.0, (now - alert.timestamp).total_seconds()))  # clocks differ
