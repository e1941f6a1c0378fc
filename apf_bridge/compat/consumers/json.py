"""``apf.consumers.json``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from apf_bridge.compat.core.config_keys import ConfigKeys

from .generic import GenericConsumer, batch_size, batches


class JSONConsumer(GenericConsumer):
    """The items of the array in FILE_PATH, one by one; an object alone is one. ``consume.messages`` makes batches."""

    config_keys = ConfigKeys(required=("FILE_PATH",), optional=("consume.messages", "NUM_MESSAGES"))

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        if self.config.get("FILE_PATH") is None:
            raise Exception("FILE_PATH variable not set")  # as APF: steps' tests look for it

    def consume(self) -> Iterator[Any]:
        yield from batches(iter(items_of(self.config["FILE_PATH"])), batch_size(self.config))


def items_of(path: str | Path) -> list[Any]:
    """
    :raises ValueError: the file is no JSON.
    """
    try:
        content = json.loads(Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as JSON: {error}") from error
    return content if isinstance(content, list) else [content]
