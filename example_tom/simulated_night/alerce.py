"""ALeRCE's classifications of two days, from the simulation that comes with ``alerce_stream``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from alerce_stream.resolver import Position
from alerce_stream.testing import SimulatedMessage, SimulatedNight

from .messages import Message

#: Classes of ALeRCE's light-curve classifier whose light curves are simulated as well.
SUPERNOVAE: Final = ("SNIa", "SNIbc", "SNII")


class ClassifiedNight:
    """What ALeRCE says in one night and the day before."""

    def __init__(self, date: datetime, objects: int, seed: int) -> None:
        self._days = [f"{date - timedelta(days=back):%Y%m%d}" for back in (1, 0)]
        self._objects = objects
        self._night = SimulatedNight(objects, seed, self._days, broken=True)
        self.positions = dict(self._night.positions)

    @property
    def supernovae(self) -> list[tuple[str, float, float, str]]:
        """(name, RA, Dec, class)."""
        found = [item for item in self._night.objects if item.class_name in SUPERNOVAE]
        return [(item.oid, item.position.ra, item.position.dec, item.class_name) for item in found]

    def messages(self) -> Iterator[Message]:
        """Both classifiers, both days."""
        return map(_message, self._night.messages)

    def later(self, now: datetime) -> Iterator[Message]:
        """More objects of the same day; the API knows each before it is classified."""
        seed = int(now.timestamp())
        while True:
            more = SimulatedNight(self._objects, seed, self._days)
            for message in more.messages:
                position: Position = more.positions[message.oid]
                self.positions[message.oid] = position
                yield _message(message)
            seed += 1


def _message(message: SimulatedMessage) -> Message:
    return Message(message.topic, message.value, message.key)
