"""``apf.producers.json_prod``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from apf_bridge.compat.core.config_keys import ConfigKeys
from apf_bridge.compat.metrics.generic import DateTimeEncoder

from .generic import GenericProducer


class JSONProducer(GenericProducer):
    """Files ``producer_output{i}.json`` in the folder FILE_PATH, each an array of ``buffer_size`` (1) messages.

    Numbering goes on after what is there. A flush writes what the last file has so far.
    """

    config_keys = ConfigKeys(required=("FILE_PATH",), optional=("buffer_size",))

    def __init__(self, config: dict[str, Any]) -> None:
        """
        :raises KeyError: there is no FILE_PATH.
        """
        super().__init__(config)
        self.folder = Path(config["FILE_PATH"])
        self.folder.mkdir(parents=True, exist_ok=True)
        self.buffer_size = int(config.get("buffer_size", 1))
        numbers = [re.fullmatch(r"producer_output(\d+)\.json", path.name) for path in self.folder.iterdir()]
        self.file_counter = max((int(number[1]) + 1 for number in numbers if number), default=0)
        self.buffer: list[Any] = []

    def produce(self, message: Any = None, **kwargs: Any) -> None:
        self.buffer.append(message)
        if len(self.buffer) >= self.buffer_size:
            self._write()
            self.file_counter += 1
            self.buffer = []

    def flush(self) -> None:
        if self.buffer:
            self._write()

    def _write(self) -> None:
        path = self.folder / f"producer_output{self.file_counter}.json"
        part = path.with_suffix(".part")
        part.write_text(json.dumps(self.buffer, cls=DateTimeEncoder), encoding="utf-8")
        part.replace(path)
