"""Alerts that are kept in the database, to be tried again: claimed by lease, restored as they came from Kafka."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from tom_alertstreams.alerts import Alert
from tom_alertstreams.exceptions import PartitionLost
from tom_alertstreams.models import DeadLetter

from .source import AlertSource

#: States in which an alert may be tried again.
UNSETTLED = (DeadLetter.State.OPEN, DeadLetter.State.WAITING)


def unclaimed(now: datetime) -> Q:
    """Rows that no process is trying now."""
    return Q(leased_until=None) | Q(leased_until__lte=now)


class ClaimedLetters:
    """The rows of DeadLetter that this process has claimed; implements :class:`~.offsets.Progress` for their alerts.

    A claim is a lease that expires, so that a process that is killed keeps no alert to itself.
    """

    def __init__(self, source: AlertSource, lease_s: float) -> None:
        self._source = source
        self._lease = timedelta(seconds=lease_s)
        self._claimed: dict[tuple[str, int, int], DeadLetter] = {}

    def take(self, rows: QuerySet[DeadLetter], limit: int) -> list[Alert]:
        """Alerts of these rows that are not settled and that no other process is trying, leased to this one.

        Of rows with the same coordinates (of two clusters, or of two handlers) only the first is taken.
        """
        now = timezone.now()
        free = rows.filter(unclaimed(now), state__in=UNSETTLED)
        if not free.exists():
            return []
        until, claimed = now + self._lease, dict[tuple[str, int, int], DeadLetter]()
        skip_locked = connection.features.has_select_for_update_skip_locked
        with transaction.atomic():
            for row in free.select_for_update(skip_locked=skip_locked)[:limit]:
                claimed.setdefault((row.topic, row.partition, row.offset), row)
            DeadLetter.objects.filter(pk__in=[row.pk for row in claimed.values()]).update(leased_until=until)
        for row in claimed.values():
            row.leased_until = until
        self._claimed = claimed
        return [restore(self._source, row) for row in claimed.values()]

    def begin(self, alerts: Sequence[Alert]) -> None:
        """Check that the leases still hold, and lock the rows.

        :raises PartitionLost: a lease has run out and another process has the alert.
        """
        rows = [self._claimed[_key(alert)] for alert in alerts]
        held = DeadLetter.objects.filter(
            pk__in=[row.pk for row in rows], leased_until=rows[0].leased_until, state__in=UNSETTLED
        )
        if held.update(leased_until=rows[0].leased_until) != len(rows):
            raise PartitionLost("another process has tried this waiting alert meanwhile", topic=alerts[0].topic)

    def trim(self, alerts: Sequence[Alert], finished: int) -> None:
        """The others stay claimed; :meth:`release` gives them back."""

    def committed(self, finished: Sequence[Alert]) -> None:
        for alert in finished:
            self._claimed.pop(_key(alert), None)

    def previous(self, alert: Alert) -> DeadLetter:
        return self._claimed[_key(alert)]

    def release(self) -> None:
        """Give back what was claimed and not tried."""
        if self._claimed:
            rows = [(row.pk, row.leased_until) for row in self._claimed.values()]
            self._claimed = {}
            leased = DeadLetter.objects.filter(pk__in=[pk for pk, _ in rows], leased_until=rows[0][1])
            leased.update(leased_until=None)


class WaitingAlerts(ClaimedLetters):
    """The waiting alerts of one consumer group."""

    def __init__(self, source: AlertSource, cluster: str, lease_s: float) -> None:
        super().__init__(source, lease_s)
        self._rows = DeadLetter.objects.filter(
            cluster=cluster, group_id=source.group_id, state=DeadLetter.State.WAITING
        )

    def due_before(self, moment: datetime) -> bool:
        """Whether an alert is to be tried again before that moment."""
        return self._rows.filter(next_attempt_at__lte=moment).exists()

    def count(self) -> int:
        """How many alerts wait."""
        return self._rows.count()

    def claim(self, limit: int) -> list[Alert]:
        """Alerts that are due and that no other process is trying, leased to this one."""
        return self.take(self._rows.filter(next_attempt_at__lte=timezone.now()).order_by("next_attempt_at"), limit)


def restore(source: AlertSource, row: DeadLetter) -> Alert:
    """The alert of a row, as it came from Kafka."""
    return source.restore_alert(
        topic=row.topic,
        partition=row.partition,
        offset=row.offset,
        key=_bytes(row.key),
        headers=tuple((name, None if value is None else base64.b64decode(value)) for name, value in row.headers),
        timestamp=row.timestamp,
        raw=_bytes(row.raw),
    )


def _bytes(value: bytes | memoryview | None) -> bytes | None:
    return None if value is None else bytes(value)


def _key(alert: Alert) -> tuple[str, int, int]:
    return alert.topic, alert.partition, alert.offset
