"""Of the step: in a cluster its config is a file, elsewhere it is made of the environment."""

from __future__ import annotations

import os
import pathlib

from apf.core.settings import config_from_yaml_file


def config():
    """STEP_CONFIG."""
    if os.getenv("CONFIG_FROM_YAML"):
        return config_from_yaml_file("/config/config.yaml")
    here = pathlib.Path(__file__).parent
    server, topic = os.environ["PRODUCER_SERVER"], os.environ["PRODUCER_TOPIC"]
    return {
        "CONSUMER_CONFIG": {
            "CLASS": "apf.consumers.KafkaConsumer",
            "TOPICS": os.environ["CONSUMER_TOPICS"].strip().split(","),
            "PARAMS": {
                "bootstrap.servers": os.environ["CONSUMER_SERVER"],
                "group.id": f"{os.environ['CONSUMER_GROUP_ID']}_light_curve_classifier",
                "enable.partition.eof": bool(os.getenv("ENABLE_PARTITION_EOF")),
            },
            "consume.timeout": int(os.getenv("CONSUME_TIMEOUT", "10")),
            "consume.messages": int(os.getenv("CONSUME_MESSAGES", "100")),
        },
        "PRODUCER_CONFIG": {
            "CLASS": "apf.producers.kafka.KafkaSchemalessProducer",
            "TOPIC": f"{topic}_light_curve_classifier",
            "PARAMS": {"bootstrap.servers": server, "compression.type": "lz4"},
            "SCHEMA_PATH": str(here / "output.avsc"),
        },
        "SCRIBE_PRODUCER_CONFIG": {
            "CLASS": "apf.producers.KafkaProducer",
            "TOPIC": f"{topic}_scribe",
            "PARAMS": {"bootstrap.servers": server},
            "SCHEMA_PATH": str(here / "scribe.avsc"),
        },
    }
