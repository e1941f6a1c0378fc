"""Topic names: which key of TOPIC_HANDLERS a topic belongs to, and what the broker is asked to subscribe to."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

EVERYTHING = "*"
#: Kafka's own topics (``__consumer_offsets``) begin so; the key ``*`` never means them.
INTERNAL = "__"


def is_pattern(key: str) -> bool:
    """Whether a key of TOPIC_HANDLERS stands for more than one topic."""
    return any(character in key for character in "*?[")


class TopicKeys:
    """The keys of one TOPIC_HANDLERS.

    A topic belongs to the key that is its exact name; else to the first glob, in the order of the dict, that
    matches; else to ``*``; else to none.

    :param prefix_regex: read keys with ``*`` as tom-alertstreams 1.x read them for Hopskotch: ``re.match(key, topic)``,
        a regular expression that need only match the beginning. So ``hermes.*`` also takes ``hermesX``.
    """

    def __init__(self, keys: Iterable[str], *, prefix_regex: bool = False) -> None:
        self.keys = tuple(keys)
        self._exact = frozenset(self.keys)
        self._patterns = tuple(
            (key, _as_regex(key, prefix_regex)) for key in self.keys if is_pattern(key) and key != EVERYTHING
        )
        self._everything = EVERYTHING in self._exact
        self.match = lru_cache(maxsize=4096)(self._match)

    def _match(self, topic: str) -> str | None:
        if topic in self._exact and topic != EVERYTHING:
            return topic
        for key, regex in self._patterns:
            if regex.match(topic):
                return key
        if self._everything and not topic.startswith(INTERNAL):
            return EVERYTHING
        return None

    def subscription(self) -> list[str]:
        """Names and ``^`` regular expressions for ``Consumer.subscribe``.

        librdkafka's regular expressions are POSIX: ``\\d`` matches nothing in them, so none is made here.
        """
        if self._everything:
            return ["^_?[^_].*", *sorted(k for k in self._exact if k.startswith(INTERNAL) and not is_pattern(k))]
        literal = [key for key in self.keys if not is_pattern(key)]
        return [*literal, *(_as_posix(regex.pattern) for _, regex in self._patterns)]

    def in_order(self, topics: Iterable[str]) -> list[str]:
        """Topics of one key in the order in which they are shown: what matters most comes first."""
        return sorted(topics)

    @staticmethod
    def glob_agrees(key: str, topic: str) -> bool:
        """Whether ``topic``, which ``key`` took, would also match ``key`` read as a glob. Where not, warn the user."""
        return key == topic or re.match(glob_regex(key), topic) is not None


def _as_regex(key: str, prefix_regex: bool) -> re.Pattern[str]:
    if prefix_regex and "*" in key:
        try:
            return re.compile(key)
        except re.error:  # "*.text" is a glob and no regular expression
            pass
    return re.compile(glob_regex(key))


def glob_regex(key: str) -> str:
    """A glob as an anchored regular expression that Python and POSIX read alike."""
    parts = []
    for character in key:
        if character == "*":
            parts.append(".*")
        elif character == "?":
            parts.append(".")
        elif character in ".+()|^${}\\":
            parts.append(f"[{character}]" if character not in "^\\" else f"\\{character}")
        else:
            parts.append(character)
    return f"^{''.join(parts)}$"


def _as_posix(pattern: str) -> str:
    if pattern.startswith("^"):
        return pattern
    # A prefix match. Python's classes that POSIX lacks are spelt out.
    posix = pattern.replace(r"\d", "[0-9]").replace(r"\w", "[A-Za-z0-9_]").replace(r"\.", "[.]")
    return f"^{posix}"
