"""One night of alerts, made up: what four brokers send while supernovae rise and fall, bursts go off, and some messages
are broken.

The same date, seed and number of objects make the same bytes, so that a night can be sent twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from alerce_stream.resolver import Position

from . import alerce, gcn, hermes, ztf
from .messages import Message, seeded

__all__ = ["Message", "Night"]


class Night:
    """The alerts of one night, and those that come after it while somebody is looking."""

    def __init__(self, date: datetime, objects: int = 40, seed: int = 1) -> None:
        """
        :param date: midnight (UTC) of the day whose night it is; the night lasts from 3 to 12 h UTC.
        :param objects: how many objects ALeRCE classifies; a third of them are supernovae that ZTF sees as well.
        """
        self._seed = f"{seed}/{date:%Y%m%d}"
        self._date = date
        self.classified = alerce.ClassifiedNight(date, objects, seed)
        self.survey = ztf.Survey(date, self.classified.supernovae, seeded(f"{self._seed}/ztf"))
        self.events = gcn.Events(date, seeded(f"{self._seed}/gcn"))
        self.reports = hermes.Reports(date, self.survey, self.events, seeded(f"{self._seed}/hermes"))
        self.messages: tuple[Message, ...] = (
            *self.survey.messages(),
            *self.classified.messages(),
            *self.events.messages(),
            *self.reports.messages(),
        )

    @property
    def positions(self) -> dict[str, Position]:
        """What ALeRCE's API knows."""
        return self.classified.positions

    def later(self, now: datetime) -> Iterator[Message]:
        """Alerts without end, as they come after the night; other ones for each ``now``.

        What they need of :attr:`positions` is there when they are given out.
        """
        choice = seeded(f"{self._seed}/{now.timestamp()}")
        sources = {
            self.survey.later(now, choice): 6,
            self.classified.later(now): 2,
            self.events.later(now, choice): 1,
            self.reports.later(now, choice): 1,
        }
        while True:
            yield next(choice.choices(list(sources), list(sources.values()))[0])
