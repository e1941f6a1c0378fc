"""Compares what steps were given with what is in the outbox, and that with what is on the topics."""

from __future__ import annotations

import io
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import fastavro
from confluent_kafka import Consumer, TopicPartition

from tests.brokers import RunningKafka
from tests.faults.audit import Books, ends
from tests.processes import ROOT, Tom

#: Where a float would begin to confuse neighbours.
FIRST_CANDID = 2**53
#: Alerts of an object, and so of a key.
EACH = 20
_NAMED = 5
_CURVES = fastavro.schema.load_schema(ROOT / "tests" / "steps" / "light_curve_classifier" / "output.avsc")


@dataclass(frozen=True)
class Output:
    """What is known of one topic of output."""

    #: Whether the step puts something out of the alert of this number.
    takes: Callable[[int], bool]
    #: Bytes → the candid of the alert.
    candid: Callable[[bytes], int]


def _record(value: bytes) -> Any:
    return next(fastavro.reader(io.BytesIO(value)))


def _candid(value: bytes) -> int:
    return int(_record(value)["candid"])


def _candid_of_scribe(value: bytes) -> int:
    return int(json.loads(_record(value)["payload"])["data"]["candid"])


def _candid_of_curves(value: bytes) -> int:
    return int(fastavro.schemaless_reader(io.BytesIO(value), _CURVES, None)["candid"])


#: End of a topic's name → what has to be in it.
TOPICS: Mapping[str, Output] = {
    "early_classifier": Output(lambda n: n % 7 != 0, _candid),
    "correction": Output(lambda n: True, _candid),
    "light_curve_classifier": Output(lambda n: n % 3 != 2, _candid_of_curves),
    "scribe": Output(lambda n: n % 3 != 2, _candid_of_scribe),
}


@dataclass(frozen=True)
class Row:
    """One message of the outbox."""

    key: bytes
    value: bytes
    id: str
    state: str
    number: int


@dataclass(frozen=True)
class Record:
    """One message of a topic."""

    partition: int
    key: bytes | None
    value: bytes | None
    id: str


@dataclass
class StepBooks(Books):
    """The state of a TOM and of the topics of its steps."""

    rows: int = 0
    records: int = 0
    #: What is wrong, in words.
    wrong: list[str] = field(default_factory=list)

    def findings(self) -> list[str]:
        """Each alert has been put out once by each step, and has come to the topic."""
        found = list(self.wrong)
        if self.letters:
            found.append(f"dead letters or waiting alerts where nothing failed: {self.letters}")
        if self.counted != {"done": 3 * self.alerts}:
            found.append(f"counted {self.counted}, and not {self.alerts:,} done by each of three steps")
        return found

    def summary(self) -> str:
        """In one line."""
        return f"{self.rows:,} messages in the outbox, {self.records:,} on the topics: {self.records - self.rows:,} came again"

    def blame(self, topic: str, what: str, which: list[Any]) -> None:
        """Note what is wrong, with the first of them."""
        if which:
            self.wrong.append(f"{topic}: {len(which):,} {what}: {which[:_NAMED]}")


def object_of(number: int) -> str:
    """The name of the object that the alert of this number is of."""
    return f"ZTF26{number // EACH:07}"


def audit(tom: Tom, output: RunningKafka, prefix: str, alerts: int) -> StepBooks:
    """Look at both.

    :param prefix: what the topics begin with.
    :param alerts: how many were sent, numbered from 0.
    """
    books = StepBooks(alerts)
    for name, known in TOPICS.items():
        topic = f"{prefix}_{name}"
        rows = _rows(tom, topic, known)
        records = list(_records(output, topic))
        books.rows += len(rows)
        books.records += len(records)
        _compare_with_alerts(books, name, rows, [n for n in range(alerts) if known.takes(n)])
        _compare_with_topic(books, name, rows, records)
    books.letters = dict(tom.query("SELECT state, count(*) FROM tom_alertstreams_deadletter GROUP BY state"))  # type: ignore[arg-type]
    counts = tom.query("SELECT outcome, sum(n) FROM tom_alertstreams_outcomecount GROUP BY outcome")
    books.counted = {outcome: int(n) for outcome, n in counts}
    return books


