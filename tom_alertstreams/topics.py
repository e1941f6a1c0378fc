"""Topic names: which key of TOPIC_HANDLERS a topic belongs to, and what the broker is asked to subscribe to."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

EVERYTHING = "*"
#: Kafka's own topics (``__consumer_offsets``) begin so; the key ``*`` never means them.
INTERNAL = "__"
#: Topics on which a provider sends something every second, or every minute, so that who listens knows that the connection
#: lives. They are no alerts of the sky: what tells when the last alert came, or how many came, leaves them out.
HEARTBEAT_TOPICS: Final = ("gcn.heartbeat", "sys.heartbeat", "sys.heartbeat-cit")


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
    """A glob as an anchored regular expression that Python and POSIX read alike. What is no class in it is meant literally."""
    regex = "".join(_of_part(part, as_class=len(part) > 1) for part in _GLOB_PARTS.findall(key))
    try:
        re.compile(regex)
    except re.error:  # as [z-a]
        regex = "".join(_of_part(character, as_class=False) for character in key)
    return f"^{regex}$"


#: A class, as ``[0-9]``, ``[!a]`` or ``[]a]``; else one character.
_GLOB_PARTS: Final = re.compile(r"\[[!^]?\]?[^\]]*\]|.", re.DOTALL)


def _of_part(part: str, *, as_class: bool) -> str:
    if as_class:
        return f"[^{part[2:]}" if part[1] == "!" else part
    if part in "*?":
        return ".*" if part == "*" else "."
    if part in "^\\[":
        return f"\\{part}"
    return f"[{part}]" if part in ".+()|${}" else part


def _as_posix(pattern: str) -> str:
    if pattern.startswith("^"):
        return pattern
    # A prefix match. Python's classes that POSIX lacks are spelt out.
    posix = pattern.replace(r"\d", "[0-9]").replace(r"\w", "[A-Za-z0-9_]").replace(r"\.", "[.]")
    return f"^{posix}"
