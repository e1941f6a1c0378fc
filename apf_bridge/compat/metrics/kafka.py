"""``apf.metrics.kafka``."""

from __future__ import annotations

import json
from typing import Any

from confluent_kafka import Producer

from apf_bridge.compat.core import get_class
from apf_bridge.compat.core.config_keys import ConfigKeys
from apf_bridge.compat.core.topic_management import topics_to_produce

from .generic import DateTimeEncoder, GenericMetricsProducer


class KafkaMetricsProducer(GenericMetricsProducer):
    """Each batch's metrics as one JSON message.

    Keys of the config: PARAMS (librdkafka's), TOPIC (a name or a list) or TOPIC_STRATEGY, TIME_ENCODER_CLASS (a class
    or its dotted path). A metric that is not delivered is a line in the log: the batch itself is done.
    """

    config_keys = ConfigKeys(
        required=("PARAMS",),
        one_of=(("TOPIC", "TOPIC_STRATEGY"),),
        optional=("TIME_ENCODER_CLASS", "SCHEMA", "SCHEMA_PATH"),
        params=("bootstrap.servers",),
    )

    def __init__(self, config: dict[str, Any], producer: Any = None) -> None:
        super().__init__(config)
        encoder = config.get("TIME_ENCODER_CLASS", DateTimeEncoder)
        self.time_encoder = get_class(encoder) if isinstance(encoder, str) else encoder
        self.dynamic_topic = not config.get("TOPIC")
        if self.dynamic_topic:
            if not config.get("TOPIC_STRATEGY"):
                raise KeyError("PARAMS of METRICS_CONFIG needs TOPIC or TOPIC_STRATEGY.")
            strategy = config["TOPIC_STRATEGY"]
            self.topic_strategy = get_class(strategy["CLASS"])(**strategy.get("PARAMS", {}))
        self.topic: list[str] = self._topics()
        self.producer = producer if producer is not None else Producer(dict(config["PARAMS"]))

    def _topics(self) -> list[str]:
        if not self.dynamic_topic:
            return [self.config["TOPIC"]] if isinstance(self.config["TOPIC"], str) else list(self.config["TOPIC"])
        return topics_to_produce(self.topic_strategy)

    def send_metrics(self, metrics: dict[str, Any]) -> None:
        """
        :raises TypeError: JSON cannot hold a value.
        """
        value = json.dumps(metrics, cls=self.time_encoder).encode()
        self.topic = self._topics()
        for topic in self.topic:
            try:
                self.producer.produce(topic, value, callback=self._delivered)
            except BufferError:
                self.producer.poll(1)
                self.producer.produce(topic, value, callback=self._delivered)
        self.producer.poll(0)

    def _delivered(self, error: Any, message: Any) -> None:
        if error is not None:
            self.logger.error("Metrics not delivered to %s: %s", message.topic(), error)

    def flush(self) -> None:
        self.producer.flush(10)

    def __del__(self) -> None:
        if "producer" in self.__dict__:
            self.producer.flush(10)
