"""Every error this app raises, in one tree. The docstring of a class is its default message."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured


class AlertStreamError(Exception):
    """An alert stream met a problem."""

    def __init__(
        self,
        message: str | None = None,
        *,
        stream: str | None = None,
        topic: str | None = None,
        partition: int | None = None,
        offset: int | None = None,
        hint: str | None = None,
        details: str = "",
    ) -> None:
        """
        :param message: what happened; the class's docstring where none is given.
        :param stream: label of the stream, as set by LABEL in ALERT_STREAMS.
        :param topic: Kafka topic, with ``partition`` and ``offset`` the coordinates of the alert.
        :param hint: what to do next, in one sentence.
        :param details: words of another error, a sentence or more: they may tell of an alert or of a row, so staff alone
            sees them.
        """
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        self.stream = stream
        self.topic = topic
        self.partition = partition
        self.offset = offset
        self.hint = hint
        self.details = details
        super().__init__(self.message)

    @property
    def where(self) -> str:
        """The coordinates that are known, for example ``hopskotch, hermes.test[0]@42``."""
        place = self.topic or ""
        if self.partition is not None:
            place += f"[{self.partition}]"
        if self.offset is not None:
            place += f"@{self.offset}"
        return ", ".join(part for part in (self.stream, place) if part)

    def __str__(self) -> str:
        return self._text(self.details)

    @property
    def public(self) -> str:
        """The same without the details."""
        return self._text("")

    def _text(self, details: str) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return " ".join(filter(None, (text, details, self.hint)))


class ConfigurationError(AlertStreamError, ImproperlyConfigured):
    """ALERT_STREAMS in settings.py cannot be used as it is."""


class TransientError(AlertStreamError):
    """Something outside is away for now. The stream waits and tries again; no attempt is spent."""


class BrokerUnavailable(TransientError):
    """The Kafka broker does not answer."""


class LookUpUnavailable(TransientError):
    """A service that a handler asks before it writes does not answer."""


class PermanentError(AlertStreamError):
    """This alert cannot be handled, however often it is tried."""


class DecodeError(PermanentError):
    """The bytes of the alert are not what the stream's format says."""


class NoHandler(PermanentError):
    """No key of TOPIC_HANDLERS matches the topic of this alert."""


class HandlerExit(PermanentError):
    """The handler called sys.exit()."""


class HandlerAborted(AlertStreamError):
    """The handler raised what is no Exception."""


class FatalStreamError(AlertStreamError):
    """This stream cannot run."""


class AuthenticationFailed(FatalStreamError):
    """The broker refuses the user name, the password or the consumer group."""


class StreamStopped(FatalStreamError):
    """This stream has stopped and is not started again by itself: somebody has to look."""

    #: What :class:`~tom_alertstreams.models.StreamRun` calls it.
    state = "down"


class FuseBlown(StreamStopped):
    """So many alerts failed that the handler must be at fault, not the alerts."""

    state = "fuse"


class TakenOver(StreamStopped):
    """Another database reads with this consumer group."""

    state = "taken"


class AlertsMissing(StreamStopped):
    """Alerts were deleted by the broker before they were read, or the topic was made anew."""

    state = "gap"


class PartitionLost(AlertStreamError):
    """Another consumer has moved the offset of this partition: our transaction must not commit."""


class BrokenTransaction(AlertStreamError):
    """The handler swallowed a database error and left its transaction broken."""


class RejectAlert(Exception):
    """Raise in a handler to say: this alert is not for us. It is counted under ``code``, not kept as a dead letter."""

    def __init__(self, code: str, object_id: str = "", reason: str = "") -> None:
        """
        :param code: a short word (at most 32 characters), for example ``"limit"``; counts are kept per code.
        :param object_id: the object the alert was about, so that "why was it not ingested?" can be answered.
        :param reason: what decided, in words; ``tryalert`` shows it.
        """
        self.code = code
        self.object_id = object_id
        self.reason = reason
        super().__init__(code)


class RetryLater(Exception):
    """Raise in a handler to say: not yet. The alert waits in the database and the rest goes on."""

    def __init__(self, delay_s: float, reason: str = "", give_up_after_s: float | None = None) -> None:
        """
        :param delay_s: seconds until the next try.
        :param reason: shown with the waiting alert.
        :param give_up_after_s: seconds after the first try from which the alert becomes a dead letter;
            ``None`` counts the tries against the topic's RETRY instead.
        """
        self.delay_s = delay_s
        self.reason = reason
        self.give_up_after_s = give_up_after_s
        super().__init__(reason or f"again in {delay_s:g} s")


def describe(error: BaseException) -> dict[str, Any]:
    """The coordinates of an error as ``extra`` for a log record."""
    names = ("stream", "topic", "partition", "offset")
    return {name: getattr(error, name) for name in names if getattr(error, name, None) is not None}
