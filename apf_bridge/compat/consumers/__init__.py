"""``apf.consumers``."""

from __future__ import annotations

from .avro_file import AVROFileConsumer, AVROInfiniteConsumer
from .csv import CSVConsumer
from .generic import GenericConsumer
from .json import JSONConsumer
from .kafka import KafkaConsumer, KafkaJsonConsumer, KafkaSchemalessConsumer, KafkaSchemalessRegistryConsumer
from .test_consumer import TestConsumer

__all__ = [
    "AVROFileConsumer",
    "AVROInfiniteConsumer",
    "CSVConsumer",
    "GenericConsumer",
    "JSONConsumer",
    "KafkaConsumer",
    "KafkaJsonConsumer",
    "KafkaSchemalessConsumer",
    "KafkaSchemalessRegistryConsumer",
    "TestConsumer",
]
