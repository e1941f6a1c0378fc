"""``apf.producers``."""

from __future__ import annotations

from .generic import CollectingProducer, GenericProducer

__all__ = ["CollectingProducer", "GenericProducer"]
