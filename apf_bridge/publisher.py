"""Sends one outlet's messages, in the thread of its stream: a turn of the loop hands over what is new and hears reports.

Nothing here waits for a broker, except at the end of the stream. librdkafka sends in threads of its own; what it has
in hand is in the database until its report has come. Each producer has its own part of that: no broker holds another one's up.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any, Final

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from tom_alertstreams.delivery.broker_errors import ClientLog
from tom_alertstreams.logs import get_logger

from .models import OutboxMessage, Outlet
from .producer_names import sender_of
from .sender import Sender

logger = get_logger(__name__)

#: Messages that librdkafka has in hand for an outlet, in equal parts for the producers that something waits for. Who had more,
#: as nothing waited for the others yet, keeps that until it is reported.
MOST_IN_HAND: Final = 2000
#: How long an outlet is ours without being renewed, at least. Of a process that was killed the next one takes over after that.
LEASE: Final = timedelta(seconds=10)
LONGEST_LEASE: Final = timedelta(minutes=10)
#: How long to look at an outlet that seems empty, or that another process has.
_LOOK_EVERY_S: Final = 1.0
#: How long an outlet is kept where messages wait for a producer that the step does not have here: another process may have it,
#: where the step makes it on demand.
_KEPT_WITH_ORPHANS_S: Final = 10.0
#: How long the end of a stream waits until everything is out.
END_S: Final = 15.0
#: A full outbox is told when it has so many messages, and again at every doubling.
MANY: Final = 10_000
_COUNT_EVERY_S: Final = 60.0


class Publisher:
    """Sends the messages of one outlet while this process has it.

    :param params: name of each producer → its PARAMS; may grow.
    """

    def __init__(self, outlet_name: str, params: Mapping[str, Mapping[str, Any]]) -> None:
        self.name = outlet_name
        self._params = params
        self._me = uuid.uuid4()
        self._outlet: Outlet | None = None
        self._senders: dict[str, Sender] = {}
        self._renew_at = self._look_at = self._count_at = self._blocked_until = self._held_since = 0.0
        #: When the last turn was, and the longest time between two: a batch is handled there, in which nothing is renewed.
        self._turned_at: float | None = None
        self._longest_s = 0.0
        self._told_many = 0
        self._told_orphans: set[str] = set()
        self._client_log = ClientLog(outlet_name)
        #: Another process has the outlet.
        self._refused = False
        #: Something was put into the outbox, or more waits there than was taken.
        self.has_more = True

    def outlet(self) -> Outlet:
        """The row of the outlet, made if need be. A turn makes it outside of any transaction: no batch waits for another's."""
        if self._outlet is not None:
            return self._outlet
        outlet, _ = Outlet.objects.get_or_create(name=self.name)
        transaction.on_commit(partial(setattr, self, "_outlet", outlet))  # of a batch that is undone nothing is there
        return outlet

    def turn(self) -> None:
        """Hear what was delivered, and hand over what is new. Waits for nothing but the database."""
        self._hear(0)
        now = time.monotonic()
        if self._turned_at is not None:
            self._longest_s = max(self._longest_s, now - self._turned_at)
        self._turned_at = now
        has_more = self.has_more or any(sender.has_more and sender.room for sender in self._senders.values())
        if now >= self._blocked_until and (has_more or now >= self._look_at):
            self._look(now)

    def end(self) -> None:
        """Send all that is there, for at most END_S, and let go of the outlet. What another process has is left to it."""
        deadline = time.monotonic() + END_S
        self._blocked_until, self.has_more = 0.0, True
        for sender in self._senders.values():
            sender.unblock()
        try:
            while time.monotonic() < deadline:
                self.turn()
                if self._refused or not (self._in_hand or self._waiting()[0]):
                    break
                self._hear(0.05)
        finally:
            self._let_go()
            self._look_at = 0.0
            self._turned_at = None
            self.has_more = True

    # --- handing over ----------------------------------------------------------------------------------------------

    def _look(self, now: float) -> None:
        self._look_at = now + _LOOK_EVERY_S
        self._refused = not self._hold(now)
        if self._refused:
            self._blocked_until = self._look_at
            return
        waiting, orphans = self._waiting()
        if orphans and not self._in_hand and now >= self._held_since + _KEPT_WITH_ORPHANS_S:
            self._count(now, orphans)
            self._let_go()
            self._blocked_until = now + 2 * _LOOK_EVERY_S
            return
        self.has_more = False
        for sender in self._senders.values():
            sender.has_more = False
        for name, names in waiting.items():
            sender = self._sender(name)
            sender.most = max(1, MOST_IN_HAND // len(waiting))
            sender.send(self._new_rows(sender, names))
        self._count(now, orphans)

    def _hold(self, now: float) -> bool:
        """Whether the outlet is ours. Where it was another's meanwhile, what we have in hand is no longer ours to send."""
        if now < self._renew_at:
            return True
        moment, lease = timezone.now(), self._lease()
        free = Q(holder=self._me) | Q(holder=None) | Q(held_until__lt=moment)
        ours = Outlet.objects.filter(free, pk=self.outlet().pk)
        # Asked first: also an UPDATE that finds nothing takes SQLite's only writer's lock.
        held = ours.exists() and ours.update(holder=self._me, held_until=moment + lease)
        if held and not self._renew_at:
            self._held_since = now
        self._renew_at = now + lease.total_seconds() / 3 if held else 0.0
        if not held:
            self._forget()
        return bool(held)

    def _let_go(self) -> None:
        self._forget()
        Outlet.objects.filter(name=self.name, holder=self._me).update(holder=None, held_until=None)
        self._renew_at = 0.0

    def _lease(self) -> timedelta:
        """Two thirds of it are left at least when a batch begins: more than the longest took."""
        return min(LEASE + timedelta(seconds=2 * self._longest_s), LONGEST_LEASE)

    def _pending(self) -> QuerySet[OutboxMessage]:
        return OutboxMessage.objects.filter(outlet=self.outlet(), state=OutboxMessage.State.PENDING)

    def _waiting(self) -> tuple[dict[str, list[str]], list[str]]:
        """Producer → names under which its messages wait; and the names of producers that the step does not have now.

        From name to name in the index, a query each: how many messages wait does not matter.
        """
        found: dict[str, list[str]] = {}
        orphans: list[str] = []
        names = self._pending().order_by("producer").values_list("producer", flat=True)
        name = names.first()
        while name is not None:
            sender = sender_of(name, self._params)
            (orphans if sender is None else found.setdefault(sender, [])).append(name)
            name = names.filter(producer__gt=name).first()
        return found, orphans

    def _new_rows(self, sender: Sender, names: Iterable[str]) -> list[OutboxMessage]:
        """What is to be handed over to a sender now, oldest first."""
        if not sender.room:
            sender.has_more = True
            return []
        # A row of a smaller id may have been committed after one that is in hand already.
        pks = sorted(pk for name in names for pk in self._oldest(name)[: sender.most])[: sender.most]
        new = [pk for pk in pks if pk not in sender.in_hand]
        sender.has_more = len(pks) == sender.most or len(new) > sender.room
        new = new[: sender.room]
        return list(OutboxMessage.objects.filter(pk__in=new).order_by("pk")) if new else []

    def _oldest(self, name: str) -> QuerySet[OutboxMessage, int]:
        """Primary keys of what waits under one name.

        A range in place of "=": only the index has these in their order then. PostgreSQL would walk along the primary key else,
        through all that was delivered and all that waits for others, where it thinks that messages of this producer are many.
        """
        rows = self._pending().filter(producer__gte=name, producer__lte=name)
        return rows.order_by("producer", "pk").values_list("pk", flat=True)

    def _sender(self, name: str) -> Sender:
        if name not in self._senders:
            self._senders[name] = Sender(self.name, name, self._params, self._client_log)
        return self._senders[name]

    @property
    def _in_hand(self) -> bool:
        return any(sender.in_hand for sender in self._senders.values())

    def _hear(self, timeout_s: float) -> None:
        """Serve the reports of librdkafka, and write them down."""
        for sender in self._senders.values():
            sender.hear(timeout_s)
        if timeout_s and not any(sender.is_connected for sender in self._senders.values()):
            time.sleep(timeout_s)

    def _forget(self) -> None:
        """Let librdkafka drop what it has not sent. What it was sending may come to the broker still, and again later."""
        for sender in self._senders.values():
            sender.forget()

    def _count(self, now: float, orphans: Iterable[str]) -> None:
        """Tell, now and then, of many messages and of those that nothing sends."""
        if now < self._count_at:
            return
        self._count_at = now + _COUNT_EVERY_S
        for name in set(orphans) - self._told_orphans:
            self._told_orphans.add(name)
            logger.warning(
                "the outbox of %s has messages for the producer %s, which the step does not have now: they wait until it does, "
                "and the others are sent",
                self.name, name,
            )  # fmt: skip
        count = self._pending().count()
        if count >= max(MANY, 2 * self._told_many):
            self._told_many = count
            logger.warning("the outbox of %s has grown to %d messages that are not on the broker", self.name, count)
        elif count < MANY:
            self._told_many = 0
