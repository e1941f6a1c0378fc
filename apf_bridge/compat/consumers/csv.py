"""``apf.consumers.csv``."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final

from apf_bridge.compat.core.config_keys import ConfigKeys

from .generic import GenericConsumer, batch_size, batches

#: Arguments of pandas' ``read_csv`` that are understood, and what they may be; None is none.
ARGUMENTS: Final[Mapping[str, str]] = {
    "sep": "one character",
    "delimiter": "one character",
    "header": "a whole number",
    "names": "a list",
    "index_col": "a whole number or a name",
    "usecols": "a list",
    "dtype": "a type or a dict",
    "skiprows": "a whole number",
    "nrows": "a whole number",
    "encoding": "a name",
    "quotechar": "one character",
    "skipinitialspace": "True or False",
}
_FITS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "one character": lambda value: isinstance(value, str) and len(value) == 1,
    "a whole number": lambda value: isinstance(value, int) and value >= 0,
    "a list": lambda value: isinstance(value, list | tuple),
}
_INTEGER: Final = re.compile(r"\s*[+-]?[0-9]+\s*")
_MISSING: Final = frozenset({"", "NA", "N/A", "#N/A", "NaN", "nan", "NULL", "null", "None", "<NA>", "n/a"})
_BOOLEAN: Final = {"True": True, "TRUE": True, "true": True, "False": False, "FALSE": False, "false": False}


class CSVConsumer(GenericConsumer):
    """Rows of FILE_PATH as dicts, read as they are needed.

    Each value is read by itself: whole numbers exactly, whatever their length, then other numbers and booleans, NaN
    where there is none, else text. OTHER_ARGS takes some of pandas' arguments: :data:`ARGUMENTS`. ``dtype`` (a dict of
    column and ``str``, ``int`` or ``float``) says how a column is to be read.
    """

    config_keys = ConfigKeys(required=("FILE_PATH",), optional=("OTHER_ARGS", "consume.messages", "NUM_MESSAGES"))

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        if self.config.get("FILE_PATH") is None:
            raise Exception("FILE_PATH variable not set")  # as APF: steps' tests look for it
        self.arguments: dict[str, Any] = dict(self.config.get("OTHER_ARGS") or {})
        if self.arguments.get("header") == "infer":  # pandas' default, and ours
            del self.arguments["header"]
        if unknown := sorted(self.arguments.keys() - ARGUMENTS):
            raise ValueError(
                f"OTHER_ARGS has {', '.join(unknown)}. Those that are understood: {', '.join(sorted(ARGUMENTS))}."
            )
        for name, value in self.arguments.items():
            fits = _FITS.get(ARGUMENTS[name])
            if value is not None and fits is not None and not fits(value):
                raise ValueError(f"OTHER_ARGS has {name} {value!r}; what is understood here is {ARGUMENTS[name]}.")

    def consume(self) -> Iterator[Any]:
        """
        :raises ValueError: a row has more or fewer fields than the header.
        """
        yield from batches(self._rows(), batch_size(self.config))

    @property
    def _encoding(self) -> str:
        """Excel puts a mark before the first name, which is no part of it."""
        given = str(self.arguments.get("encoding") or "utf-8")
        return "utf-8-sig" if given.lower() in ("utf-8", "utf8") else given

    def _rows(self) -> Iterator[dict[str, Any]]:
        with Path(self.config["FILE_PATH"]).open(newline="", encoding=self._encoding) as file:
            lines = self._lines(file)
            names = self._names(lines)
            columns = [(n, name, self._reader_of(name)) for n, name in enumerate(names) if self._is_used(n, name)]
            for row in islice(lines, self.arguments.get("nrows")):
                if len(row) != len(names):
                    raise ValueError(
                        f"A row of {self.config['FILE_PATH']} has {len(row)} fields and {len(names)} names: {row[:5]}"
                    )
                yield {name: read(row[n]) for n, name, read in columns}

    def _lines(self, file: IO[str]) -> Iterator[list[str]]:
        for _ in range(int(self.arguments.get("skiprows") or 0)):
            file.readline()
        lines = csv.reader(
            file,
            delimiter=self.arguments.get("sep") or self.arguments.get("delimiter") or ",",
            quotechar=self.arguments.get("quotechar", '"'),
            skipinitialspace=self.arguments.get("skipinitialspace", False),
        )
        return (row for row in lines if row)

    def _names(self, lines: Iterator[list[str]]) -> list[str]:
        given = self.arguments.get("names")
        header = self.arguments.get("header", 0 if given is None else None)
        if header is None:
            if given is None:
                raise ValueError("OTHER_ARGS has header None: say the names of the columns in names.")
            return [str(name) for name in given]
        found = next(islice(lines, int(header), None), [])
        return [str(name) for name in given] if given is not None else found

    def _is_used(self, n: int, name: str) -> bool:
        used, index = self.arguments.get("usecols"), self.arguments.get("index_col")
        if index is not None and index is not False and index in (n, name):
            return False  # pandas' index is no column
        return used is None or n in used or name in used

    def _reader_of(self, name: str) -> Callable[[str], Any]:
        dtype = self.arguments.get("dtype")
        kind = dtype.get(name) if isinstance(dtype, dict) else dtype
        text = getattr(kind, "__name__", kind)
        if text is None:
            return read_value
        if text in ("str", "string", "object"):
            return str
        if text.startswith("int"):
            return int
        if text.startswith("float"):
            return float
        raise ValueError(f"OTHER_ARGS has dtype {kind!r} for {name!r}; write str, int or float.")


def read_value(text: str) -> Any:
    """The value that a field of a CSV file most likely means."""
    if text in _MISSING:
        return math.nan
    if _INTEGER.fullmatch(text):
        return int(text)
    if text in _BOOLEAN:
        return _BOOLEAN[text]
    try:
        return float(text) if "_" not in text else text
    except ValueError:
        return text
