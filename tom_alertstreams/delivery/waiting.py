"""Alerts that failed and wait in the database for their next try."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from tom_alertstreams.alerts import Alert
from tom_alertstreams.exceptions import PartitionLost
from tom_alertstreams.models import DeadLetter

from .source import AlertSource


class WaitingAlerts:
    """The waiting alerts of one consumer group; implements :class:`~.offsets.Progress` for those this process claims.

    A claim is a lease that expires, so that a process that is killed keeps no alert to itself.
    """

    def __init__(self, source: AlertSource, cluster: str, lease_s: float) -> None:
        self._source = source
        self._rows = DeadLetter.objects.filter(
            cluster=cluster, group_id=source.group_id, state=DeadLetter.State.WAITING
        )
        self._lease = timedelta(seconds=lease_s)
        self._claimed: dict[tuple[str, int, int], DeadLetter] = {}

    def due_before(self, moment: datetime) -> bool:
        """Whether an alert is to be tried again before that moment."""
        return self._rows.filter(next_attempt_at__lte=moment).exists()

    def count(self) -> int:
        """How many alerts wait."""
        return self._rows.count()

    def claim(self, limit: int) -> list[Alert]:
        """Alerts that are due and that no other process is trying, leased to this one."""
        now = timezone.now()
        free = Q(leased_until=None) | Q(leased_until__lte=now)
        due = self._rows.filter(free, next_attempt_at__lte=now).order_by("next_attempt_at")
        if not due.exists():
            return []
        with transaction.atomic():
            rows = list(
                due.select_for_update(skip_locked=connection.features.has_select_for_update_skip_locked)[:limit]
            )
            DeadLetter.objects.filter(pk__in=[row.pk for row in rows]).update(leased_until=now + self._lease)
        for row in rows:
            row.leased_until = now + self._lease
        self._claimed = {(row.topic, row.partition, row.offset): row for row in rows}
        return [restore(self._source, row) for row in rows]

    def begin(self, alerts: Sequence[Alert]) -> None:
        """Check that the leases still hold, and lock the rows.

        :raises PartitionLost: a lease has run out and another process has the alert.
        """
        rows = [self._claimed[_key(alert)] for alert in alerts]
        held = self._rows.filter(pk__in=[row.pk for row in rows], leased_until=rows[0].leased_until)
        if held.update(leased_until=rows[0].leased_until) != len(rows):
            raise PartitionLost("another process has tried this waiting alert meanwhile", topic=alerts[0].topic)

    def trim(self, alerts: Sequence[Alert], finished: int) -> None:
        rows = [self._claimed[_key(alert)].pk for alert in alerts[finished:]]
        DeadLetter.objects.filter(pk__in=rows).update(leased_until=None)

    def committed(self, finished: Sequence[Alert]) -> None:
        for alert in finished:
            self._claimed.pop(_key(alert), None)

    def previous(self, alert: Alert) -> DeadLetter | None:
        return self._claimed[_key(alert)]

    def release(self) -> None:
        """Give back what was claimed and not tried."""
        if self._claimed:
            rows = [(row.pk, row.leased_until) for row in self._claimed.values()]
            self._rows.filter(pk__in=[pk for pk, _ in rows], leased_until=rows[0][1]).update(leased_until=None)
            self._claimed = {}


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
