"""``apf.metrics.log``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from apf_bridge.compat.core.config_keys import ConfigKeys

from .generic import GenericMetricsProducer


class LogfileMetricsProducer(GenericMetricsProducer):
    """A line ``key: value, key: value`` for each batch, at the end of PATH, else of a new file in the folder it runs in."""

    config_keys = ConfigKeys(optional=("PATH", "DEBUG"))

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        path = config.get("PATH")
        if path is None:
            with tempfile.NamedTemporaryFile(
                prefix="logfilemetricsproducer-", suffix=".log", dir=".", delete=False
            ) as made:
                path = made.name
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.touch()
        self.logger.info("Writing metrics logs into %s", path)

    def send_metrics(self, metrics: dict[str, Any]) -> None:
        line = ", ".join(f"{key}: {value}" for key, value in metrics.items())
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
