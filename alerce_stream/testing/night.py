"""Simulated nights: both classifiers, a topic for every day, and what goes wrong with such streams."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Final

from alerce_stream.resolver import Position

from .records import Look, classes_of, has_numbers, is_named_inside, names_objects, record_of
from .sending import Producer, Said, SimulatedMessage, send
from .stories import Moment, SimulatedObject, draw, probabilities, story
from .wire import Framing, encode

#: Schema → beginning of its topics, where that is not stamp_classifier or lc_classifier.
_TOPICS: Final = {
    "rubin_stamp_classifier": "rubin_stamp_classifier",
    "stamp_classifier_aid": "stamp_classifier_ztf",
    "elasticc_classification": "lc_classifier_balto",
}
#: Their topics have no date.
_UNDATED: Final = frozenset({"rubin_stamp_classifier"})
#: ALeRCE's producers change to the topic of the next day at this hour (UTC), while data flow.
_CHANGE_HOUR: Final = 23
#: Hours of the first day before that.
_HOURS_BEFORE: Final = 12
#: A message that is sent twice comes again after no more than so many others.
_SOON: Final = 20


class SimulatedNight:
    """Some days of both classifiers. The same arguments make the same bytes.

    Every object gets one stamp classification, and as many of its light curve as there are days, each surer than the one
    before. Topics change at 23 h UTC while messages flow; the last message of each is sent to the next one as well, as
    ALeRCE's producers do.

    :param days: YYYYMMDD of the topics, in order; by default yesterday and today (UTC).
    :param broken: add a truncated message, one that is no Avro, and one of an object that could not be classified.
    :param changing: how many of the objects with a light curve are taken for something else at first (0 to 1).
    :param twice: how many of the messages are sent twice (0 to 1).
    :param stamps: schema of the stamp classifications, one of ``alerce_stream/schemas``; None: there are none.
    :param light_curves: schema of the light-curve classifications; None: there are none.
    :param framings: how the objects' messages are sent, in turn.
    """

    def __init__(
        self,
        objects: int = 20,
        seed: int = 1,
        days: Sequence[str] | None = None,
        *,
        broken: bool = False,
        changing: float = 0.0,
        twice: float = 0.0,
        stamps: str | None = "stamp_classifier_2025",
        light_curves: str | None = "lc_classifier_2024",
        framings: Sequence[Framing] = ("container", "schemaless"),
    ) -> None:
        self._seed = seed
        self._stamps, self._light_curves = stamps, light_curves
        self._framings = tuple(framings)
        now = datetime.now(timezone.utc)
        self.days = tuple(days or [f"{now - timedelta(days=back):%Y%m%d}" for back in (1, 0)])
        numbered = any(has_numbers(schema) for schema in (stamps, light_curves) if schema)
        self.objects = tuple(draw(self._dice(f"object/{n}"), n, changing, numbered=numbered) for n in range(objects))
        messages = self._handed_over(sorted(self._messages(), key=lambda message: message.sent))
        self.messages = (*self._again(messages, twice), *(self._broken() if broken else ()))

    @property
    def positions(self) -> dict[str, Position]:
        """What the API knows after this night."""
        return {item.oid: item.position for item in self.objects}

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics, in order of appearance."""
        return tuple(dict.fromkeys(message.topic for message in self.messages))

    @property
    def final(self) -> dict[str, dict[str, Said]]:
        """Object → classifier → what that one says of it last."""
        last: dict[str, dict[str, Said]] = {}
        for message in sorted(self.messages, key=lambda message: message.sent):
            if message.oid and message.said is not None:
                last.setdefault(message.oid, {})[message.classifier] = message.said
        return last

    def publish(
        self, producer: Producer, topics: Iterable[str] | None = None, *, times: bool = False, spread: bool = False
    ) -> int:
        """Send the night, or what of it belongs to these topics; return how many messages that were.

        ``times`` and ``spread`` are those of :func:`send`.
        """
        wanted = set(self.topics if topics is None else topics)
        chosen = (message for message in self.messages if message.topic in wanted)
        return send(producer, chosen, times=times, spread=spread)

    def copy(self, topic: str, name: str) -> list[SimulatedMessage]:
        """A whole topic under another name, byte by byte, as after a repair at the broker's."""
        return [replace(message, topic=name) for message in self.messages if message.topic == topic]

    def _dice(self, what: str) -> random.Random:
        """For one thing, so that more objects leave the others as they are."""
        return random.Random(f"{self._seed}/{what}")  # noqa: S311  (nothing secret)

    # --- messages --------------------------------------------------------------------------------------------------

    def _messages(self) -> Iterator[SimulatedMessage]:
        for number, item in enumerate(self.objects):
            dice = self._dice(f"story/{number}")
            framing = self._framings[number % len(self._framings)]
            for moment in story(dice, item, len(self.days)):
                schema = self._stamps if moment.stamp else self._light_curves
                if schema is not None:
                    yield self._message(schema, item, moment, framing, dice)

    def _message(
        self, schema: str, item: SimulatedObject, moment: Moment, framing: Framing, dice: random.Random
    ) -> SimulatedMessage:
        sent = self._sent(moment.when)
        classes = classes_of(schema, stamp=moment.stamp)
        best = moment.class_name if moment.class_name in classes else "bogus"  # satellites, before they had a class
        shares = probabilities(dice, classes, best, moment.least)
        prefix = _TOPICS.get(schema, "stamp_classifier" if moment.stamp else "lc_classifier")
        alert_number = 3_000_000_000_000_000_000 + dice.randrange(10**17)
        look = Look(item, alert_number, prefix, best, shares, moment.least, sent, dice)
        value = encode(record_of(schema, look), schema, framing)
        return SimulatedMessage(
            topic=prefix if prefix in _UNDATED else f"{prefix}_{self._day(sent)}",
            key=item.oid.encode() if moment.stamp else None,
            value=value,
            oid=item.oid if names_objects(schema) else "",
            sent=sent,
            classifier=prefix if names_objects(schema) or is_named_inside(schema) else "",
            said=Said(best, shares[best]),
        )

    # --- days --------------------------------------------------------------------------------------------------------

    def _sent(self, when: float) -> datetime:
        first, last = (self._change(day) for day in (self.days[0], self.days[-1]))
        begin = first - timedelta(hours=_HOURS_BEFORE)
        return begin + (last - begin) * when

    @staticmethod
    def _change(day: str) -> datetime:
        """When the producers turn away from the topic of this day."""
        midnight = datetime.strptime(day, "%Y%m%d").replace(tzinfo=timezone.utc)
        return midnight + timedelta(hours=_CHANGE_HOUR)

    def _day(self, sent: datetime) -> str:
        return next((day for day in self.days if sent < self._change(day)), self.days[-1])

    # --- mishaps -------------------------------------------------------------------------------------------------------

    def _handed_over(self, messages: Sequence[SimulatedMessage]) -> list[SimulatedMessage]:
        """With the last message of each day, which the topic of the next day gets as well."""
        last: Mapping[str, SimulatedMessage] = {message.topic: message for message in messages}
        both: list[SimulatedMessage] = []
        for message in messages:
            both.append(message)
            day = self._day(message.sent)
            if last[message.topic] is message and message.topic.endswith(f"_{day}") and day != self.days[-1]:
                following = self.days[self.days.index(day) + 1]
                both.append(replace(message, topic=f"{message.topic.removesuffix(day)}{following}"))
        return both

    def _again(self, messages: Sequence[SimulatedMessage], share: float) -> list[SimulatedMessage]:
        dice = self._dice("twice")
        placed = [(float(number), message) for number, message in enumerate(messages)]
        placed += [(n + dice.uniform(0.5, _SOON), m) for n, m in list(placed) if dice.random() < share]
        return [message for _, message in sorted(placed, key=lambda pair: pair[0])]

    def _broken(self) -> Iterator[SimulatedMessage]:
        stamps, curves = (f"{name}_{self.days[0]}" for name in ("stamp_classifier", "lc_classifier"))
        item, dice = self.objects[0], self._dice("broken")
        whole = self._message("stamp_classifier_2025", item, Moment(0.0, True, "SN", 0.5), "container", dice)
        failed = {"oid": item.oid, "error": "no features"}
        for topic, value, oid in (
            (stamps, whole.value[:-9], ""),
            (curves, b"\x93no Avro at all", ""),
            (stamps, json.dumps(failed).encode(), item.oid),
        ):
            yield SimulatedMessage(topic, None, value, oid, self._sent(0.0))
