"""``apf.metrics.prometheus``."""

from __future__ import annotations

from .prometheus import DefaultPrometheusMetrics, PrometheusMetrics, serve

__all__ = ["DefaultPrometheusMetrics", "PrometheusMetrics", "serve"]
