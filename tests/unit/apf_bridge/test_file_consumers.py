"""Messages from files: every record, every batch, every digit."""

from __future__ import annotations

import itertools
import json
import math
import tracemalloc
from pathlib import Path
from typing import Any

import fastavro
import pytest

from apf_bridge.compat.consumers import AVROFileConsumer, AVROInfiniteConsumer, CSVConsumer, JSONConsumer
from apf_bridge.compat.core import get_class

SCHEMA = {"type": "record", "name": "alert", "fields": [{"name": "n", "type": "long"}]}
CANDID = 2454460970015010006


def write_avro(folder: Path, *contents: list[int]) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    for n, values in enumerate(contents):
        with (folder / f"{n}.avro").open("wb") as file:
            fastavro.writer(file, SCHEMA, [{"n": value} for value in values])
    return {"DIRECTORY_PATH": str(folder)}


def sizes(batches: Any) -> list[int]:
    return [len(batch) for batch in batches]


class TestAvroFiles:
    def test_every_record_of_every_file(self, tmp_path: Path) -> None:
        config = write_avro(tmp_path / "avro", [1, 2], [3], [], [4])
        assert [record["n"] for record in AVROFileConsumer(config).consume()] == [1, 2, 3, 4]

    @pytest.mark.parametrize("key", ["consume.messages", "NUM_MESSAGES"])
    @pytest.mark.parametrize(("size", "expected"), [(4, [4, 2]), (7, [6]), (5, [5, 1]), (3, [3, 3])])
    def test_the_last_batch_is_what_is_left(self, tmp_path: Path, key: str, size: int, expected: list[int]) -> None:
        config = write_avro(tmp_path / "avro", *([n] for n in range(6)))
        assert sizes(AVROFileConsumer({**config, key: size}).consume()) == expected

    def test_in_the_order_of_names(self, tmp_path: Path) -> None:
        for name in ("b", "c", "a"):
            write_avro(tmp_path / name, [ord(name)])
            (tmp_path / name / "0.avro").rename(tmp_path / f"{name}.avro")
        assert [record["n"] for record in AVROFileConsumer({"DIRECTORY_PATH": str(tmp_path)}).consume()] == [97, 98, 99]

    def test_other_files_are_left_alone(self, tmp_path: Path) -> None:
        config = write_avro(tmp_path / "avro", [1])
        (tmp_path / "avro" / "README.md").write_text("no avro")
        assert [record["n"] for record in AVROFileConsumer(config).consume()] == [1]

    def test_no_batch_can_be_of_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"consume\.messages is 0"):
            list(AVROFileConsumer({**write_avro(tmp_path / "avro", [1]), "NUM_MESSAGES": 0}).consume())

    def test_no_folder_and_no_files(self, tmp_path: Path) -> None:
        with pytest.raises(NotADirectoryError, match="DIRECTORY_PATH"):
            list(AVROFileConsumer({"DIRECTORY_PATH": str(tmp_path / "none")}).consume())
        assert list(AVROFileConsumer({"DIRECTORY_PATH": str(tmp_path)}).consume()) == []

    def test_a_broken_file_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "broken.avro").write_bytes(b"no avro")
        with pytest.raises(ValueError, match=r"broken\.avro cannot be read as Avro"):
            list(AVROFileConsumer({"DIRECTORY_PATH": str(tmp_path)}).consume())

    def test_over_and_over(self, tmp_path: Path) -> None:
        consumer = AVROInfiniteConsumer(write_avro(tmp_path / "avro", [1], [2]))
        assert [record["n"] for record in itertools.islice(consumer.consume(), 5)] == [1, 2, 1, 2, 1]
        with pytest.raises(FileNotFoundError, match=r"no \*\.avro"):
            next(AVROInfiniteConsumer({"DIRECTORY_PATH": str(tmp_path)}).consume())


