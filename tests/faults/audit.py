"""Compares what the broker has with what the database has: what is lost, what is there twice, what is out of order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from tests.brokers import RunningKafka
from tests.processes import Tom, wait_until

#: Topic, partition, offset.
Coordinates = tuple[str, int, int]
Partition = tuple[str, int]
_NAMED = 10


@dataclass
class Books:
    """The state of a TOM after a night."""

    #: Alerts that the broker has.
    alerts: int
    lost: list[Coordinates] = field(default_factory=list)
    twice: list[Coordinates] = field(default_factory=list)
    #: Effects of alerts that the broker does not have.
    unknown: list[Coordinates] = field(default_factory=list)
    #: Written after an alert that comes later in their partition.
    disordered: list[Coordinates] = field(default_factory=list)
    #: Dead letters, in whatever state, by state.
    letters: dict[str, int] = field(default_factory=dict)
    #: What OutcomeCount says.
    counted: dict[str, int] = field(default_factory=dict)

    def findings(self) -> list[str]:
        """What is wrong, where nothing was to fail: each alert has its effect once, in order, at the first try."""
        found = [
            f"{what}: {names(which)}"
            for what, which in (
                ("lost", self.lost),
                ("twice", self.twice),
                ("of no alert", self.unknown),
                ("out of order", self.disordered),
            )
            if which
        ]
        if self.letters:
            found.append(f"dead letters or waiting alerts where nothing failed: {self.letters}")
        if self.counted != {"done": self.alerts}:
            found.append(f"counted {self.counted} of {self.alerts:,} alerts, not all of them done at the first try")
        return found


def names(which: list[Coordinates]) -> str:
    """The first of them, and how many more."""
    named = ", ".join(f"{topic}[{number}]@{offset}" for topic, number, offset in sorted(which)[:_NAMED])
    return named + (f" and {len(which) - _NAMED:,} more" if len(which) > _NAMED else "")


def ends(kafka: RunningKafka, topics: list[str]) -> dict[Partition, int]:
    """The offset after the last alert of each partition, as the broker says."""
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": "audit", "log_level": 0})
    try:
        found = {}
        for topic in topics:
            for number in consumer.list_topics(topic, timeout=20).topics[topic].partitions:
                low, high = wait_until(partial(_watermarks, consumer, topic, number), f"the ends of {topic}[{number}]")
                assert low == 0, f"the broker has deleted alerts of {topic}[{number}] below {low}"
                found[topic, number] = high
        return found
    finally:
        consumer.close()


def _watermarks(consumer: Consumer, topic: str, number: int) -> tuple[int, int] | None:
    """First and next offset; None while the partition has no leader: a broker that was just started answers before it leads."""
    try:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=20)
    except KafkaException as error:
        if error.args[0].code() != KafkaError.NOT_LEADER_FOR_PARTITION:
            raise
        return None
    return low, high


def audit(tom: Tom, sent: Mapping[Partition, int]) -> Books:
    """Look at the effects and at what is written beside them.

    :param sent: where each partition ends.
    """
    books = Books(sum(sent.values()))
    sql = 'SELECT topic, "partition", count(*), count(DISTINCT "offset"), min("offset"), max("offset")'
    rows = {(row[0], row[1]): row[2:] for row in tom.query(f"{sql} FROM effects_effect GROUP BY 1, 2")}
    for partition in sent.keys() | rows.keys():
        end = sent.get(partition, 0)
        if rows.get(partition) != (end, end, 0, end - 1) and (end or partition in rows):
            _look_closer(tom, partition, end, books)
    sql = 'SELECT topic, "partition", "offset", lag("offset") OVER (PARTITION BY topic, "partition" ORDER BY id) AS before'
    sql = f'SELECT topic, "partition", "offset" FROM ({sql} FROM effects_effect) AS effects WHERE "offset" < before'
    books.disordered = [(row[0], row[1], row[2]) for row in tom.query(sql)]
    books.letters = dict(tom.query("SELECT state, count(*) FROM tom_alertstreams_deadletter GROUP BY state"))  # type: ignore[arg-type]
    counts = tom.query("SELECT outcome, sum(n) FROM tom_alertstreams_outcomecount GROUP BY outcome")
    books.counted = {outcome: int(n) for outcome, n in counts}
    return books


def _look_closer(tom: Tom, partition: Partition, end: int, books: Books) -> None:
    sql = 'SELECT "offset" FROM effects_effect WHERE topic = %s AND "partition" = %s'
    found = Counter(offset for (offset,) in tom.query(sql, partition))
    books.lost += [(*partition, offset) for offset in range(end) if offset not in found]
    books.twice += [(*partition, offset) for offset, times in found.items() if times > 1]
    books.unknown += [(*partition, offset) for offset in found if not 0 <= offset < end]
