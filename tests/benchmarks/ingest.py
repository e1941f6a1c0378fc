"""Rows of the ready-made ingest on PostgreSQL: by id beside the floor and upstream, by position, among a million Targets."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmarks import corpus
from tests.benchmarks.bench import SLOW, Bench, Timing, flat, in_turn, rates
from tests.benchmarks.results import Line
from tests.benchmarks.rows import check_all, check_same, fingerprint, on_disk

BY_ID = {"MATCH_RADIUS_ARCSEC": 0}
BY_POSITION = {"MATCH_RADIUS_ARCSEC": 1.5}
#: Targets beside those of the alerts' objects.
FEW = 1000


def ingest(bench: Bench) -> list[Line]:
    """Match by id, provenance and counts on: beside the floor, and beside a per-alert handler of upstream."""
    size = bench.size
    notes: list[str] = []
    written: dict[str, Any] = {}

    def floor() -> Timing:
        with bench.database() as url:
            timing = bench.floor(topic, url, size.alerts)
            written["floor"] = fingerprint(url)
        return timing

    def ready_made() -> Timing:
        with bench.database() as url:
            timing = read(bench, topic, BY_ID, url)
            written["ours"], written["size"] = fingerprint(url), on_disk(url, size.alerts)
        return timing

    def upstream() -> Timing:
        with bench.database() as url:
            return bench.upstream(topic, SLOW, bench.tom(url), size.slow_alerts)

    with by_id(bench) as topic:
        if bench.profile:
            with bench.database() as url:
                read(bench, topic, BY_ID, url, profile=bench.profile)
            notes.append(f"profile of the reading process (python -m pstats): {bench.profile}")
        floors, ours, others = in_turn(size.repeats, floor, ready_made, upstream)
    check_same(written["ours"], written["floor"])
    notes.append(written["size"])
    notes += [f"{who}: {effort(timings)}" for who, timings in (("ours", ours), ("floor", floors), ("1.3.0", others))]
    measure = f"{size.alerts:,} alerts, match by id"
    return [
        Line("ingest", measure, rates(ours), "floor", rates(floors), 0.70, notes=notes),
        Line("ingest", measure, rates(ours), f"1.3.0 ({size.slow_alerts:,} alerts)", rates(others), 100),
    ]


def position(bench: Bench) -> list[Line]:
    """Every alert has a name that nobody knows and the position of a Target, beside alerts that are matched by id."""
    size, template = bench.size, bench.with_targets(FEW)
    with by_id(bench) as known, by_position(bench) as unknown:
        ours, mixed, others = in_turn(
            size.repeats,
            partial(into_copy, bench, template, unknown, BY_POSITION, "position"),
            partial(into_copy, bench, bench.empty, known, BY_POSITION),
            partial(into_copy, bench, template, known, BY_ID),
        )
    notes = [f"{who}: {effort(timings)}" for who, timings in (("every alert", ours), ("by id", others))]
    return [
        Line("position", "every alert matched by position", rates(ours), "by id", rates(others), 0.70, notes=notes),
        Line("position", "one in five looked for by position", rates(mixed), "by id", rates(others), 0.70),
    ]


def million(bench: Bench) -> list[Line]:
    """Both, among a million Targets beside a thousand. The objects of the alerts are there besides."""
    size = bench.size
    few, many = bench.with_targets(FEW), bench.with_targets(size.targets)
    lines = []
    for how, options, topic_of, method in (
        ("by id", BY_ID, by_id, None),
        ("by position", BY_POSITION, by_position, "position"),
    ):
        with topic_of(bench) as topic:
            ours, others = in_turn(
                size.repeats,
                partial(into_copy, bench, many, topic, options, method),
                partial(into_copy, bench, few, topic, options, method),
            )
        notes = [f"{how} among {size.targets:,}: {effort(ours)}", f"{how} among {FEW:,}: {effort(others)}"]
        measure = f"{how}, {size.targets:,} Targets"
        lines.append(Line("million", measure, rates(ours), f"{FEW:,} Targets", rates(others), 0.80, notes=notes))
    return lines


def by_id(bench: Bench) -> AbstractContextManager[str]:
    """A topic with five alerts of each object, which nobody knows before."""
    return bench.topic(corpus.alerts(bench.size.alerts, bench.size.objects))


def by_position(bench: Bench) -> AbstractContextManager[str]:
    """The same, but each alert has a name of its own."""
    return bench.topic(corpus.alerts(bench.size.alerts, bench.size.objects, each_its_own_name=True))


def read(
    bench: Bench,
    topic: str,
    options: dict[str, Any],
    url: str,
    *,
    method: str | None = None,
    profile: Path | None = None,
) -> Timing:
    """The ready-made ingest into this database. :param method: how each alert must find its Target."""
    timing = bench.read(topic, flat(**options), bench.tom(url), profile=profile)
    check_all(url, timing.alerts, method)
    return timing


def into_copy(bench: Bench, template: str, topic: str, options: dict[str, Any], method: str | None = None) -> Timing:
    """The same into a fresh copy of a database."""
    with bench.database(template) as url:
        return read(bench, topic, options, url, method=method)


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
