"""``apf.metrics.prometheus``."""

from __future__ import annotations

from .prometheus import DefaultPrometheusMetrics, PrometheusMetrics

__all__ = ["DefaultPrometheusMetrics", "PrometheusMetrics"]
