"""Alerts that are kept in the database, to be tried again: claimed by lease, restored as they came from Kafka."""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Length
from django.utils import timezone

from tom_alertstreams.alerts import Alert
from tom_alertstreams.conf import configured_streams
from tom_alertstreams.exceptions import PartitionLost
from tom_alertstreams.models import DeadLetter

from .source import AlertSource

#: States in which an alert may be tried again.
UNSETTLED = (DeadLetter.State.OPEN, DeadLetter.State.WAITING)
#: How often to look for alerts that wait under a label that is gone.
_LOOK_EVERY_S = 60.0


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

    def take(self, rows: QuerySet[DeadLetter], most: int, most_bytes: int) -> list[Alert]:
        """The first alerts of these rows that are not settled and that no other process is trying, leased to this one.

        Of rows with the same coordinates (of two clusters, or of two handlers) only the first is taken.

        :param most_bytes: of all together; a larger alert comes alone.
        """
        now = timezone.now()
        free = rows.filter(unclaimed(now), state__in=UNSETTLED)
        chosen = _that_fit(free, most, most_bytes)
        if not chosen:
            return []
        until = now + self._lease
        skip_locked = connection.features.has_select_for_update_skip_locked
        with transaction.atomic():
            # With the condition again: another process may have been faster. The bytes of no others are read.
            claimed = list(free.filter(pk__in=chosen).select_for_update(skip_locked=skip_locked))
            DeadLetter.objects.filter(pk__in=[row.pk for row in claimed]).update(leased_until=until)
        for row in claimed:
            row.leased_until = until
        self._claimed = {(row.topic, row.partition, row.offset): row for row in claimed}
        return [restore(self._source, row) for row in claimed]

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
    """The waiting alerts of one stream: those of its label, of whatever group and cluster it was when it read them.

    So streams of one group (two entries of one broker without a GROUP_ID) leave each other's alone, and a stream that has
    got another group, or another broker, leaves none behind. Those of a label that no active entry of ALERT_STREAMS has
    any more are tried by the stream of their group that has a key for their topic.
    """

    def __init__(self, source: AlertSource, cluster: str, lease_s: float) -> None:
        super().__init__(source, lease_s)
        self._of_group = Q(cluster=cluster, group_id=source.group_id)
        streams, findings = configured_streams()
        in_use = {*(stream.label for stream in streams), *(finding.label for finding in findings if finding.label)}
        self._in_use = sorted(in_use | {source.settings.label})
        self._left_topics: list[str] = []
        self._looked_at = float("-inf")

    def due_before(self, moment: datetime) -> bool:
        """Whether an alert is to be tried again before that moment."""
        return self._rows().filter(next_attempt_at__lte=moment).exists()

    def claim(self, most: int) -> list[Alert]:
        """Alerts that are due and that no other process is trying, leased to this one: BATCH_BYTES at most."""
        due = self._rows().filter(next_attempt_at__lte=timezone.now()).order_by("next_attempt_at")
        return self.take(due, most, self._source.settings.delivery.batch_bytes)

    def _rows(self) -> QuerySet[DeadLetter]:
        """Those of this stream, and those that nobody else would try."""
        waiting = DeadLetter.objects.filter(state=DeadLetter.State.WAITING)
        left = self._of_group & ~Q(stream__in=self._in_use)
        if time.monotonic() - self._looked_at >= _LOOK_EVERY_S:
            topics = waiting.filter(left).order_by().values_list("topic", flat=True).distinct()
            self._left_topics = [topic for topic in topics if self._source.topic_keys.match(topic) is not None]
            self._looked_at = time.monotonic()
        ours = Q(stream=self._source.settings.label)
        return waiting.filter(ours | (left & Q(topic__in=self._left_topics)) if self._left_topics else ours)


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


def _that_fit(rows: QuerySet[DeadLetter], most: int, most_bytes: int) -> list[int]:
    """The numbers of the first rows that may be taken together."""
    sizes = rows.annotate(size=Length("raw")).values_list("pk", "topic", "partition", "offset", "size")[:most]
    chosen: dict[tuple[str, int, int], int] = {}
    total = 0
    for pk, topic, partition, offset, size in sizes:
        if (topic, partition, offset) in chosen:
            continue
        total += size or 0  # null is a tombstone
        if chosen and total > most_bytes:
            break
        chosen[topic, partition, offset] = pk
    return list(chosen.values())


def _bytes(value: bytes | memoryview | None) -> bytes | None:
    return None if value is None else bytes(value)


def _key(alert: Alert) -> tuple[str, int, int]:
    return alert.topic, alert.partition, alert.offset
