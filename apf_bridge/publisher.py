"""Sends one outlet's messages, in the thread of its stream: a turn of the loop hands over what is new and hears reports.

Nothing here waits for a broker, except at the end of the stream. librdkafka sends in threads of its own; what it has
in hand is in the database until its report has come.
"""

from __future__ import annotations

import base64
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from django.db.models import F, Q
from django.utils import timezone

from tom_alertstreams.logs import get_logger
from tom_alertstreams.redaction import redact

from .models import OutboxMessage, Outlet

logger = get_logger(__name__)

#: Messages that librdkafka has in hand at most.
MOST_IN_HAND: Final = 2000
#: How long an outlet is ours without being renewed. Of a process that was killed the next one takes over after that.
LEASE: Final = timedelta(seconds=10)
#: How long to look at an outlet that seems empty, or that another process has.
_LOOK_EVERY_S: Final = 1.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0
#: How long the end of a stream waits until everything is out.
END_S: Final = 15.0
#: A full outbox is told when it has so many messages, and again at every doubling.
MANY: Final = 10_000
_COUNT_EVERY_S: Final = 60.0

#: Order is kept and no message expires: what is not sent waits. PARAMS of the step may say otherwise.
_DEFAULTS: Final = {"enable.idempotence": True, "message.timeout.ms": 0, "linger.ms": 5}
#: A message is at fault, not the broker: it is refused however often it is sent.
_REFUSALS: Final = frozenset(
    {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG, KafkaError.INVALID_RECORD, KafkaError.TOPIC_EXCEPTION}
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

    @classmethod
    def nothing(cls) -> _InHand:
        return cls(set(), [], [], [])


class Publisher:
    """Sends the messages of one outlet while this process has it.

    :param params: key of STEP_CONFIG → PARAMS of its producer; may grow.
    """

    def __init__(self, outlet_name: str, params: Mapping[str, Mapping[str, Any]]) -> None:
        self.name = outlet_name
        self._params = params
        self._me = uuid.uuid4()
        self._outlet: Outlet | None = None
        self._producers: dict[str, Producer] = {}
        self._in_hand = _InHand.nothing()
        self._renew_at = self._look_at = self._count_at = self._blocked_until = 0.0
        self._pause_s = _FIRST_PAUSE_S
        self._told_many = 0
        self._told = ""
        #: Something was put into the outbox, or more waits there than was taken.
        self.has_more = True

    def outlet(self) -> Outlet:
        """The row of the outlet, made if need be. Outside of any transaction, so that no batch waits for another's."""
        if self._outlet is None:
            self._outlet, _ = Outlet.objects.get_or_create(name=self.name)
        return self._outlet

    def turn(self) -> None:
        """Hear what was delivered, and hand over what is new. Waits for nothing but the database."""
        self._hear(0)
        now = time.monotonic()
        if now >= self._blocked_until and (self.has_more or now >= self._look_at):
            self._look(now)

    def end(self) -> None:
        """Send all that is there, for at most END_S, and let go of the outlet."""
        deadline = time.monotonic() + END_S
        self._blocked_until, self.has_more = 0.0, True
        try:
            while time.monotonic() < deadline:
                self.turn()
                if not self._in_hand.rows and not self._pending().exists():
                    break
                self._hear(0.05)
        finally:
            self._forget()
            Outlet.objects.filter(name=self.name, holder=self._me).update(holder=None, held_until=None)
            self._renew_at = self._look_at = 0.0
            self.has_more = True

    # --- handing over ----------------------------------------------------------------------------------------------

    def _look(self, now: float) -> None:
        self._look_at = now + _LOOK_EVERY_S
        if not self._hold(now):
            return
        for row in self._new_rows():
            if not self._hand_over(row):
                break
        self._tell_many(now)

    def _hold(self, now: float) -> bool:
        """Whether the outlet is ours. Where it was another's meanwhile, what we have in hand is no longer ours to send."""
        if now < self._renew_at:
            return True
        moment = timezone.now()
        free = Q(holder=self._me) | Q(holder=None) | Q(held_until__lt=moment)
        held = Outlet.objects.filter(free, pk=self.outlet().pk).update(holder=self._me, held_until=moment + LEASE)
        self._renew_at = now + LEASE.total_seconds() / 3 if held else 0.0
        if not held:
            self._forget()
        return bool(held)

    def _pending(self) -> Any:
        return OutboxMessage.objects.filter(outlet=self.outlet(), state=OutboxMessage.State.PENDING)

    def _new_rows(self) -> list[OutboxMessage]:
        """What is to be handed over now, oldest first."""
        room = MOST_IN_HAND - len(self._in_hand.rows)
        if room <= 0:
            return []
        # A row of a smaller id may have been committed after one that is in hand already.
        pks = list(self._pending().order_by("pk").values_list("pk", flat=True)[:MOST_IN_HAND])
        self.has_more = len(pks) == MOST_IN_HAND
        new = [pk for pk in pks if pk not in self._in_hand.rows][:room]
        return list(OutboxMessage.objects.filter(pk__in=new).order_by("pk")) if new else []

    def _hand_over(self, row: OutboxMessage) -> bool:
        """False where nothing more can be handed over now."""
        producer = self._producer(row.producer)
        if producer is None:
            self._tell(
                f"the outbox of {self.name} has messages for the producer {row.producer}, which STEP_CONFIG no longer names; "
                "they wait until it does"
            )
            return False
        in_hand = self._in_hand

        def reported(error: KafkaError | None, _message: Message | None) -> None:
            if row.pk not in in_hand.rows:
                return
            in_hand.rows.discard(row.pk)
            if error is None:
                in_hand.delivered.append(row.pk)
            elif error.code() in _REFUSALS:
                in_hand.refused.append((row.pk, redact(error.str())))
            else:
                in_hand.failed.append((row.pk, redact(error.str())))

        headers = [(name, None if text is None else base64.b64decode(text)) for name, text in row.headers]
        headers.append(("id", str(row.message_id).encode()))
        in_hand.rows.add(row.pk)
        try:
            producer.produce(
                row.topic, _bytes(row.value), _bytes(row.key), on_delivery=reported, headers=headers
            )  # fmt: skip
        except BufferError:  # librdkafka's queue is full
            in_hand.rows.discard(row.pk)
            self.has_more = True
            return False
        except KafkaException as error:
            reported(error.args[0], None)
            return error.args[0].code() in _REFUSALS
        return True

    def _producer(self, name: str) -> Producer | None:
        if name not in self._producers:
            params = self._params.get(name)
            if params is None:
                return None
            self._producers[name] = Producer({"log_level": 3, "error_cb": self._hear_error, **_DEFAULTS, **params})
        return self._producers[name]

    # --- reports ---------------------------------------------------------------------------------------------------

    def _hear(self, timeout_s: float) -> None:
        """Serve the reports of librdkafka, and write them down."""
        for producer in self._producers.values():
            producer.poll(timeout_s)
        if not self._producers and timeout_s:
            time.sleep(timeout_s)
        in_hand = self._in_hand
        if in_hand.delivered:
            done, moment = in_hand.delivered[:MOST_IN_HAND], timezone.now()
            OutboxMessage.objects.filter(pk__in=done, state=OutboxMessage.State.PENDING).update(
                state=OutboxMessage.State.DELIVERED, delivered=moment, attempts=F("attempts") + 1, last_error=""
            )
            del in_hand.delivered[
                : len(done)
            ]  # only now: where the database was away they are written at the next turn
            self._pause_s, self._told = _FIRST_PAUSE_S, ""
        while in_hand.refused:
            pk, reason = in_hand.refused[0]
            self._note(pk, reason, OutboxMessage.State.REFUSED)
            logger.error("a message of %s was refused and is given up: %s (OutboxMessage %d)", self.name, reason, pk)
            in_hand.refused.pop(0)
        if in_hand.failed:
            pk, reason = in_hand.failed[0]
            self._note(pk, reason, OutboxMessage.State.PENDING)
            self._back_off(reason)

    @staticmethod
    def _note(pk: int, reason: str, state: str) -> None:
        OutboxMessage.objects.filter(pk=pk, state=OutboxMessage.State.PENDING).update(
            state=state, attempts=F("attempts") + 1, last_error=reason
        )

    def _back_off(self, reason: str) -> None:
        """Begin again with the oldest message after a while: to send the later ones now would change the order."""
        self._tell(f"the outbox of {self.name} waits: {reason}")
        self._forget()
        self._blocked_until = time.monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)

    def _forget(self) -> None:
        """Let librdkafka drop what it has not sent. What it was sending may come to the broker still, and again later."""
        producers, self._producers = self._producers, {}
        self._in_hand = _InHand.nothing()
        for producer in producers.values():
            producer.purge()
            producer.poll(0)

    def _hear_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._tell(f"the outbox of {self.name} waits: no broker answers")

    def _tell(self, text: str) -> None:
        """Once for each incident."""
        if text != self._told:
            self._told = text
            logger.warning("%s", redact(text))

    def _tell_many(self, now: float) -> None:
        if now < self._count_at:
            return
        self._count_at = now + _COUNT_EVERY_S
        count = self._pending().count()
        if count >= max(MANY, 2 * self._told_many):
            self._told_many = count
            logger.warning("the outbox of %s has grown to %d messages that are not on the broker", self.name, count)
        elif count < MANY:
            self._told_many = 0


def _bytes(value: Any) -> bytes | None:
    """SQLite gives bytes, PostgreSQL a memoryview."""
    return None if value is None else bytes(value)
