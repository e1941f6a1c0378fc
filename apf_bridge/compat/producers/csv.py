"""``apf.producers.csv``."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

from apf_bridge.compat.core.config_keys import ConfigKeys
from apf_bridge.compat.metrics.generic import DateTimeEncoder

from .generic import GenericProducer


class CSVProducer(GenericProducer):
    """Rows at the end of FILE_PATH. Nested fields are columns ``outer.inner``; lists are JSON.

    The columns are those of COLUMNS, else of the file's header, else of the first message, and stay so: a field that
    a message does not have is empty, one that has no column is an error.
    """

    config_keys = ConfigKeys(required=("FILE_PATH",), optional=("COLUMNS",))

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        self.path = Path(config["FILE_PATH"])
        self.columns: list[str] | None = config.get("COLUMNS")
        self._file: Any = None

    def produce(self, message: Any = None, **kwargs: Any) -> None:
        """
        :raises ValueError: the message has a field without a column.
        """
        row = flattened(message)
        if self._file is None:
            self._open(list(row))
        if other := [name for name in row if name not in (self.columns or ())]:
            raise ValueError(
                f"{self.path} has no column for {', '.join(other)}: its columns are those of its header or its first "
                f"message. Name all of them in COLUMNS, and write to a new file."
            )
        csv.writer(self._file).writerow([row.get(name, "") for name in self.columns or ()])

    def _open(self, columns: list[str]) -> None:
        header = None
        if self.path.exists():
            with self.path.open(newline="", encoding="utf-8-sig") as file:  # Excel may have saved it
                header = next(csv.reader(file), None)
        self.columns = header or self.columns or columns
        self._file = self.path.open("a", newline="", encoding="utf-8")
        if header is None:
            csv.writer(self._file).writerow(self.columns)

    def flush(self) -> None:
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        self.flush()
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def __del__(self) -> None:
        if self.__dict__.get("_file") is not None:  # absent where the constructor failed
            self.close()


def flattened(message: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, value in message.items():
        if isinstance(value, dict):
            row |= flattened(value, f"{prefix}{name}.")
        else:
            row[f"{prefix}{name}"] = json.dumps(value, cls=DateTimeEncoder) if isinstance(value, list) else value
    return row
