"""``apf.producers``."""

from __future__ import annotations

from .csv import CSVProducer
from .generic import GenericProducer
from .json_prod import JSONProducer
from .kafka import KafkaProducer, KafkaSchemalessProducer
from .test_producer import TestProducer

__all__ = [
    "CSVProducer",
    "GenericProducer",
    "JSONProducer",
    "KafkaProducer",
    "KafkaSchemalessProducer",
    "TestProducer",
]