def _rows(tom: Tom, topic: str, known: Output) -> list[Row]:
    sql = "SELECT key, value, message_id, state FROM apf_bridge_outboxmessage WHERE topic = %s ORDER BY id"
    return [
        Row(bytes(key or b""), bytes(value), str(message_id), state, known.candid(bytes(value)) - FIRST_CANDID)
        for key, value, message_id, state in tom.query(sql, (topic,))
    ]


def _records(kafka: RunningKafka, topic: str) -> Iterator[Record]:
    """A topic from its beginning to its end, each partition in its order."""
    consumer = Consumer(
        {"bootstrap.servers": kafka.bootstrap_servers, "group.id": "audit", "enable.partition.eof": False}
    )
    try:
        left = {partition: end for partition, end in ends(kafka, [topic]).items() if end}
        consumer.assign([TopicPartition(*partition, 0) for partition in left])
        while left:
            message = consumer.poll(20)
            assert message is not None, f"{topic} does not come to its end: {left}"
            assert message.error() is None, message.error()
            ids = [(text or b"").decode() for header, text in message.headers() or [] if header == "id"]
            yield Record(message.partition(), message.key(), message.value(), " ".join(ids))
            partition = (topic, message.partition())
            if message.offset() + 1 >= left[partition]:
                del left[partition]
    finally:
        consumer.close()


def _compare_with_alerts(books: StepBooks, topic: str, rows: list[Row], expected: list[int]) -> None:
    """Every alert that the step takes has left one message."""
    found = Counter(row.number for row in rows)
    lost = [n for n in expected if n not in found]
    twice = [n for n, times in found.items() if times > 1]
    books.lost += [(topic, 0, n) for n in lost]
    books.twice += [(topic, 0, n) for n in twice]
    books.blame(topic, "alerts have left nothing in the outbox", lost)
    books.blame(topic, "alerts are in the outbox more than once", twice)
    books.blame(topic, "messages of no alert", sorted(found.keys() - set(expected)))
    books.blame(
        topic, "keys that are not the object's", [row.key for row in rows if row.key.decode() != object_of(row.number)]
    )
    books.blame(topic, "messages not marked as delivered", [row.number for row in rows if row.state != "delivered"])
    if len({row.id for row in rows}) != len(rows):
        books.wrong.append(f"{topic}: two messages of the outbox have one id")


def _compare_with_topic(books: StepBooks, topic: str, rows: list[Row], records: list[Record]) -> None:
    """Every message of the outbox is on the topic, all copies alike, and for the first time in order."""
    by_id = {row.id: row for row in rows}
    copies: dict[str, list[Record]] = defaultdict(list)
    last: dict[bytes, int] = {}
    overtaken = []
    for record in records:
        row = by_id.get(record.id)
        if row is not None and record.id not in copies:
            overtaken += [row.number] if row.number < last.get(row.key, -1) else []
            last[row.key] = row.number
        copies[record.id].append(record)
    lost = [row.number for row in rows if row.id not in copies]
    books.lost += [(topic, 0, n) for n in lost]
    books.blame(topic, "messages of the outbox are not on the topic", lost)
    books.blame(topic, "ids on the topic that the outbox does not know", sorted(copies.keys() - by_id.keys()))
    differ = partial(_differ, by_id)
    books.blame(
        topic, "messages with copies that differ", [by_id[i].number for i, some in copies.items() if differ(i, some)]
    )
    books.blame(topic, "messages came after a later one of their key", overtaken)


def _differ(by_id: Mapping[str, Row], message_id: str, copies: list[Record]) -> bool:
    row = by_id.get(message_id)
    return row is not None and {(r.key, r.value, r.partition) for r in copies} != {
        (row.key, row.value, copies[0].partition)
    }
