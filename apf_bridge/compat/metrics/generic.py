"""``apf.metrics.generic``."""

from __future__ import annotations

import datetime
import json
import logging
from abc import ABC, abstractmethod
from typing import Any


class DateTimeEncoder(json.JSONEncoder):
    """JSON with times as ISO 8601, and numpy's values as they are. What JSON cannot hold is an error: APF sent null."""

    def default(self, obj: Any) -> Any:
        if isinstance(obj, datetime.date):
            return obj.isoformat()
        if type(obj).__module__ == "numpy" and hasattr(obj, "tolist"):  # a number or an array; numpy is the step's own
            return obj.tolist()
        return super().default(obj)


class GenericMetricsProducer(ABC):
    """Where a step's metrics go."""

    def __init__(self, config: Any) -> None:
        self.config = config
        self.logger = logging.getLogger(f"alerce.{type(self).__name__}")
        self.logger.info("Creating %s", type(self).__name__)

    @abstractmethod
    def send_metrics(self, metrics: dict[str, Any]) -> None:
        """Write one batch's metrics."""

    def flush(self) -> None:  # noqa: B027  most have nothing to do
        """Wait until they are written."""
