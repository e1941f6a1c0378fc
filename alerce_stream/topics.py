"""ALeRCE's topics: a new one every day for each classifier, found on the broker and never computed from a clock.

ALeRCE names a topic after the date of the data, which lags the calendar, and makes it when the first data flow. A list
of names computed from the clock misses the evening before a restart and the hours around midnight.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from tom_alertstreams.exceptions import ConfigurationError
from tom_alertstreams.topics import TopicKeys, is_pattern

#: What follows the prefix of a daily topic. No ``\d``: librdkafka's regular expressions are POSIX and do not know it.
_DAY: Final = "_[0-9]{8}"
_DAILY: Final = re.compile(f"^(.+){_DAY}$")
#: Letters of the names of topics, and those of globs.
_KEY: Final = re.compile(r"[A-Za-z0-9._*?\[\]!-]+")
#: How a date is written in regular expressions, and in the settings of ALeRCE's own programs.
_ANY_DAY: Final = re.compile(r"_?(%s|\.[*+]|(\\d|\[0-9\])(\{8\}|[*+])?)?$")


class DailyTopicKeys(TopicKeys):
    """Keys of TOPIC_HANDLERS for topics that carry a date.

    A key without ``*``, ``?`` or ``[`` is the prefix of daily topics: ``lc_classifier`` takes ``lc_classifier_20261101``,
    and not ``lc_classifier_ztf_20261101``, which has other contents. It also takes the topic that is called just so:
    ``rubin_stamp_classifier`` has no date, and ``lc_classifier_20261101`` is that one day. Such keys win over globs,
    an exact name over a prefix; the rest is as for any Kafka stream.

    :raises ConfigurationError: a key is a regular expression.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        keys = tuple(keys)
        for key in keys:
            _check(key)
        super().__init__(keys)
        self._prefixes = frozenset(key for key in keys if not is_pattern(key))
        self._globs = TopicKeys(key for key in keys if is_pattern(key))

        def match(topic: str) -> str | None:
            return self._by_prefix(topic) or self._globs.match(topic)

        self.match = lru_cache(maxsize=4096)(match)

    def subscription(self) -> list[str]:
        """``^`` regular expressions for ``Consumer.subscribe``."""
        # A regular expression also for a plain name: a listed topic that does not exist is an error on every refresh.
        daily = [f"^{_quoted(prefix)}({_DAY})?$" for prefix in sorted(self._prefixes)]
        return [*daily, *self._globs.subscription()]

    def in_order(self, topics: Iterable[str]) -> list[str]:
        """The newest day first: names of days long gone may stay listed."""
        return sorted(topics, key=lambda topic: (topic[len(classifier_of(topic)) :], topic), reverse=True)

    def _by_prefix(self, topic: str) -> str | None:
        for name in (topic, classifier_of(topic)):
            if name in self._prefixes:
                return name
        return None


def classifier_of(topic: str) -> str:
    """The name of a topic without its date: ``lc_classifier_20261101`` → ``lc_classifier``."""
    daily = _DAILY.match(topic)
    return daily[1] if daily else topic


def _check(key: str) -> None:
    """A regular expression would be read as a name, or as a glob, and match no topic: it is refused.

    :raises ConfigurationError: it is one, or a prefix with its last ``_``.
    """
    if _KEY.fullmatch(key) and ".*" not in key and not key.endswith("_"):
        return
    prefix = _ANY_DAY.sub("", key.removeprefix("^").removesuffix("$")).rstrip("_")
    if _KEY.fullmatch(prefix) and not is_pattern(prefix):
        hint = f"Write {prefix!r}: it takes the topics of every day."
    else:
        hint = "Write one key for each classifier, as 'lc_classifier', or a glob, as 'lc_*'."
    raise ConfigurationError(
        f"TOPIC_HANDLERS[{key!r}] would match no topic: keys are no regular expressions.", hint=hint
    )


def _quoted(text: str) -> str:
    """The text as a regular expression that Python and POSIX read alike. Topic names hold letters, digits, ``._-``."""
    return text.replace(".", "[.]")
