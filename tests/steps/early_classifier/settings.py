"""Of the step; its scripts/run_step.py would hand STEP_CONFIG over."""

from __future__ import annotations

import os

CONSUMER_CONFIG = {
    "TOPICS": os.environ["CONSUMER_TOPICS"].strip().split(","),
    "PARAMS": {
        "bootstrap.servers": os.environ["CONSUMER_SERVER"],
        "group.id": f"{os.environ['CONSUMER_GROUP_ID']}_early_classifier",
        "auto.offset.reset": "beginning",
    },
}

PROBABILITIES = {
    "name": "probabilities",
    "type": {
        "type": "record",
        "name": "class_probabilities",
        "fields": [{"name": name, "type": "float"} for name in ("SN", "AGN", "VS", "asteroid", "bogus")],
    },
}

PRODUCER_CONFIG = {
    "CLASS": "apf.producers.KafkaProducer",
    "TOPIC": f"{os.environ['PRODUCER_TOPIC']}_early_classifier",
    "PARAMS": {"bootstrap.servers": os.environ["PRODUCER_SERVER"]},
    "SCHEMA": {
        "namespace": "stamp_classifier",
        "type": "record",
        "name": "probabilities",
        "fields": [{"name": "objectId", "type": "string"}, {"name": "candid", "type": "long"}, PROBABILITIES],
    },
}

STEP_CONFIG = {"CONSUMER_CONFIG": CONSUMER_CONFIG, "PRODUCER_CONFIG": PRODUCER_CONFIG, "N_RETRY": 5}
