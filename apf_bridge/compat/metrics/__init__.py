"""``apf.metrics``."""

from __future__ import annotations

from .generic import DateTimeEncoder, GenericMetricsProducer
from .kafka import KafkaMetricsProducer
from .log import LogfileMetricsProducer

__all__ = ["DateTimeEncoder", "GenericMetricsProducer", "KafkaMetricsProducer", "LogfileMetricsProducer"]
