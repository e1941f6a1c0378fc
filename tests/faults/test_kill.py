"""The process is killed at random moments. Real Kafka, real PostgreSQL, real SIGKILL."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.brokers import RunningKafka
from tests.effects import handlers
from tests.processes import Tom, running, wait_until
from tests.streams import entry

#: In full for a handler of 1.x, which has a transaction for each alert; KILL_ALERTS makes all of them larger or smaller.
ALERTS = {
    style: int(os.environ.get("KILL_ALERTS", n)) for style, n in (("one", 20_000), ("each", 4_000), ("many", 4_000))
}
KILLS = 5
PARTITIONS = 4
_QUICK_SESSION = {"session.timeout.ms": 1500, "heartbeat.interval.ms": 300, "fetch.wait.max.ms": 10}


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("handler", ALERTS)
def test_killed_five_times_every_effect_is_there_once(
    handler: str, real_kafka: RunningKafka, postgres_url: str, tmp_path: Path, topic: str, group_id: str
) -> None:
    seed = int(os.environ.get("KILL_SEED", random.randrange(10**6)))
    print(f"KILL_SEED={seed}")
    dice, alerts = random.Random(seed), ALERTS[handler]
    real_kafka.create_topic(topic, PARTITIONS)
    for number in range(alerts):
        real_kafka.produce(topic, handlers.content(n=number), partition=number % PARTITIONS)
    real_kafka.flush()
    tom = Tom(tmp_path, postgres_url)
    tom.migrate()
    tom.streams = [_stream(real_kafka, group_id, {topic: handler})]

    def handled() -> int:
        return int(tom.query("SELECT count(*) FROM effects_effect")[0][0])

    for at in sorted(dice.sample(range(1, alerts * 9 // 10), KILLS)):
        with running(tom, "readstreams") as process:
            wait_until(lambda: handled() >= at, f"{at} effects", 120)  # noqa: B023
            process.send_signal(signal.SIGKILL)
    done = tom.run("readstreams", "--once", timeout_s=200)
    assert done.returncode == 0, done.stdout
    expected = {(topic, partition, offset) for partition in range(PARTITIONS) for offset in range(alerts // PARTITIONS)}
    found = Counter(tom.effects())
    assert not [effect for effect, times in found.items() if times > 1], "handled twice"
    assert set(found) == expected
    counted = tom.query("SELECT sum(n) FROM tom_alertstreams_outcomecount WHERE outcome = 'done'")[0][0]
    assert counted == alerts


def _stream(kafka: RunningKafka, group_id: str, topic_handlers: dict[str, Any]) -> dict[str, Any]:
    return entry(kafka.bootstrap_servers, group_id, topic_handlers, CONFIG=_QUICK_SESSION)
