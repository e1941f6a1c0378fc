"""``apf.consumers``."""

from __future__ import annotations

from .generic import GenericConsumer

__all__ = ["GenericConsumer"]
