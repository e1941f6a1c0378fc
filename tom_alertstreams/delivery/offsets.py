"""The offsets in the database: the compare-and-set that makes an effect and its offset one, and where to begin."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaException, TopicPartition
from django.db import connection, transaction
from django.utils import timezone

from tom_alertstreams.alerts import Alert
from tom_alertstreams.conf import Start
from tom_alertstreams.exceptions import PartitionLost
from tom_alertstreams.models import DeadLetter, StreamPartition, SubscribedKey
from tom_alertstreams.topics import TopicKeys

#: Topic and number of a partition.
Partition = tuple[str, int]

#: Seconds to wait for the broker's answer about offsets.
BROKER_TIMEOUT_S = 30.0


class Progress(Protocol):
    """What a transaction moves so that its alerts are not handled again."""

    def begin(self, alerts: Sequence[Alert]) -> None:
        """The first statement of the transaction: claim all of these alerts, or raise PartitionLost."""

    def trim(self, alerts: Sequence[Alert], finished: int) -> None:
        """Only the first ``finished`` of the claimed alerts were handled in this transaction."""

    def committed(self, finished: Sequence[Alert]) -> None:
        """The transaction is committed."""

    def previous(self, alert: Alert) -> DeadLetter | None:
        """The row of an alert that has failed before and waited."""


@dataclass
class _Position:
    row: int
    next_offset: int
    topic_id: str


class Offsets:
    """How far one consumer group has come, in the database; implements :class:`Progress` for alerts fresh from Kafka."""

    def __init__(self, cluster: str, group_id: str) -> None:
        self.cluster = cluster
        self.group_id = group_id
        self._positions: dict[Partition, _Position] = {}
        table, quote = StreamPartition._meta.db_table, connection.ops.quote_name
        # Plain SQL: this is run for every transaction, and compiling the ORM's query costs more than running it.
        self._move = (
            f"UPDATE {quote(table)} SET next_offset = %s, last_alert_at = %s "  # noqa: S608
            "WHERE id = %s AND next_offset = %s"
        )

    def next_offset(self, partition: Partition) -> int:
        """The offset of the next alert to handle, as this process last saw it."""
        return self._positions[partition].next_offset

    def load(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Read the rows of these partitions again and return the offsets of those that have one."""
        wanted = set(partitions)
        rows = StreamPartition.objects.filter(
            cluster=self.cluster, group_id=self.group_id, topic__in={topic for topic, _ in wanted}
        ).values_list("topic", "partition", "pk", "next_offset", "topic_id")
        found = {
            (topic, number): _Position(pk, offset, topic_id)
            for topic, number, pk, offset, topic_id in rows
            if (topic, number) in wanted
        }
        self._positions |= found
        return {partition: position.next_offset for partition, position in found.items()}

    def store(self, offsets: Mapping[Partition, int]) -> None:
        """Store where partitions begin. A row that another process has stored meanwhile stays as it is."""
        StreamPartition.objects.bulk_create(
            [
                StreamPartition(
                    cluster=self.cluster, group_id=self.group_id, topic=topic, partition=number, next_offset=offset
                )
                for (topic, number), offset in sorted(offsets.items())
            ],
            ignore_conflicts=True,
        )

    def topic_id(self, partition: Partition) -> str:
        """What the topic of a loaded partition was called by the broker when it was last read; empty: it did not tell."""
        return self._positions[partition].topic_id

    def move(self, partition: Partition, offset: int, topic_id: str) -> None:
        """What we would read next is not there: go on at ``offset``.

        :raises PartitionLost: another consumer has moved the row.
        """
        position = self._positions[partition]
        moved = StreamPartition.objects.filter(pk=position.row, next_offset=position.next_offset)
        if moved.update(next_offset=offset, topic_id=topic_id) != 1:
            raise PartitionLost(topic=partition[0], partition=partition[1])
        position.next_offset, position.topic_id = offset, topic_id

    def made_anew(self, topic_ids: Mapping[str, str]) -> list[Partition]:
        """Loaded partitions whose topic had another id when they were last read.

        :param topic_ids: topic → its id now.
        """
        return [
            partition
            for partition, position in self._positions.items()
            if position.topic_id and topic_ids.get(partition[0], position.topic_id) != position.topic_id
        ]

    def note_topic_ids(self, topic_ids: Mapping[str, str]) -> None:
        """Store the ids of topics beside loaded partitions that have none yet."""
        for topic, topic_id in topic_ids.items():
            new = [p for name, p in self._positions.items() if name[0] == topic and not p.topic_id]
            if new:
                StreamPartition.objects.filter(pk__in=[position.row for position in new]).update(topic_id=topic_id)
                for position in new:
                    position.topic_id = topic_id

    def forget(self, partitions: Iterable[Partition]) -> None:
        """These partitions are no longer ours."""
        for partition in partitions:
            self._positions.pop(partition, None)

    def begin(self, alerts: Sequence[Alert]) -> None:
        """Compare-and-set every partition to the offset after its last alert.

        :raises PartitionLost: another consumer has moved a row; nothing of this transaction may commit.
        """
        for alert in alerts:
            position = self._positions.get((alert.topic, alert.partition))
            if position is None or alert.offset < position.next_offset:
                raise PartitionLost(topic=alert.topic, partition=alert.partition, offset=alert.offset)
        now = connection.ops.adapt_datetimefield_value(timezone.now())
        with connection.cursor() as cursor:
            # In a fixed order, so that two consumers never wait for one another.
            for partition, target in sorted(_ends(alerts).items()):
                position = self._positions[partition]
                cursor.execute(self._move, [target, now, position.row, position.next_offset])
                if cursor.rowcount != 1:
                    raise PartitionLost(topic=partition[0], partition=partition[1])

    def trim(self, alerts: Sequence[Alert], finished: int) -> None:
        """Move the rows back to the end of what was handled; this transaction holds their locks."""
        claimed, done = _ends(alerts), _ends(alerts[:finished])
        for partition, target in sorted(claimed.items()):
            position = self._positions[partition]
            actual = done.get(partition, position.next_offset)
            if actual != target:
                StreamPartition.objects.filter(pk=position.row).update(next_offset=actual)

    def committed(self, finished: Sequence[Alert]) -> None:
        for partition, offset in _ends(finished).items():
            self._positions[partition].next_offset = offset

    def previous(self, alert: Alert) -> DeadLetter | None:
        return None


