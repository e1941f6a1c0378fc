"""``apf.producers.test_producer``."""

from __future__ import annotations

from typing import Any

from .generic import GenericProducer


class TestProducer(GenericProducer):
    """Keeps the messages in ``pre_produce_message``."""

    __test__ = False

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self.pre_produce_message: list[Any] = []

    def produce(self, message: Any = None, **kwargs: Any) -> None:
        self.pre_produce_message.append(message)
