"""What a loop costs that does nothing but what it must: the bare client that our loop is measured beside.

::

    python -m tests.benchmarks.bare decode SERVERS TOPIC ALERTS               # consumes 2,000 at a time, decodes each
    python -m tests.benchmarks.bare packets SERVERS TOPIC ALERTS [SCHEMA]     # 100 at a time, by fastavro
    python -m tests.benchmarks.bare psycopg SERVERS TOPIC ALERTS DATABASE     # one transaction, one offset an alert
    python -m tests.benchmarks.bare django SERVERS TOPIC ALERTS               # the same on the settings' database
"""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import django
import psycopg
from confluent_kafka import Consumer, TopicPartition

from tests.benchmarks.packets import bare_decoder
from tests.benchmarks.stopwatch import Stopwatch

_BEGIN = """
INSERT INTO tom_alertstreams_streampartition (cluster, group_id, topic, partition, next_offset, topic_id)
VALUES ('', %s, %s, %s, 0, '') RETURNING id
"""
_MOVE = "UPDATE tom_alertstreams_streampartition SET next_offset = %s, last_alert_at = now() WHERE id = %s AND next_offset = %s"


def main() -> None:
    """Read so many alerts."""
    what, servers, topic, count = sys.argv[1:5]
    group = uuid.uuid4().hex
    consumer = Consumer({"bootstrap.servers": servers, "group.id": group, "enable.auto.commit": False})
    partitions = sorted(consumer.list_topics(topic, timeout=20).topics[topic].partitions)
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    watch = Stopwatch()
    if what == "decode":
        decode(consumer, int(count), watch, json.loads, 2000)
    elif what == "packets":
        decode(consumer, int(count), watch, bare_decoder(sys.argv[5]), 100)
    else:
        rows = [(group, topic, partition) for partition in partitions]
        commit(consumer, int(count), watch, WithDjango(rows) if what == "django" else WithPsycopg(sys.argv[5], rows))
    consumer.close()
    watch.tell()


def decode(consumer: Consumer, count: int, watch: Stopwatch, decoder: Callable[[bytes], Any], batch: int) -> None:
    """Decode each and forget it."""
    while watch.alerts < count:
        messages = consumer.consume(min(batch, count - watch.alerts), 0.5)
        if messages:
            watch.begin()
        for message in messages:
            if message.error():
                sys.exit(str(message.error()))
            decoder(message.value())
        watch.lap(len(messages))


def commit(
    consumer: Consumer, count: int, watch: Stopwatch, moves: Callable[[int, int], AbstractContextManager]
) -> None:
    """One transaction for each alert, with one update of an offset by compare-and-set."""
    while watch.alerts < count:
        messages = consumer.consume(min(2000, count - watch.alerts), 0.5)
        if messages:
            watch.begin()
        for message in messages:
            if message.error():
                sys.exit(str(message.error()))
            json.loads(message.value())
            with moves(message.partition(), message.offset() + 1):
                pass  # here a handler would be called
            watch.lap(1)


class WithPsycopg:
    """The offsets of one group, moved through psycopg."""

    def __init__(self, database: str, rows: list[tuple[str, str, int]]) -> None:
        self._connection = psycopg.connect(database, autocommit=True)
        self._keys = [self._connection.execute(_BEGIN, row).fetchone()[0] for row in rows]
        self._offsets = [0] * len(rows)

    @contextmanager
    def __call__(self, partition: int, after: int) -> Iterator[None]:
        with self._connection.transaction():
            moved = self._connection.execute(_MOVE, [after, self._keys[partition], self._offsets[partition]])
            if moved.rowcount != 1:
                sys.exit("moved by somebody else")
            yield
        self._offsets[partition] = after


class WithDjango:
    """The same through Django, whose transaction is the only one that a handler with the ORM can share."""

    def __init__(self, rows: list[tuple[str, str, int]]) -> None:
        django.setup()
        from django.db import connection, transaction

        self._connection, self._atomic = connection, transaction.atomic
        with connection.cursor() as cursor:
            self._keys = [self._key(cursor, row) for row in rows]
        self._offsets = [0] * len(rows)

    @contextmanager
    def __call__(self, partition: int, after: int) -> Iterator[None]:
        with self._atomic():
            with self._connection.cursor() as cursor:
                cursor.execute(_MOVE, [after, self._keys[partition], self._offsets[partition]])
                if cursor.rowcount != 1:
                    sys.exit("moved by somebody else")
            yield
        self._offsets[partition] = after

    @staticmethod
    def _key(cursor: Any, row: tuple[str, str, int]) -> int:
        cursor.execute(_BEGIN, row)
        return int(cursor.fetchone()[0])


if __name__ == "__main__":
    main()