def _ends(alerts: Sequence[Alert]) -> dict[Partition, int]:
    return {(alert.topic, alert.partition): alert.offset + 1 for alert in alerts}


def begin_keys(offsets: Offsets, consumer: Consumer, keys: TopicKeys, starts: Mapping[str, Start]) -> int:
    """Place every existing topic of a key that this group uses for the first time: Kafka's offset, else the key's start.

    All of its partitions are placed, not just those assigned to this process; what appears later is new and is read
    from its beginning. The positions and the note that the key has been used commit together.

    :returns: how many partitions were placed.
    """
    used = set(
        SubscribedKey.objects.filter(cluster=offsets.cluster, group_id=offsets.group_id).values_list("key", flat=True)
    )
    new = [key for key in keys.keys if key not in used]
    if not new:
        return 0
    metadata = consumer.list_topics(timeout=BROKER_TIMEOUT_S)
    partitions = [
        (topic, number)
        for topic, description in metadata.topics.items()
        if description.error is None and keys.match(topic) in new
        for number in description.partitions
    ]
    known = offsets.load(partitions)
    found: dict[Partition, int] = {}
    for start in sorted(set(starts.values())):
        unknown = [p for p in partitions if p not in known and starts[keys.match(p[0]) or ""] == start]
        found |= find_offsets(consumer, unknown, start)
    with transaction.atomic():
        offsets.store(found)
        SubscribedKey.objects.bulk_create(
            [SubscribedKey(cluster=offsets.cluster, group_id=offsets.group_id, key=key) for key in new],
            ignore_conflicts=True,
        )
    return len(found)


def place(offsets: Offsets, consumer: Consumer, partitions: Sequence[Partition]) -> list[TopicPartition]:
    """The offsets of partitions that were just assigned: the database's, else Kafka's, else their beginning."""
    known = offsets.load(partitions)
    born = [partition for partition in partitions if partition not in known]
    if born:
        offsets.store(find_offsets(consumer, born, "earliest"))
        known = offsets.load(partitions)
    return [TopicPartition(topic, number, offset) for (topic, number), offset in known.items()]


def find_offsets(consumer: Consumer, partitions: Sequence[Partition], start: Start) -> dict[Partition, int]:
    """Where partitions begin that the database does not know: the group's offset in Kafka, else ``start``."""
    if not partitions:
        return {}
    committed = consumer.committed([TopicPartition(t, n) for t, n in partitions], timeout=BROKER_TIMEOUT_S)
    found = {(tp.topic, tp.partition): tp.offset for tp in committed if tp.error is None and tp.offset >= 0}
    unknown = [partition for partition in partitions if partition not in found]
    return found | edges(consumer, unknown, OFFSET_BEGINNING if start == "earliest" else OFFSET_END)


def edges(consumer: Consumer, partitions: Iterable[Partition], edge: int) -> dict[Partition, int]:
    """Where the broker's logs begin (OFFSET_BEGINNING) or end (OFFSET_END), asked for all partitions at once.

    :raises KafkaException: one of them cannot be told.
    """
    # Asking for the offset of the "times" -2 and -1 is how the protocol asks for the two ends (ListOffsets, KIP-79).
    asked = [TopicPartition(topic, number, edge) for topic, number in partitions]
    answers = consumer.offsets_for_times(asked, timeout=BROKER_TIMEOUT_S) if asked else []
    for answer in answers:
        if answer.error is not None:
            raise KafkaException(answer.error)
    return {(answer.topic, answer.partition): answer.offset for answer in answers}
