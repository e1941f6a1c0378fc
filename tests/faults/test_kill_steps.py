"""Steps are killed at random moments: what each puts out of an alert is there once. Real Kafka, PostgreSQL and SIGKILL."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.brokers import RunningKafka
from tests.faults import mishaps
from tests.faults.mishaps import Kind
from tests.faults.results import Size, say, table
from tests.faults.steps import ServersOfSteps, prove

ALERTS = int(os.environ.get("KILL_ALERTS", "1500"))
KILLS = 2


@pytest.mark.long
@pytest.mark.timeout(300)
def test_killed_twice_every_alert_is_put_out_once(real_kafka: RunningKafka, postgres_url: str, tmp_path: Path) -> None:
    """In the outbox exactly once; on the topic at least once, with the same key and the same id."""
    seed = int(os.environ.get("KILL_SEED", random.randrange(10**6)))
    print(f"KILL_SEED={seed}")
    size = Size(ALERTS, KILLS, seed, 0)
    kinds = {"kill": Kind("process", mishaps.killed)}
    result = prove(ServersOfSteps(real_kafka, real_kafka), tmp_path, postgres_url, kinds, size, say, processes=1)
    print(table([result]))
    assert not result.findings, "\n".join(result.findings)
