"""The floor on SQLite: floor.py with the sqlite3 module and executemany. Stand-alone.

python floor_sqlite.py SERVERS TOPIC GROUP FILE ALERTS [BATCH]     prints what it took, as JSON
"""

from __future__ import annotations

import json
import math
import resource
import sqlite3
import sys
import time
from datetime import datetime, timedelta, timezone

from confluent_kafka import Consumer, TopicPartition

MJD_ZERO = datetime(1858, 11, 17)  # noqa: DTZ001  (Django stores UTC without saying so)
TARGETS = """
INSERT INTO tom_targets_basetarget
    (name, type, created, modified, ra, dec, scheme, permissions, shared_by, shared_from)
VALUES (?, 'SIDEREAL', ?, ?, ?, ?, '', 'PUBLIC', '', '') ON CONFLICT DO NOTHING
"""
PHOTOMETRY = """
INSERT INTO tom_dataproducts_photometryreduceddatum
    (timestamp, value, telescope, instrument, source_name, source_location, brightness, brightness_error, unit,
     bandpass, target_id, reduction_version)
VALUES (?, '{}', '', '', 'bench', '', ?, ?, 'mag', ?, ?, '') ON CONFLICT DO NOTHING
"""
ALERTS = """
INSERT INTO tom_alertstreams_ingest_targetalert
    (stream, topic, partition, "offset", alert_id, object_id, event_key, ra, dec, time, match_method, retraction,
     points, summary, created, target_id)
VALUES ('bench', ?, ?, ?, ?, ?, '', ?, ?, ?, ?, 0, 1, '', ?, ?) ON CONFLICT DO NOTHING
"""
COUNT = """
INSERT INTO tom_alertstreams_outcomecount (stream, topic, hour, outcome, code, n) VALUES ('bench', ?, ?, 'done', '', ?)
ON CONFLICT (stream, topic, hour, outcome, code) DO UPDATE SET n = n + excluded.n
"""
MOVE = """
UPDATE tom_alertstreams_streampartition SET next_offset = ?, last_alert_at = ?
WHERE group_id = ? AND topic = ? AND partition = ? AND next_offset = ?
"""
BEGIN = """
INSERT INTO tom_alertstreams_streampartition (cluster, group_id, topic, partition, next_offset, topic_id)
VALUES ('', ?, ?, ?, 0, '') ON CONFLICT DO NOTHING
"""


def time_of(mjd: float) -> str:
    """The UTC time of a modified Julian date, as Django writes it."""
    day = math.floor(mjd)
    found = MJD_ZERO + timedelta(days=day, microseconds=math.floor(86_400e6 * (mjd - day) + 0.5))
    return found.isoformat(" ")


def store(db: sqlite3.Connection, topic: str, group: str, batch: list, offsets: dict[int, int]) -> None:
    """Write one batch and move the offsets, in one transaction."""
    rows = [(m.partition(), m.offset(), json.loads(m.value())) for m in batch]
    now = datetime.now(timezone.utc).replace(tzinfo=None)
    hour, now = now.replace(minute=0, second=0, microsecond=0).isoformat(" "), now.isoformat(" ")
    ends = {**offsets, **{partition: offset + 1 for partition, offset, _ in rows}}
    db.execute("BEGIN IMMEDIATE")
    first = {row["objectId"]: row for _, _, row in reversed(rows)}
    sql = "SELECT name, id FROM tom_targets_basetarget WHERE name IN (SELECT value FROM json_each(?))"
    names = json.dumps(list(first))
    known = dict(db.execute(sql, [names]))
    new = {name for name in first if name not in known}
    db.executemany(TARGETS, [(n, now, now, first[n]["ra"], first[n]["dec"]) for n in sorted(new)])
    ids = dict(db.execute(sql, [names])) if new else known
    points, alerts = [], []
    for partition, offset, row in rows:
        name, moment = row["objectId"], time_of(row["mjd"])
        points.append((moment, row["mag"], row["mag_error"], row["band"], ids[name]))
        method = "created" if name in new else "name"
        new.discard(name)
        alerts.append(
            (topic, partition, offset, str(row["candid"]), name, row["ra"], row["dec"], moment, method, now, ids[name])
        )
    db.executemany(PHOTOMETRY, points)
    db.executemany(ALERTS, alerts)
    db.execute(COUNT, [topic, hour, len(batch)])
    for partition, end in sorted(ends.items()):
        moved = [end, now, group, topic, partition, offsets[partition]]
        if end != offsets[partition] and db.execute(MOVE, moved).rowcount != 1:
            raise SystemExit(f"partition {partition} was moved by somebody else")
    db.execute("COMMIT")
    offsets.update(ends)


def main() -> None:
    """Read so many alerts."""
    servers, topic, group, file, count = sys.argv[1:6]
    size = int(sys.argv[6]) if len(sys.argv) > 6 else 2000
    consumer = Consumer({"bootstrap.servers": servers, "group.id": group, "enable.auto.commit": False})
    partitions = consumer.list_topics(topic, timeout=20).topics[topic].partitions
    db = sqlite3.connect(file, timeout=20, isolation_level=None)
    db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON")
    db.executemany(BEGIN, [(group, topic, partition) for partition in partitions])
    offsets = dict.fromkeys(partitions, 0)
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    done, began, used = 0, 0.0, 0.0
    while done < int(count):
        batch = consumer.consume(min(size, int(count) - done), 0.5)
        if not began and batch:
            began, used = time.perf_counter(), time.process_time()
        if batch:
            store(db, topic, group, batch, offsets)
        done += len(batch)
    seconds, used = time.perf_counter() - began, time.process_time() - used
    consumer.close()
    db.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"alerts": done, "seconds": seconds, "cpu_s": used, "peak_mb": peak}))


if __name__ == "__main__":
    main()
