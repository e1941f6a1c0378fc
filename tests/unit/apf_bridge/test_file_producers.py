"""Output in files, and metrics in a log."""

from __future__ import annotations

import csv
import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from apf_bridge.compat.core import get_class
from apf_bridge.compat.metrics import DateTimeEncoder, LogfileMetricsProducer
from apf_bridge.compat.producers import CSVProducer, JSONProducer

CANDID = 2454460970015010006


def read_csv(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


class TestCsv:
    def test_a_header_and_columns_in_one_order(self, tmp_path: Path) -> None:
        path = tmp_path / "out.csv"
        producer = CSVProducer({"FILE_PATH": str(path)})
        producer.produce({"oid": "A", "p": {"SN": 0.5, "AGN": 0.25}, "ids": [CANDID]})
        producer.produce({"p": {"AGN": 0.75}, "ids": [1], "oid": "B"})
        producer.flush()
        rows = [["oid", "p.SN", "p.AGN", "ids"], ["A", "0.5", "0.25", f"[{CANDID}]"], ["B", "", "0.75", "[1]"]]
        assert read_csv(path) == rows
        producer.close()
        again = CSVProducer({"FILE_PATH": str(path)})
        again.produce({"ids": [], "oid": "C"})
        again.close()
        assert read_csv(path) == [*rows, ["C", "", "", "[]"]]

    def test_a_file_that_excel_has_saved(self, tmp_path: Path) -> None:
        (tmp_path / "out.csv").write_text("\ufeffoid,n\nA,1\n", encoding="utf-8")
        producer = CSVProducer({"FILE_PATH": str(tmp_path / "out.csv")})
        producer.produce({"oid": "B", "n": 2})
        producer.close()
        assert read_csv(tmp_path / "out.csv")[1:] == [["A", "1"], ["B", "2"]]

    def test_a_field_without_a_column(self, tmp_path: Path) -> None:
        producer = CSVProducer({"FILE_PATH": str(tmp_path / "out.csv")})
        producer.produce({"a": 1})
        with pytest.raises(ValueError, match=r"no column for b.*COLUMNS"):
            producer.produce({"a": 1, "b": 2})
        producer.close()
        named = CSVProducer({"FILE_PATH": str(tmp_path / "other.csv"), "COLUMNS": ["b", "a"]})
        named.produce({"a": 1})
        named.produce({"a": 1, "b": 2})
        named.close()
        assert read_csv(tmp_path / "other.csv") == [["b", "a"], ["", "1"], ["2", "1"]]


class TestJson:
    def written(self, folder: Path) -> dict[str, Any]:
        return {path.name: json.loads(path.read_text()) for path in sorted(folder.iterdir())}

    def test_values_are_kept(self, tmp_path: Path) -> None:
        message = {"name": "1e5", "timestamp": 1600000000, "candid": CANDID, "nested": {"a": [1, None]}}
        producer = JSONProducer({"FILE_PATH": str(tmp_path)})
        producer.produce(message)
        producer.produce({"n": 2})  # APF failed here
        assert self.written(tmp_path) == {"producer_output0.json": [message], "producer_output1.json": [{"n": 2}]}

    def test_numbers_of_numpy_and_pandas_are_kept(self, tmp_path: Path) -> None:
        numpy, pandas = pytest.importorskip("numpy"), pytest.importorskip("pandas")
        producer = JSONProducer({"FILE_PATH": str(tmp_path)})
        moment = pandas.Timestamp("2026-11-01")
        producer.produce({"id": numpy.int64(CANDID), "p": numpy.float32(0.5), "a": numpy.arange(2), "t": moment})
        kept = {"id": CANDID, "p": 0.5, "a": [0, 1], "t": "2026-11-01T00:00:00"}
        assert self.written(tmp_path) == {"producer_output0.json": [kept]}

    def test_the_rest_is_written_at_the_flush(self, tmp_path: Path) -> None:
        producer = JSONProducer({"FILE_PATH": str(tmp_path), "buffer_size": 3})
        for n in range(4):
            producer.produce({"n": n})
            producer.flush()
        outputs = {"producer_output0.json": [{"n": 0}, {"n": 1}, {"n": 2}], "producer_output1.json": [{"n": 3}]}
        assert self.written(tmp_path) == outputs

    def test_what_an_earlier_run_wrote_stays(self, tmp_path: Path) -> None:
        for n in range(2):
            JSONProducer({"FILE_PATH": str(tmp_path)}).produce({"n": n})
        assert len(self.written(tmp_path)) == 2

    def test_without_a_folder(self) -> None:
        with pytest.raises(KeyError, match="FILE_PATH"):
            JSONProducer({})

    def test_the_producer_for_tests(self) -> None:
        producer = get_class("apf.producers.TestProducer")({})
        producer.produce({"n": 1}, flush=True)
        assert producer.pre_produce_message == [{"n": 1}]


class TestMetrics:
    def test_a_line_for_each_batch(self, tmp_path: Path) -> None:
        for _ in range(2):
            sender = LogfileMetricsProducer({"PATH": str(tmp_path / "logs" / "metrics.log")})
            sender.send_metrics({"n_messages": 2, "source": "Step"})
        assert (tmp_path / "logs" / "metrics.log").read_text() == "n_messages: 2, source: Step\n" * 2

    def test_times_are_text_and_bytes_are_no_null(self) -> None:
        moment = datetime(2026, 11, 1, tzinfo=timezone.utc)
        assert json.dumps({"t": moment, "d": moment.date()}, cls=DateTimeEncoder) == (
            '{"t": "2026-11-01T00:00:00+00:00", "d": "2026-11-01"}'
        )
        with pytest.raises(TypeError, match="bytes"):
            json.dumps({"b": b""}, cls=DateTimeEncoder)
