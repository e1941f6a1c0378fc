"""The floor: what a hand would write for flat JSON alerts and PostgreSQL, without the framework. Stand-alone.

One transaction for each 2,000 alerts: they are copied into a temporary table, missing Targets are made by name, the
measurement and the record of the alert are inserted where they are new, the count is raised, and the offsets are moved
by compare-and-set. The tables are those of the TOM, and the rows those of the ready-made ingest.

    python floor.py SERVERS TOPIC GROUP DATABASE ALERTS [BATCH]     prints what it took, as JSON
"""

from __future__ import annotations

import json
import math
import resource
import sys
import time
from datetime import datetime, timedelta, timezone

import psycopg
from confluent_kafka import Consumer, TopicPartition

STREAM = "bench"
MJD_ZERO = datetime(1858, 11, 17, tzinfo=timezone.utc)
# What SQL of one session may assume: the table is filled anew in each transaction, and its planner knows no sizes.
SESSION = """
SET jit = off;
CREATE TEMPORARY TABLE incoming (
    name text, alert_id text, ra float8, dec float8, time timestamptz, mag float8, error float8, band text,
    partition int4, "offset" int8, first bool
) ON COMMIT DELETE ROWS
"""
TYPES = ["text", "text", "float8", "float8", "timestamptz", "float8", "float8", "text", "int4", "int8", "bool"]
# Known names are left out before the conflict, which would use up ids; sorted, so that two processes do not deadlock.
TARGETS = """
INSERT INTO tom_targets_basetarget
    (name, type, created, modified, ra, dec, scheme, permissions, shared_by, shared_from)
SELECT name, 'SIDEREAL', now(), now(), ra, dec, '', 'PUBLIC', '', '' FROM incoming i
WHERE first AND NOT EXISTS (SELECT FROM tom_targets_basetarget t WHERE t.name = i.name)
ORDER BY name ON CONFLICT DO NOTHING
"""
PHOTOMETRY = """
INSERT INTO tom_dataproducts_photometryreduceddatum
    (timestamp, value, telescope, instrument, source_name, source_location, brightness, brightness_error, unit,
     bandpass, target_id, reduction_version)
SELECT i.time, '{}', '', '', 'bench', '', i.mag, i.error, 'mag', i.band, t.id, ''
FROM incoming i JOIN tom_targets_basetarget t ON t.name = i.name ON CONFLICT DO NOTHING
"""
ALERTS = """
INSERT INTO tom_alertstreams_ingest_targetalert
    (stream, topic, partition, "offset", alert_id, object_id, event_key, ra, dec, time, match_method, retraction,
     points, summary, created, target_id)
SELECT 'bench', %s, i.partition, i."offset", i.alert_id, i.name, '', i.ra, i.dec, i.time,
    CASE WHEN first AND t.created = now() THEN 'created' ELSE 'name' END, false, 1, '', now(), t.id
FROM incoming i JOIN tom_targets_basetarget t ON t.name = i.name ON CONFLICT DO NOTHING
"""
COUNT = """
INSERT INTO tom_alertstreams_outcomecount AS c (stream, topic, hour, outcome, code, n)
VALUES ('bench', %s, date_trunc('hour', now()), 'done', '', %s)
ON CONFLICT (stream, topic, hour, outcome, code) DO UPDATE SET n = c.n + excluded.n
"""
MOVE = """
UPDATE tom_alertstreams_streampartition SET next_offset = %s, last_alert_at = now()
WHERE group_id = %s AND topic = %s AND partition = %s AND next_offset = %s
"""
BEGIN = """
INSERT INTO tom_alertstreams_streampartition (cluster, group_id, topic, partition, next_offset, topic_id)
VALUES ('', %s, %s, %s, 0, '') ON CONFLICT DO NOTHING
"""
OFFSETS = "SELECT partition, next_offset FROM tom_alertstreams_streampartition WHERE group_id = %s AND topic = %s"


def time_of(mjd: float) -> datetime:
    """The UTC time of a modified Julian date, to the microsecond."""
    day = math.floor(mjd)
    return MJD_ZERO + timedelta(days=day, microseconds=math.floor(86_400e6 * (mjd - day) + 0.5))


def store(connection: psycopg.Connection, topic: str, group: str, batch: list, offsets: dict[int, int]) -> None:
    """Write one batch and move the offsets, in one transaction."""
    seen, ends = set(), dict(offsets)
    with connection.transaction(), connection.cursor() as cursor:
        with cursor.copy("COPY incoming FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(TYPES)
            for message in batch:
                if message.error():
                    raise SystemExit(str(message.error()))
                row, partition, offset = json.loads(message.value()), message.partition(), message.offset()
                name = row["objectId"]
                copy.write_row((
                    name, str(row["candid"]), row["ra"], row["dec"], time_of(row["mjd"]), row["mag"], row["mag_error"],
                    row["band"], partition, offset, name not in seen,
                ))  # fmt: skip
                seen.add(name)
                ends[partition] = offset + 1
        cursor.execute(TARGETS)
        cursor.execute(PHOTOMETRY)
        cursor.execute(ALERTS, [topic])
        cursor.execute(COUNT, [topic, len(batch)])
        for partition in sorted(ends):
            if ends[partition] != offsets[partition]:
                cursor.execute(MOVE, [ends[partition], group, topic, partition, offsets[partition]])
                if cursor.rowcount != 1:
                    raise SystemExit(f"partition {partition} was moved by somebody else")
    offsets.update(ends)


def main() -> None:
    """Read so many alerts."""
    servers, topic, group, database, count = sys.argv[1:6]
    size = int(sys.argv[6]) if len(sys.argv) > 6 else 2000
    consumer = Consumer({"bootstrap.servers": servers, "group.id": group, "enable.auto.commit": False})
    partitions = consumer.list_topics(topic, timeout=20).topics[topic].partitions
    with psycopg.connect(database, autocommit=True) as connection:
        for statement in SESSION.split(";"):
            connection.execute(statement)
        for partition in partitions:
            connection.execute(BEGIN, [group, topic, partition])
        offsets = dict(connection.execute(OFFSETS, [group, topic]).fetchall())
        consumer.assign([TopicPartition(topic, partition, offset) for partition, offset in offsets.items()])
        done, began, used = 0, 0.0, 0.0
        while done < int(count):
            batch = consumer.consume(min(size, int(count) - done), 0.5)
            if not began and batch:
                began, used = time.perf_counter(), time.process_time()
            if batch:
                store(connection, topic, group, batch, offsets)
            done += len(batch)
        seconds, used = time.perf_counter() - began, time.process_time() - used
    consumer.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"alerts": done, "seconds": seconds, "cpu_s": used, "peak_mb": peak}))


if __name__ == "__main__":
    main()
