"""What a loop costs that does nothing but what it must: the bare client that our loop is measured beside.

::

    python -m tests.benchmarks.bare decode SERVERS TOPIC ALERTS               # consumes 2,000 at a time, decodes each
    python -m tests.benchmarks.bare packets SERVERS TOPIC ALERTS [SCHEMA]     # 100 at a time, by fastavro
    python -m tests.benchmarks.bare commit SERVERS TOPIC ALERTS DATABASE      # one transaction, one offset an alert
"""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Callable
from typing import Any

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
        commit(consumer, int(count), watch, sys.argv[5], [(group, topic, partition) for partition in partitions])
    consumer.close()
    watch.tell()


def decode(consumer: Consumer, count: int, watch: Stopwatch, decoder: Callable[[bytes], Any], batch: int) -> None:
    """Decode each and forget it."""
    while watch.alerts < count:
        messages = consumer.consume(batch, 0.5)
        if messages:
            watch.begin()
        for message in messages:
            if message.error():
                sys.exit(str(message.error()))
            decoder(message.value())
        watch.lap(len(messages))


def commit(consumer: Consumer, count: int, watch: Stopwatch, database: str, rows: list[tuple[str, str, int]]) -> None:
    """One transaction for each alert, with one update of an offset by compare-and-set."""
    with psycopg.connect(database, autocommit=True) as connection:
        keys = [connection.execute(_BEGIN, row).fetchone()[0] for row in rows]
        offsets = [0] * len(rows)
        while watch.alerts < count:
            messages = consumer.consume(2000, 0.5)
            if messages:
                watch.begin()
            for message in messages:
                if message.error():
                    sys.exit(str(message.error()))
                json.loads(message.value())
                partition, after = message.partition(), message.offset() + 1
                with connection.transaction():
                    moved = connection.execute(_MOVE, [after, keys[partition], offsets[partition]])
                    if moved.rowcount != 1:
                        sys.exit("moved by somebody else")
                offsets[partition] = after
                watch.lap(1)


if __name__ == "__main__":
    main()
