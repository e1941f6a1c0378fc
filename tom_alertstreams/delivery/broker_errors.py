"""Errors and log lines of the Kafka client: which mean that we are refused, and how often the others are told."""

from __future__ import annotations

import logging
import re
import time
from typing import Any

from confluent_kafka import KafkaError

from tom_alertstreams.exceptions import AuthenticationFailed
from tom_alertstreams.logs import get_logger
from tom_alertstreams.redaction import redact

from .runs import Status

logger = get_logger(__name__)
#: librdkafka's own log lines, under a name of their own.
_client_log = get_logger("tom_alertstreams.librdkafka")

#: The broker knows what we want and says no.
REFUSALS = frozenset(
    {
        KafkaError._AUTHENTICATION,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
    }
)

_NEXT_STEP = {
    KafkaError._AUTHENTICATION: "Check the user name and the password, and the SASL mechanism.",
    KafkaError.SASL_AUTHENTICATION_FAILED: "Check the user name and the password, and the SASL mechanism.",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "Check GROUP_ID: many brokers want it to begin with your user name.",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "Ask the broker for access to the topic; the other topics go on.",
    KafkaError.UNKNOWN_TOPIC_OR_PART: "Nothing was sent there yet, or its name is wrong; the other topics go on.",
}

#: The same error of the same topic is logged once in so many seconds.
_REPEAT_S = 3600.0
_NUMBERS = re.compile(r"\d+")
_KINDS_KEPT = 200


class ErrorMemory:
    """Logs each kind of error once an hour, and remembers that the broker refused us."""

    def __init__(self, status: Status) -> None:
        self._status = status
        self._told: dict[tuple[int, str | None], float] = {}
        self._refusal: KafkaError | None = None
        #: Set by librdkafka; cleared by the loop when a broker answers.
        self.all_brokers_down = False

    def note(self, error: KafkaError, topic: str | None = None) -> None:
        """Take an error in; also librdkafka's ``error_cb``, which runs inside ``poll``."""
        if error.code() in REFUSALS:
            self._refusal = error
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self.all_brokers_down = True
        text = f"{topic}: {describe_refusal(error)}" if topic else describe_refusal(error)
        now, key = time.monotonic(), (error.code(), topic)
        if now - self._told.get(key, float("-inf")) >= _REPEAT_S:
            self._told[key] = now
            self.remember(text)

    def remember(self, text: str) -> None:
        """Log something that went wrong, and keep it for the row of this run."""
        self._status.last_error = text
        logger.warning("%s: %s", self._status.label, text, extra={"stream": self._status.label})

    def raise_refusal(self) -> None:
        """:raises AuthenticationFailed: the broker has refused us since the last call."""
        if self._refusal is not None:
            error, self._refusal = self._refusal, None
            raise AuthenticationFailed(describe_refusal(error), stream=self._status.label)


class ClientLog:
    """A ``logger`` for librdkafka that passes each kind of line on once an hour: lines that differ in numbers only are alike.

    While a broker is away the client says so some 20 times a second.
    """

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._told: dict[str, float] = {}

    def log(self, level: int, form: str, *args: Any) -> None:
        """Called by the client, inside ``poll``."""
        text = form % args
        if level > logging.DEBUG:  # whoever has set "debug" in CONFIG wants all of that
            kind, now = _NUMBERS.sub("#", text), time.monotonic()
            if now - self._told.get(kind, float("-inf")) < _REPEAT_S:
                return
            if len(self._told) >= _KINDS_KEPT:
                self._told.clear()
            self._told[kind] = now
        _client_log.log(level, "%s: %s", self._stream, redact(text), extra={"stream": self._stream})


def describe_refusal(error: KafkaError) -> str:
    """The broker's words and the next step."""
    return redact(f"{error.str()} ({error.name()}). {_NEXT_STEP.get(error.code(), '')}".strip())
