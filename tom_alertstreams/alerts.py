"""The envelope every alert travels in, and what a handler may answer. Knows nothing of Django or of any broker."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

Headers = tuple[tuple[str, bytes | None], ...]

_UNDECODED: Final = object()


@dataclass(frozen=True, eq=False, init=False)
class Alert:
    """One message of one topic, with its coordinates.

    ``raw`` never changes. ``content`` is decoded when it is first read and kept; a handler that changes it
    changes its own copy only: a second try gets a :meth:`fresh` envelope.
    """

    #: Label of the stream (LABEL in ALERT_STREAMS).
    stream: str
    topic: str
    partition: int
    offset: int
    key: bytes | None
    #: Kafka headers in the order they were sent; a name may occur more than once.
    headers: Headers
    #: When the broker or the producer says it was sent (UTC), or None.
    timestamp: datetime | None
    #: The bytes as they came; None is a tombstone.
    raw: bytes | None = field(repr=False)
    _decode: Callable[[Alert], Any] | None = field(default=None, repr=False)
    _content: Any = field(default=_UNDECODED, repr=False)

    def __init__(
        self,
        stream: str,
        topic: str,
        partition: int,
        offset: int,
        key: bytes | None,
        headers: Headers,
        timestamp: datetime | None,
        raw: bytes | None,
        _decode: Callable[[Alert], Any] | None = None,
        _content: Any = _UNDECODED,
    ) -> None:
        # What dataclass makes of frozen takes twice as long, and an envelope is made of each message.
        fields = self.__dict__
        fields["stream"], fields["topic"], fields["partition"], fields["offset"] = stream, topic, partition, offset
        fields["key"], fields["headers"], fields["timestamp"], fields["raw"] = key, headers, timestamp, raw
        fields["_decode"], fields["_content"] = _decode, _content

    @property
    def content(self) -> Any:
        """The decoded value: a dict for JSON and Avro, str for text, bytes for what has no decoder.

        :raises DecodeError: the bytes are not what the stream's format says.
        """
        if self._content is _UNDECODED:
            value = self.raw if self._decode is None else self._decode(self)
            object.__setattr__(self, "_content", value)
        return self._content

    def fresh(self) -> Alert:
        """The same alert, not yet decoded."""
        return Alert(
            self.stream, self.topic, self.partition, self.offset, self.key, self.headers, self.timestamp, self.raw,
            self._decode,
        )  # fmt: skip

    @property
    def size(self) -> int:
        """Bytes of the value."""
        return len(self.raw) if self.raw is not None else 0

    @property
    def digest(self) -> str:
        """SHA-256 of the raw bytes in hex: the identity of an alert that brings no id of its own."""
        return hashlib.sha256(self.raw or b"").hexdigest()

    @property
    def coordinates(self) -> str:
        """For people: ``topic[partition]@offset``."""
        return f"{self.topic}[{self.partition}]@{self.offset}"


OutcomeKind = Literal["done", "rejected", "failed", "retry"]


@dataclass(frozen=True)
class Outcome:
    """What became of one alert. A batch handler may return one per alert; make them with the class methods."""

    kind: OutcomeKind
    code: str = ""
    object_id: str = ""
    error: Exception | None = None
    delay_s: float = 0.0
    give_up_after_s: float | None = None
    #: Why it was rejected, in words for whoever tries the alert out; never stored.
    reason: str = field(default="", compare=False)

    @classmethod
    def done(cls) -> Outcome:
        """The alert is handled."""
        return _DONE

    @classmethod
    def rejected(cls, code: str, object_id: str = "", reason: str = "") -> Outcome:
        """The alert is not for us. Counted under ``code``; what the handler wrote for it stays.

        :param reason: what decided, in words; ``tryalert`` shows it.
        """
        return cls("rejected", code=code, object_id=object_id, reason=reason)

    @classmethod
    def failed(cls, error: Exception) -> Outcome:
        """This alert failed and the others of the list did not. Only for alerts that nothing was written for."""
        return cls("failed", error=error)

    @classmethod
    def retry(cls, delay_s: float, reason: str = "", give_up_after_s: float | None = None) -> Outcome:
        """Not yet: try again in ``delay_s`` seconds; see :class:`~tom_alertstreams.exceptions.RetryLater`."""
        return cls("retry", code=reason, delay_s=delay_s, give_up_after_s=give_up_after_s)


_DONE: Final = Outcome("done")
