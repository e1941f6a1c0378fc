"""Sends what one producer of an outlet has put out: librdkafka's client, what it has in hand, and what its broker says."""

from __future__ import annotations

import base64
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from django.db.models import F
from django.utils import timezone

from tom_alertstreams.delivery.broker_errors import ClientLog
from tom_alertstreams.logs import get_logger
from tom_alertstreams.redaction import redact

from .client_config import client_config
from .models import OutboxMessage

logger = get_logger(__name__)

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0
#: Rows that one UPDATE marks.
_MARKED_AT_ONCE: Final = 2000

#: A message is at fault, not the broker: it is refused however often it is sent. A broker says so of a whole request, in
#: which others may be well.
_REFUSALS: Final = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_TIMESTAMP,
    }
)


@dataclass
class _InHand:
    """What librdkafka has, since the last time it was told to forget everything."""

    #: Rows that were handed over and not reported yet.
    rows: set[int]
    #: Reports that are not in the database yet.
    delivered: list[int]
    refused: list[tuple[int, str]]
    failed: list[tuple[int, str]]
    #: Rows of requests that were refused for one of them.
    doubted: list[int]

    @classmethod
    def nothing(cls) -> _InHand:
        return cls(set(), [], [], [], [])


class Sender:
    """Sends what one producer of an outlet has put out, in its order. Used from the thread of the stream only.

    :param name: of the producer.
    :param params: name of each producer → its PARAMS.
    """

    def __init__(self, outlet: str, name: str, params: Mapping[str, Mapping[str, Any]], log: ClientLog) -> None:
        self._outlet, self._name, self._params, self._log = outlet, name, params, log
        self._client: Producer | None = None
        self._in_hand = _InHand.nothing()
        self._blocked_until = 0.0
        self._pause_s = _FIRST_PAUSE_S
        self._told: set[str] = set()
        #: How many messages it may have in hand; and how many while it looks for the one that a request is refused for.
        self.most = 0
        self._at_once = math.inf
        #: More waits for it in the outbox than it took.
        self.has_more = False

    @property
    def in_hand(self) -> set[int]:
        """Rows that were handed over and not reported yet."""
        return self._in_hand.rows

    @property
    def room(self) -> int:
        """How many messages it takes now: none for a while after a failure."""
        if time.monotonic() < self._blocked_until:
            return 0
        return max(0, int(min(self.most, self._at_once)) - len(self._in_hand.rows))

    @property
    def is_connected(self) -> bool:
        """It has a client to be polled."""
        return self._client is not None

    def unblock(self) -> None:
        """Try again now, whatever has failed."""
        self._blocked_until = 0.0

    # --- handing over ----------------------------------------------------------------------------------------------

    def send(self, rows: Iterable[OutboxMessage]) -> None:
        """Hand rows over, oldest first, until no more can be taken."""
        for row in rows:
            if not self._hand_over(row):
                break

    def _hand_over(self, row: OutboxMessage) -> bool:
        """False where nothing more can be handed over now."""
        in_hand, alone = self._in_hand, self._at_once == 1

        def reported(error: KafkaError | None, _message: Message | None) -> None:
            if row.pk not in in_hand.rows:
                return
            in_hand.rows.discard(row.pk)
            if error is None:
                in_hand.delivered.append(row.pk)
            elif _is_refusal(error, row, alone):
                in_hand.refused.append((row.pk, redact(error.str())))
            elif error.code() in _REFUSALS:
                in_hand.doubted.append(row.pk)
            else:
                in_hand.failed.append((row.pk, f"{redact(error.str())} (topic {row.topic})"))

        headers = [(name, None if text is None else base64.b64decode(text)) for name, text in row.headers]
        headers.append(("id", str(row.message_id).encode()))
        in_hand.rows.add(row.pk)
        try:
            self._connected().produce(
                row.topic, _bytes(row.value), _bytes(row.key), -1 if row.partition is None else row.partition,
                on_delivery=reported, timestamp=row.timestamp or 0, headers=headers,
            )  # fmt: skip
        except BufferError:  # librdkafka's queue is full
            in_hand.rows.discard(row.pk)
            self.has_more = True
            return False
        except KafkaException as error:
            alone = True  # no broker was asked
            reported(error.args[0], None)
            return _is_refusal(error.args[0], row, alone)
        return True

    def _connected(self) -> Producer:
        if self._client is None:
            config = {"error_cb": self._hear_error, **client_config(self._params[self._name])}
            self._client = Producer(config, logger=self._log)
        return self._client

    # --- reports ---------------------------------------------------------------------------------------------------

    def hear(self, timeout_s: float) -> None:
        """Serve the reports of librdkafka, and write them down."""
        if self._client is not None:
            self._client.poll(timeout_s)
        in_hand = self._in_hand
        if in_hand.delivered:
            done, moment = in_hand.delivered[:_MARKED_AT_ONCE], timezone.now()
            OutboxMessage.objects.filter(pk__in=done, state=OutboxMessage.State.PENDING).update(
                state=OutboxMessage.State.DELIVERED, delivered=moment, attempts=F("attempts") + 1, last_error=""
            )
            del in_hand.delivered[
                : len(done)
            ]  # only now: where the database was away they are written at the next turn
            self._pause_s = _FIRST_PAUSE_S
            self._at_once *= 2
            self._told.clear()
        while in_hand.refused:
            pk, reason = in_hand.refused[0]
            _note(pk, reason, OutboxMessage.State.REFUSED)
            logger.error("a message of %s was refused and is given up: %s (OutboxMessage %d)", self._outlet, reason, pk)
            in_hand.refused.pop(0)
        if in_hand.failed:
            pk, reason = in_hand.failed[0]
            _note(pk, reason, OutboxMessage.State.PENDING)
            self._back_off(reason)
        elif in_hand.doubted:
            self._narrow()

    def _narrow(self) -> None:
        """Begin again with the oldest, half as many at once, until the one at fault is alone. What is well doubles it again."""
        self._at_once = max(1, (len(self._in_hand.rows) + len(self._in_hand.doubted)) // 2)
        self.forget()
        self.has_more = True

    def _back_off(self, reason: str) -> None:
        """Begin again with the oldest message after a while: to send the later ones now would change the order."""
        self._tell(reason)
        self.forget()
        self.has_more = True
        self._blocked_until = time.monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)

    def forget(self) -> None:
        """Let librdkafka drop what it has not sent. What it was sending may come to the broker still, and again later."""
        client, self._client = self._client, None
        self._in_hand = _InHand.nothing()
        if client is not None:
            client.purge()
            client.poll(0)

    def _hear_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._tell("no broker answers")

    def _tell(self, reason: str) -> None:
        """Each reason once, until something is delivered again."""
        if reason not in self._told:
            self._told.add(reason)
            logger.warning(
                "%s", redact(f"the outbox of {self._outlet} waits with what the producer {self._name} sends: {reason}")
            )


def _note(pk: int, reason: str, state: str) -> None:
    OutboxMessage.objects.filter(pk=pk, state=OutboxMessage.State.PENDING).update(
        state=state, attempts=F("attempts") + 1, last_error=reason
    )


def _is_refusal(error: KafkaError, row: OutboxMessage, alone: bool) -> bool:
    """The message is at fault: also where no topic can be called as its own, or lacks the partition that the step named."""
    no_such_partition = row.partition is not None and error.code() == KafkaError._UNKNOWN_PARTITION
    return (alone and error.code() in _REFUSALS) or error.code() == KafkaError.TOPIC_EXCEPTION or no_such_partition


def _bytes(value: Any) -> bytes | None:
    """SQLite gives bytes, PostgreSQL a memoryview."""
    return None if value is None else bytes(value)
