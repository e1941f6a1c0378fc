"""What the table says of a measure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.benchmarks.results import Line, Report


class TestLine:
    def test_a_rate_must_reach_a_share_of_the_other(self) -> None:
        line = Line("ingest", "", [70, 700, 1], "floor", [100, 1000, 90], 0.70)
        assert (line.value, line.verdict) == (0.7, "reached")
        assert Line("ingest", "", [69], "floor", [100], 0.70).verdict == "MISSED"

    def test_a_cost_must_not_be_more_than_so_many_times_the_other(self) -> None:
        line = Line("legacy", "", [1000], "bare", [1500], 1.5, at_most=True)
        assert (line.value, line.verdict) == (1.5, "reached")
        assert Line("legacy", "", [1000], "bare", [1501], 1.5, at_most=True).verdict == "MISSED"

    def test_alone_it_is_the_number_itself(self) -> None:
        assert Line("latency", "", [51.0], bound=50, at_most=True, unit="ms").verdict == "MISSED"
        assert Line("history", "", [10_000.0], bound=10_000, unit="points/s").verdict == "reached"

    @pytest.mark.parametrize(
        ("line", "verdict"),
        [
            (Line("packets", "", reason="no real alerts"), "left out"),
            (Line("packets", "", error="KeyError: 'candid'"), "CRASHED"),
            (Line("legacy", "", [1], "bare", [1]), "told"),
        ],
    )
    def test_what_is_not_judged(self, line: Line, verdict: str) -> None:
        assert (line.verdict, line.missed) == (verdict, False)


def test_everything_is_in_the_table_and_in_the_file(tmp_path: Path) -> None:
    lines = [Line("ingest", "by id", [8000, 9000, 7000], "floor", [10_000], 0.70, notes=["669 bytes an alert"])]
    report = Report("make bench", [*lines, Line("packets", "", reason="no real alerts")])
    table = report.table()
    assert table.splitlines()[1].split() == ["ingest", "by", "id", "8,000", "alerts/s", "floor", "10,000", "0.80", "≥",
                                             "0.7", "reached"]  # fmt: skip
    assert "ingest: 669 bytes an alert" in table
    assert "packets: left out: no real alerts" in table
    report.write(tmp_path / "bench.json")
    written = json.loads((tmp_path / "bench.json").read_text())
    assert [line["verdict"] for line in written["lines"]] == ["reached", "left out"]
    assert {"cores", "python", "versions"} <= set(written["machine"])
    assert written["command"] == "make bench"
