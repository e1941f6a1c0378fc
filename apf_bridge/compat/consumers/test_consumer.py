"""``apf.consumers.test_consumer``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from apf_bridge.compat.core.config_keys import ConfigKeys

from .generic import GenericConsumer
from .json import items_of


class TestConsumer(GenericConsumer):
    """All items of ``input_path`` in PARAMS, as one batch."""

    __test__ = False
    config_keys = ConfigKeys(required=("PARAMS",), params=("input_path",))

    def consume(self) -> Iterator[Any]:
        """
        :raises ValueError: ``input_format`` is not json.
        """
        params = self.config["PARAMS"]
        if params.get("input_format", "json") != "json":
            raise ValueError(f"input_format is {params['input_format']!r}; only json can be read.")
        yield items_of(params["input_path"])
