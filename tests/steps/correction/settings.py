"""Of the step; its scripts/run_step.py would hand STEP_CONFIG over."""

from __future__ import annotations

import os

CONSUMER_CONFIG = {
    "CLASS": "apf.consumers.KafkaConsumer",
    "TOPICS": os.environ["CONSUMER_TOPICS"].strip().split(","),
    "PARAMS": {
        "bootstrap.servers": os.environ["CONSUMER_SERVER"],
        "group.id": f"{os.environ['CONSUMER_GROUP_ID']}_correction",
        "auto.offset.reset": "beginning",
        "max.poll.interval.ms": 3600000,
    },
    "consume.timeout": int(os.getenv("CONSUME_TIMEOUT", "10")),
    "consume.messages": int(os.getenv("CONSUME_MESSAGES", "40")),
}

PRODUCER_CONFIG = {
    "CLASS": "apf.producers.KafkaProducer",
    "TOPIC": f"{os.environ['PRODUCER_TOPIC']}_correction",
    "PARAMS": {"bootstrap.servers": os.environ["PRODUCER_SERVER"], "message.max.bytes": 6291456},
    "SCHEMA": {
        "type": "record",
        "name": "correction",
        "fields": [
            {"name": "oid", "type": "string"},
            {"name": "candid", "type": "long"},
            {"name": "mjd", "type": "double"},
            {"name": "fid", "type": "int"},
            {"name": "mag", "type": "double"},
            {"name": "mag_corr", "type": ["null", "double"]},
            {"name": "dubious", "type": "boolean"},
        ],
    },
}

METRICS_CONFIG = {
    "CLASS": "apf.metrics.KafkaMetricsProducer",
    "EXTRA_METRICS": [{"key": "objectId", "alias": "oid"}, {"key": "candid", "format": str}],
    "PARAMS": {
        "PARAMS": {"bootstrap.servers": os.environ["PRODUCER_SERVER"]},
        "TOPIC": os.environ["METRICS_TOPIC"],
    },
}

STEP_CONFIG = {
    "CONSUMER_CONFIG": CONSUMER_CONFIG,
    "PRODUCER_CONFIG": PRODUCER_CONFIG,
    "METRICS_CONFIG": METRICS_CONFIG,
}
