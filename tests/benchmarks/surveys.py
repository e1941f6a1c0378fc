"""Rows with packets of ZTF and Rubin: decoding them, and bringing them into Targets with their history."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from tests.benchmarks import packets as made
from tests.benchmarks.bench import Bench, LeftOut, Timing, in_turn, rates
from tests.benchmarks.ingest import effort
from tests.benchmarks.results import Line

#: As users have it: their packets are large, and BATCH_BYTES ends a batch before.
_DELIVERY = {"BATCH_SIZE": 500}
_LOOK = "tests.benchmarks.handlers.look_without_cutouts"
_INGEST = {
    "HANDLER": "tom_alertstreams.ingest.handlers.ingest_targets",
    "OPTIONS": {"CREATE": "always", "MAX_NEW_PER_DAY": 10**9},
}


def packets(bench: Bench) -> list[Line]:
    """To a handler that does nothing, beside fastavro alone."""
    schema = bench.folder / "lsst.avsc"
    lines = []
    try:
        made.write_lsst_schema(schema)
        for survey, values, where in (("ZTF", made.ztf, ""), ("LSST", made.lsst, str(schema))):
            lines.append(_decoded(bench, survey, list(values(bench.size.packets)), where))
    except made.NoSamples as reason:
        raise LeftOut(str(reason)) from reason
    return lines


def _decoded(bench: Bench, survey: str, values: list[bytes], schema: str) -> Line:
    with bench.topic_of_bytes(values) as topic:

        def ours() -> Timing:
            with bench.database() as url:
                return bench.read(
                    topic, _LOOK, bench.tom(url), delivery=_DELIVERY, options={"SCHEMA": schema} if schema else {}
                )

        timings, bare = in_turn(bench.size.repeats, ours, lambda: bench.bare("packets", topic, len(values), schema))
    kilobytes = sum(map(len, values)) / len(values) / 1000
    measure = f"{survey}, {kilobytes:.0f} kB"
    notes = [f"{survey}, {who}: {effort(of)}" for who, of in (("ours", timings), ("fastavro", bare))]
    return Line("packets", measure, rates(timings), "bare fastavro", rates(bare), 0.70, notes=notes)


def history(bench: Bench) -> list[Line]:
    """ZTF's packets, each of a new object: all points of its history are written."""
    try:
        values: Iterator[bytes] = made.ztf_of_new_objects(bench.size.packets)
        with bench.topic_of_bytes(values) as topic:
            timings, points = [], []
            for _ in range(bench.size.repeats):
                with bench.database() as url:
                    timings.append(bench.read(topic, _INGEST, bench.tom(url), delivery=_DELIVERY))
                    with psycopg.connect(url) as connection:
                        sql = "SELECT count(*) FROM tom_dataproducts_photometryreduceddatum"
                        points.append(connection.execute(sql).fetchone()[0])
    except made.NoSamples as reason:
        raise LeftOut(str(reason)) from reason
    written = [n / timing.seconds for n, timing in zip(points, timings, strict=True)]
    notes = [f"ZTF: {points[0] / timings[0].alerts:.1f} points a packet; {effort(timings)}"]
    return [Line("history", "ZTF's packets, photometry points", written, unit="points/s", bound=10_000, notes=notes)]
