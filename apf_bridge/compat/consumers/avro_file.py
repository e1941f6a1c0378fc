"""``apf.consumers.avro_file``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastavro

from apf_bridge.compat.core.config_keys import ConfigKeys

from .generic import GenericConsumer, batch_size, batches


class AVROFileConsumer(GenericConsumer):
    """Every record of every ``*.avro`` in DIRECTORY_PATH, in the order of names. ``consume.messages`` makes batches."""

    config_keys = ConfigKeys(required=("DIRECTORY_PATH",), optional=("consume.messages", "NUM_MESSAGES"))

    def consume(self) -> Iterator[Any]:
        yield from batches(self._records(), batch_size(self.config))

    def _records(self) -> Iterator[Any]:
        for path in self._files():
            yield from _records_of(path)

    def _files(self) -> list[Path]:
        """
        :raises NotADirectoryError: there is no such folder.
        """
        folder = Path(self.config["DIRECTORY_PATH"])
        if not folder.is_dir():
            raise NotADirectoryError(f"DIRECTORY_PATH {str(folder)!r} is no folder.")
        return sorted(folder.glob("*.avro"))


class AVROInfiniteConsumer(AVROFileConsumer):
    """The same, over and over: for trials of speed."""

    config_keys = AVROFileConsumer.config_keys

    def _records(self) -> Iterator[Any]:
        files = self._files()
        if not files:
            raise FileNotFoundError(f"There is no *.avro in DIRECTORY_PATH {self.config['DIRECTORY_PATH']!r}.")
        while not self.stopping:
            for path in files:
                yield from _records_of(path)


def _records_of(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        try:
            yield from fastavro.reader(file)
        except (ValueError, TypeError, EOFError, IndexError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} cannot be read as Avro: {error}") from error
