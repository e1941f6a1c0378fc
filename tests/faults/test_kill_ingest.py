"""A TOM that ingests is killed at random moments: every alert leaves its rows once. Real Kafka, PostgreSQL and SIGKILL."""

from __future__ import annotations

import json
import os
import random
import signal
from pathlib import Path

import pytest

from tests.brokers import RunningKafka
from tests.processes import Tom, running, wait_until
from tests.streams import entry
from tests.unit.ingest.samples import ztf_packet

ALERTS = int(os.environ.get("KILL_ALERTS", "20000"))
OBJECTS = max(1, ALERTS // 10)
KILLS = 5
PARTITIONS = 4
INGEST = "tom_alertstreams.ingest.handlers.ingest_targets"
_QUICK_SESSION = {"session.timeout.ms": 1500, "heartbeat.interval.ms": 300, "fetch.wait.max.ms": 10}
_FIRST_CANDID = 2**53  # where a float would begin to confuse neighbours


def packet(number: int) -> bytes:
    """Detection ``number`` of the night: objects take turns, 2.8 degrees or more from their neighbours on the sky."""
    star = number % OBJECTS
    column, row = divmod(star, 60)
    position = {"ra": (column * 360 / (OBJECTS // 60 + 1)) % 360, "dec": row * 2.8 - 83.0}
    fields = {"jd": 2461000.5 + number / 86400, "fid": 1 + number % 3, "magpsf": 15 + number % 500 / 100}
    return json.dumps(ztf_packet(f"ZTF26{star:07}", _FIRST_CANDID + number, **position, **fields)).encode()


@pytest.mark.long
@pytest.mark.timeout(300)
def test_killed_five_times_every_alert_has_its_rows_once(
    real_kafka: RunningKafka, postgres_url: str, tmp_path: Path, topic: str, group_id: str
) -> None:
    seed = int(os.environ.get("KILL_SEED", random.randrange(10**6)))
    print(f"KILL_SEED={seed}")
    dice = random.Random(seed)
    real_kafka.create_topic(topic, PARTITIONS)
    for number in range(ALERTS):
        # Detections of one object are in all partitions, as of a broker that does not care.
        real_kafka.produce(topic, packet(number), partition=(number + number // OBJECTS) % PARTITIONS)
    real_kafka.flush()
    tom = Tom(tmp_path, postgres_url, settings="tests.settings")
    tom.migrate()
    options = {"CREATE": "always", "MAX_NEW_PER_DAY": 10 * OBJECTS, "PERMISSIONS": "OPEN"}
    topics = {topic: {"HANDLER": INGEST, "OPTIONS": options}}
    tom.streams = [entry(real_kafka.bootstrap_servers, group_id, topics, CONFIG=_QUICK_SESSION)]

    def ingested() -> int:
        return int(tom.query("SELECT count(*) FROM tom_alertstreams_ingest_targetalert")[0][0])

    killed_at = []
    for at in sorted(dice.sample(range(1, ALERTS * 9 // 10), KILLS)):
        with running(tom, "readstreams") as process:
            wait_until(lambda: ingested() >= at or process.poll() is not None, f"{at} alerts", 120)  # noqa: B023
            assert process.poll() is None, process.log.read_text()[-4000:]
            process.send_signal(signal.SIGKILL)
        killed_at.append(ingested())
    assert any(at < ALERTS for at in killed_at), "never killed in the middle"
    done = tom.run("readstreams", "--once", timeout_s=200)
    assert done.returncode == 0, done.stdout

    def numbers(sql: str) -> tuple[int, ...]:
        (row,) = tom.query(sql)
        return tuple(int(number) for number in row)

    alerts = "tom_alertstreams_ingest_targetalert"
    sql = f'SELECT count(*), count(DISTINCT alert_id), count(DISTINCT ("partition", "offset")), count(target_id) FROM {alerts}'
    assert numbers(sql) == (ALERTS,) * 4
    assert numbers(f"SELECT min(alert_id::bigint), max(alert_id::bigint) FROM {alerts}") == (
        _FIRST_CANDID, _FIRST_CANDID + ALERTS - 1
    )  # fmt: skip
    assert numbers("SELECT count(*), count(DISTINCT name) FROM tom_targets_basetarget") == (OBJECTS,) * 2
    sql = "SELECT count(*), count(DISTINCT (target_id, timestamp, bandpass)), count(DISTINCT value ->> 'candid')"
    assert numbers(f"{sql} FROM tom_dataproducts_photometryreduceddatum") == (ALERTS,) * 3
    # Each point is with the Target that its alert was about.
    sql = "SELECT count(*) FROM tom_dataproducts_photometryreduceddatum p JOIN tom_targets_basetarget t ON p.target_id = t.id"
    sql += f" JOIN {alerts} a ON a.alert_id = p.value ->> 'candid' AND a.target_id = t.id AND a.object_id = t.name"
    assert numbers(sql) == (ALERTS,)
    assert numbers("SELECT count(*) FROM tom_alertstreams_deadletter") == (0,)
    assert tom.query("SELECT outcome, sum(n) FROM tom_alertstreams_outcomecount GROUP BY outcome") == [("done", ALERTS)]