class TestCsv:
    def rows(self, tmp_path: Path, text: str, **config: Any) -> list[Any]:
        (tmp_path / "alerts.csv").write_text(text)
        return list(CSVConsumer({"FILE_PATH": str(tmp_path / "alerts.csv"), **config}).consume())

    def test_ids_of_64_bits_are_exact(self, tmp_path: Path) -> None:
        assert self.rows(tmp_path, f"candid,mag\n{CANDID},18.25\n") == [{"candid": CANDID, "mag": 18.25}]

    @pytest.mark.parametrize("number", [CANDID, -CANDID, 2**63 - 1, 2**64 + 1])
    def test_ids_stay_exact_beside_other_numbers(self, tmp_path: Path, number: int) -> None:
        """In a row of numbers alone pandas makes floats of all of them."""
        [row] = self.rows(tmp_path, f"candid,ra,dec\n{number},1.5,-2\n")
        assert (row["candid"], type(row["candid"])) == (number, int)
        assert (row["ra"], row["dec"]) == (1.5, -2)

    def test_ids_stay_exact_beside_what_is_missing(self, tmp_path: Path) -> None:
        first, second = self.rows(tmp_path, f"candid\n{CANDID}\nNaN\n")
        assert first == {"candid": CANDID}
        assert math.isnan(second["candid"])

    def test_text_booleans_and_quotes(self, tmp_path: Path) -> None:
        text = 'oid,real,note\nZTF18abc,True,"a, b"\n1_000,false,1e-3\n'
        assert self.rows(tmp_path, text) == [
            {"oid": "ZTF18abc", "real": True, "note": "a, b"},
            {"oid": "1_000", "real": False, "note": 1e-3},
        ]

    @pytest.mark.parametrize("arguments", [{}, {"encoding": "utf-8"}, {"encoding": "UTF8"}, {"encoding": None}])
    def test_a_file_that_excel_has_saved(self, tmp_path: Path, arguments: dict[str, Any]) -> None:
        assert self.rows(tmp_path, "\ufeffoid,n\nZTF1,1\n", OTHER_ARGS=arguments) == [{"oid": "ZTF1", "n": 1}]

    def test_another_encoding(self, tmp_path: Path) -> None:
        (tmp_path / "alerts.csv").write_bytes("note\nñ\n".encode("latin-1"))
        own = {"FILE_PATH": str(tmp_path / "alerts.csv"), "OTHER_ARGS": {"encoding": "latin-1"}}
        assert list(CSVConsumer(own).consume()) == [{"note": "ñ"}]

    def test_batches(self, tmp_path: Path) -> None:
        batches = self.rows(tmp_path, "n\n" + "\n".join(map(str, range(5))), NUM_MESSAGES=2)
        assert [[row["n"] for row in batch] for batch in batches] == [[0, 1], [2, 3], [4]]

    def test_arguments_of_pandas(self, tmp_path: Path) -> None:
        arguments = {"sep": ";", "index_col": "id", "header": 0, "dtype": {"oid": "str"}, "nrows": 1}
        assert self.rows(tmp_path, "id;oid;m\n1;007;2\n2;008;3\n", OTHER_ARGS=arguments) == [{"oid": "007", "m": 2}]
        named = {"header": None, "names": ["a", "b"], "usecols": ["b"], "skiprows": 1}
        assert self.rows(tmp_path, "# comment\n1,2\n", OTHER_ARGS=named) == [{"b": 2}]

    def test_arguments_that_are_not_understood_are_named(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"parse_dates, thousands.*understood: .*sep"):
            self.rows(tmp_path, "", OTHER_ARGS={"thousands": ",", "parse_dates": True})

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ({"skiprows": [1]}, r"skiprows \[1\]; what is understood here is a whole number"),
            ({"header": [0, 1]}, "a whole number"),
            ({"nrows": -1}, "a whole number"),
            ({"usecols": str.isupper}, "usecols <method .*a list"),
            ({"sep": r"\s+"}, "one character"),
        ],
    )
    def test_values_that_are_not_understood_are_told_at_the_start(self, arguments: dict[str, Any], said: str) -> None:
        with pytest.raises(ValueError, match=said):
            CSVConsumer({"FILE_PATH": "alerts.csv", "OTHER_ARGS": arguments})

    @pytest.mark.parametrize("arguments", [{"header": "infer"}, {"skiprows": None, "usecols": None, "sep": None}])
    def test_defaults_of_pandas(self, tmp_path: Path, arguments: dict[str, Any]) -> None:
        assert self.rows(tmp_path, "oid,n\nZTF1,1\n", OTHER_ARGS=arguments) == [{"oid": "ZTF1", "n": 1}]

    def test_a_row_that_does_not_fit(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="3 fields and 2 names"):
            self.rows(tmp_path, "a,b\n1,2,3\n")

    def test_without_a_path(self) -> None:
        with pytest.raises(Exception, match="FILE_PATH variable not set"):
            CSVConsumer({})

    def test_memory_is_flat(self, tmp_path: Path) -> None:
        path = tmp_path / "large.csv"
        with path.open("w") as file:
            file.write("candid,mag\n")
            file.writelines(f"{CANDID + n},{'1' * 80}\n" for n in range(50_000))
        assert path.stat().st_size > 5_000_000
        tracemalloc.start()
        batches = CSVConsumer({"FILE_PATH": str(path), "NUM_MESSAGES": 100}).consume()
        rows = sum(len(batch) for batch in batches)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert rows == 50_000
        assert peak < 1_000_000


class TestJson:
    def consumed(self, tmp_path: Path, content: Any, **config: Any) -> list[Any]:
        (tmp_path / "alerts.json").write_text(json.dumps(content))
        return list(JSONConsumer({"FILE_PATH": str(tmp_path / "alerts.json"), **config}).consume())

    def test_items_one_by_one_and_in_batches(self, tmp_path: Path) -> None:
        items = [{"n": CANDID}, {"n": "1e5"}, {"n": 3}]
        assert self.consumed(tmp_path, items) == items
        assert self.consumed(tmp_path, items, NUM_MESSAGES=2) == [items[:2], items[2:]]
        assert self.consumed(tmp_path, {"n": 1}) == [{"n": 1}]

    def test_no_path_and_no_json(self, tmp_path: Path) -> None:
        with pytest.raises(Exception, match="FILE_PATH variable not set"):
            JSONConsumer({})
        (tmp_path / "broken.json").write_text("{")
        with pytest.raises(ValueError, match=r"broken\.json cannot be read as JSON"):
            list(JSONConsumer({"FILE_PATH": str(tmp_path / "broken.json")}).consume())

    def test_the_consumer_for_tests_yields_all_at_once(self, tmp_path: Path) -> None:
        (tmp_path / "alerts.json").write_text('[{"n": 1}, {"n": 2}]')
        params = {"input_path": str(tmp_path / "alerts.json"), "input_format": "json"}
        consumer = get_class("apf.consumers.TestConsumer")({"PARAMS": params})
        assert list(consumer.consume()) == [[{"n": 1}, {"n": 2}]]
