"""Rows of the ready-made ingest on PostgreSQL: by id beside the floor and upstream, by position, among a million Targets."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

import psycopg

from tests.benchmarks import corpus
from tests.benchmarks.bench import Bench, Timing, in_turn, rates, ready_made
from tests.benchmarks.results import Line

BY_ID = {"MATCH_RADIUS_ARCSEC": 0}
TABLES = {
    "tom_dataproducts_photometryreduceddatum": "PhotometryReducedDatum",
    "tom_alertstreams_ingest_targetalert": "TargetAlert",
    "tom_targets_basetarget": "Target",
}


def ingest(bench: Bench) -> list[Line]:
    """Match by id, provenance and counts on: beside the floor, and beside a per-alert handler of upstream."""
    size = bench.size
    notes: list[str] = []
    with bench.topic(corpus.alerts(size.alerts, size.objects)) as topic:
        if bench.profile:
            read(bench, topic, BY_ID, profile=True)
            notes.append(f"profile of the reading process (python -m pstats): {bench.profile}")

        def floor() -> Timing:
            with bench.database() as url:
                return bench.floor(topic, url, size.alerts)

        def upstream() -> Timing:
            with bench.database() as url:
                return bench.upstream(topic, "tests.benchmarks.handlers.store", bench.tom(url), size.slow_alerts)

        floors, ours, others = in_turn(size.repeats, floor, lambda: read(bench, topic, BY_ID, sizes=notes), upstream)
    notes += [f"{who}: {effort(timings)}" for who, timings in (("ours", ours), ("floor", floors), ("1.3.0", others))]
    measure = f"{size.alerts:,} alerts, match by id"
    return [
        Line("ingest", measure, rates(ours), "floor", rates(floors), 0.70, notes=notes),
        Line("ingest", measure, rates(ours), f"1.3.0 ({size.slow_alerts:,} alerts)", rates(others), 100),
    ]


def read(
    bench: Bench, topic: str, options: dict[str, Any], *, template: str | None = None, sizes: list[str] | None = None,
    profile: bool = False,
) -> Timing:  # fmt: skip
    """The ready-made ingest into a fresh database.

    :param sizes: takes, the first time, what the rows need on the disk.
    """
    with bench.database(template) as url:
        timing = bench.read(topic, ready_made(**options), bench.tom(url), profile=bench.profile if profile else None)
        if sizes is not None and not any("on the disk" in note for note in sizes):
            sizes.append(on_disk(url, timing.alerts))
    return timing


def on_disk(url: str, alerts: int) -> str:
    """Bytes of each table for an alert, indexes included."""
    with psycopg.connect(url, autocommit=True) as connection:
        found = {
            name: connection.execute("SELECT pg_total_relation_size(%s::regclass)", [table]).fetchone()[0]
            for table, name in TABLES.items()
        }
    each = ", ".join(f"{name} {size / alerts:.0f}" for name, size in found.items())
    return f"on the disk {sum(found.values()) / alerts:.0f} bytes an alert ({each})"


def effort(timings: Sequence[Timing]) -> str:
    """Processor time for 1,000 alerts, memory, and how far the repeats lie apart."""
    per_1000 = {
        "Python": median(1000 * t.cpu_s / t.alerts for t in timings),
        "PostgreSQL": median(1000 * t.postgres_s / t.alerts for t in timings),
        "Kafka": median(1000 * t.kafka_s / t.alerts for t in timings),
    }
    spent = ", ".join(f"{who} {1000 * seconds:.0f} ms" for who, seconds in per_1000.items())
    found = sorted(rates(timings))
    return f"{found[0]:,.0f} to {found[-1]:,.0f} alerts/s; of 1,000 alerts {spent}; {timings[-1].peak_mb:.0f} MB"
