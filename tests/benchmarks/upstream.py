"""The loop of tom-alertstreams 1.3.0, as its GCNClassicAlertStream has it, around a per-alert handler.

Written out because the package itself is called as this one is. Only the end is ours: ``while True`` there.

::

    python -m tests.benchmarks.upstream SERVERS TOPIC GROUP HANDLER ALERTS
"""

from __future__ import annotations

import logging
import sys

import django
from gcn_kafka import Consumer

from tests.benchmarks.stopwatch import Stopwatch

logger = logging.getLogger(__name__)


def main() -> None:
    """Read so many alerts."""
    servers, topic, group, path, count = sys.argv[1:]
    django.setup()
    from django.utils.module_loading import import_string

    alert_handler = {topic: import_string(path)}
    config = {"bootstrap.servers": servers, "security.protocol": "PLAINTEXT", "group.id": group}
    consumer = Consumer(config={**config, "auto.offset.reset": "earliest"})
    consumer.subscribe(list(alert_handler.keys()))
    watch = Stopwatch()
    while watch.alerts < int(count):
        for alert in consumer.consume():
            watch.begin()
            kafka_error = alert.error()
            if kafka_error is None:
                topic = alert.topic()
                try:
                    alert_handler[topic](alert)
                except KeyError as err:
                    logger.error("alert from topic %s received but no handler defined. err: %s", topic, err)
            else:
                logger.error("KafkaError: %s: %s", kafka_error.name(), kafka_error.str())
            watch.lap(1)
    consumer.close()
    watch.tell()


if __name__ == "__main__":
    main()
