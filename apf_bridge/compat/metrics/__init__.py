"""``apf.metrics``."""

from __future__ import annotations

from .generic import DateTimeEncoder, GenericMetricsProducer

__all__ = ["DateTimeEncoder", "GenericMetricsProducer"]
