"""Rows that watch running processes from outside: two in one group, and how soon an alert is there."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from statistics import median, quantiles

import psycopg

from tests.benchmarks import corpus
from tests.benchmarks.bench import BATCH, Bench, flat, stream
from tests.benchmarks.ingest import BY_ID
from tests.benchmarks.results import Line
from tests.benchmarks.rows import check_all, check_counted
from tests.processes import Tom, running, wait_until

_HANDLED = "SELECT coalesce(sum(next_offset), 0) FROM tom_alertstreams_streampartition"
_RUNNING = "SELECT count(*) FROM tom_alertstreams_streamrun WHERE state = 'running'"
_RECORDED = "SELECT count(*) FROM tom_alertstreams_ingest_targetalert"
_PATIENCE_S = 600.0


def two(bench: Bench) -> list[Line]:
    """Two processes share a topic: each alert is there once, and it takes no longer than with one."""
    values = [json.dumps(content).encode() for content in corpus.alerts(bench.size.alerts, bench.size.objects)]
    both, alone = [], []
    for _ in range(bench.size.repeats):
        both.append(_rate(bench, values, 2))
        alone.append(_rate(bench, values, 1))
    notes = [f"{os.cpu_count()} cores, which Kafka, PostgreSQL and the sender share; no row lost, none twice"]
    return [Line("two", "two processes, one group", both, "one process", alone, 1.0, notes=notes)]


def _rate(bench: Bench, values: list[bytes], processes: int) -> float:
    """Alerts a second, from the first that is sent to the commit of the last."""
    with _listening(bench, processes, {"BATCH_SIZE": BATCH, "BATCH_SECONDS": 60.0}) as (topic, url):
        with psycopg.connect(url, autocommit=True) as connection:
            began = time.monotonic()
            corpus.publish(bench.servers.kafka, topic, values)
            wait_until(lambda: connection.execute(_HANDLED).fetchone()[0] >= len(values), "the last alert", _PATIENCE_S)
            seconds = time.monotonic() - began
        check_all(url, len(values))
        check_counted(url, len(values))
    return len(values) / seconds


def latency(bench: Bench) -> list[Line]:
    """One alert a second: from the moment it is sent until its row can be seen."""
    waits: list[float] = []
    with _listening(bench, 1, {}) as (topic, url), psycopg.connect(url, autocommit=True) as connection:
        for n, content in enumerate(corpus.alerts(bench.size.latency_s + 1, 1)):
            began = time.monotonic()
            bench.servers.kafka.produce(topic, json.dumps(content), partition=n % corpus.PARTITIONS)
            bench.servers.kafka.flush()
            while connection.execute(_RECORDED).fetchone()[0] <= n:
                if time.monotonic() - began > _PATIENCE_S:
                    raise TimeoutError("an alert did not arrive")
                time.sleep(0.001)
            waits.append(1000 * (time.monotonic() - began))
            time.sleep(max(0.0, began + 1 - time.monotonic()))
    steady = waits[1:]  # at the first the process compiles its statements
    return [
        Line("latency", "one alert a second, median", [median(steady)], bound=50, at_most=True, unit="ms"),
        Line("latency", "one alert a second, p99", [quantiles(steady, n=100, method="inclusive")[98]], bound=200,
             at_most=True, unit="ms", notes=[f"the first {waits[0]:.0f} ms, the longest after it {max(steady):.0f} ms"]),
    ]  # fmt: skip


def memory(bench: Bench) -> list[Line]:
    """Measured elsewhere."""
    return [Line("memory", "flat over 1,000,000 alerts", reason="make faults ARGS=memory proves it")]


@contextmanager
def _listening(bench: Bench, processes: int, delivery: dict[str, float]) -> Iterator[tuple[str, str]]:
    """So many ``readstreams``, which have their partitions of a topic that is still empty; the topic, and the database."""
    topic = f"bench-{uuid.uuid4().hex[:8]}"
    with ExitStack() as stack:
        stack.enter_context(bench.servers.topic(topic, corpus.PARTITIONS))
        url = stack.enter_context(bench.database())
        tom: Tom = bench.tom(url)
        tom.streams = [stream(bench.servers.kafka.bootstrap_servers, {topic: flat(**BY_ID)}, delivery)]
        for _ in range(processes):
            stack.enter_context(running(tom, "readstreams"))
        wait_until(lambda: tom.query(_RUNNING)[0][0] == processes, "the streams", 100)
        time.sleep(2)  # the first gives partitions away once the second is there
        yield topic, url
