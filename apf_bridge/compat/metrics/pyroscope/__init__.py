"""``apf.metrics.pyroscope``."""

from __future__ import annotations

from .profile import profile

__all__ = ["profile"]
