"""Row of the ready-made ingest on SQLite, as the example TOM sets it up (WAL), beside a floor of its own."""

from __future__ import annotations

import shutil
import sys

from tests.benchmarks.bench import BATCH, Bench, Timing, flat, in_turn, rates
from tests.benchmarks.ingest import BY_ID, by_id, effort
from tests.benchmarks.results import Line
from tests.benchmarks.rows import check_same, fingerprint_of_file
from tests.processes import Tom

_FLOOR = "tests/benchmarks/floor_sqlite.py"


def sqlite(bench: Bench) -> list[Line]:
    """The alerts of the row "ingest"."""
    empty = bench.tom()
    empty.migrate()
    written = {}

    def tom() -> Tom:
        fresh = bench.tom()
        shutil.copy(_file(empty), _file(fresh))
        return fresh

    with by_id(bench) as topic:

        def ours() -> Timing:
            into = tom()
            timing = bench.read(topic, flat(**BY_ID), into)
            written["ours"] = fingerprint_of_file(_file(into))
            return timing

        def floor() -> Timing:
            into = tom()
            arguments = [bench.servers.kafka.bootstrap_servers, topic, "floor", _file(into)]
            timing = bench.timing([sys.executable, _FLOOR, *arguments, str(bench.size.alerts), str(BATCH)])
            written["floor"] = fingerprint_of_file(_file(into))
            return timing

        timings, floors = in_turn(bench.size.repeats, ours, floor)
    check_same(written["ours"], written["floor"])
    notes = [f"{who}: {effort(of)}" for who, of in (("ours", timings), ("floor", floors))]
    return [Line("sqlite", "SQLite (WAL), match by id", rates(timings), "its floor", rates(floors), 0.60, notes=notes)]


def _file(tom: Tom) -> str:
    return str(tom.folder / "tom.sqlite3")
