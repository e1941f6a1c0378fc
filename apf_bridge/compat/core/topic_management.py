"""``apf.core.topic_management``: topics whose names carry a date."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from typing import Any, Final

#: How many digits a code of strftime has.
_DIGITS: Final = {"%Y": 4, "%m": 2, "%d": 2, "%y": 2, "%j": 3, "%H": 2}


def utc_now() -> datetime:
    return datetime.now(timezone.utc)


def day_pattern(date_format: str, anything: str) -> str:
    """What a date looks like in the name of a topic. No ``\\d``: librdkafka's regular expressions are POSIX.

    :param anything: for codes of strftime that are no digits: ``.*``, or ``*`` in a glob.
    """
    return re.sub("%.", lambda code: "[0-9]" * _DIGITS[code[0]] if code[0] in _DIGITS else anything, date_format)


class GenericTopicStrategy:
    """Which topics there are to read, or to write to."""

    def get_topics(self) -> list[str]:
        """All topics to read now."""
        return []


@dataclass(frozen=True)
class Topic:
    """One topic of one day."""

    name: str
    date: date
    name_format: str
    date_format: str

    def __str__(self) -> str:
        return self.name


class DailyTopicStrategy(GenericTopicStrategy):
    """One topic a day for each format, by the calendar of UTC.

    The list depends on the clock only: the last ``retention_days`` days with today, and from ``change_hour`` on
    tomorrow too. A consumer of ours looks for :meth:`patterns` on the broker instead, and reads the days that it has: a
    topic is named after the night of its data, which may be another day than the clock's.

    :param topic_format: one name or several, with ``%s`` for the date.
    :param date_format: as for ``strftime``.
    :param change_hour: the hour of UTC from which on tomorrow's topic is in use; 24 waits for midnight.
    :param retention_days: how many days are read, today among them, whatever the number of formats.
    """

    #: Those that a subclass has set.
    _topics: list[Any] | None = None

    def __init__(
        self,
        topic_format: str | list[str] = "ztf_%s_programid1",
        date_format: str = "%Y%m%d",
        change_hour: int = 22,
        retention_days: int = 8,
    ) -> None:
        self.topic_formats = list(topic_format) if isinstance(topic_format, list | tuple) else [topic_format]
        for name in self.topic_formats:
            if name.count("%s") != 1:
                raise ValueError(f"topic_format {name!r} needs one %s, where the date goes.")
        if retention_days < 1:
            raise ValueError(f"retention_days is {retention_days}; today alone is 1.")
        self.date_format = date_format
        self.change_hour = change_hour
        self.retention_days = retention_days

    @property
    def topics(self) -> list[Any]:
        """Oldest day first. A subclass may set them: there are no others then."""
        if self._topics is not None:
            return self._topics
        now = utc_now()
        newest = 1 if now.hour >= self.change_hour else 0
        return [topic for day in range(1 - self.retention_days, newest + 1) for topic in self._of(now, day)]

    @topics.setter
    def topics(self, topics: list[Any]) -> None:
        self._topics = topics

    def get_topics(self) -> list[str]:
        """All topics to read now."""
        return [str(topic) for topic in self.topics]

    @property
    def _has_its_own_names(self) -> bool:
        """A subclass has its own way to name topics."""
        own = type(self)
        overridden = own.get_topics is not DailyTopicStrategy.get_topics or own.topics is not DailyTopicStrategy.topics
        return overridden or self._topics is not None

    def topics_to_produce(self) -> list[str]:
        """The topics to write to now, one for each format: today's, and from ``change_hour`` on tomorrow's.

        Those of ``get_topics`` where a subclass has its own way to name topics.
        """
        if self._has_its_own_names:
            return self.get_topics()
        now = utc_now()
        return [topic.name for topic in self._of(now, 1 if now.hour >= self.change_hour else 0)]

    def patterns(self) -> list[str]:
        """Regular expressions by which the topics are found on a broker, whose days may not be the clock's.

        Empty where a subclass has its own way to name topics.
        """
        if self._has_its_own_names:
            return []
        day = day_pattern(_quoted(self.date_format), ".*")
        return [f"^{_quoted(name).replace('%s', day)}$" for name in self.topic_formats]

    def _of(self, now: datetime, days: int) -> list[Topic]:
        day = now + timedelta(days=days)
        text = day.strftime(self.date_format)
        return [Topic(name % text, day.date(), name, self.date_format) for name in self.topic_formats]


def _quoted(text: str) -> str:
    return text.replace(".", "[.]")


def topics_to_produce(strategy: Any) -> list[str]:
    """Where what is written now goes: the current topics, not all that are still read. Steps' own strategies have one list."""
    topics = strategy.topics_to_produce() if hasattr(strategy, "topics_to_produce") else strategy.get_topics()
    return list(topics)
