"""Classifies the first images of an object. It makes its producer, and produces, by itself, as steps of 1.x did."""

from __future__ import annotations

import logging

from apf.core import get_class
from apf.core.step import GenericStep


class EarlyClassifier(GenericStep):
    """One alert at a time."""

    def __init__(self, consumer=None, config=None, level=logging.INFO, **step_args):
        super().__init__(consumer, config=config, level=level)
        producer_config = config["PRODUCER_CONFIG"]
        self.producer = get_class(producer_config["CLASS"])(producer_config)
        self.n_retry = config["N_RETRY"]

    def execute(self, message):
        candidate = message["candidate"]
        if candidate["isdiffpos"] in ("f", "0"):
            self.logger.info("Object %s with negative difference will not be classified", message["objectId"])
            return
        self.producer.produce(
            {
                "objectId": message["objectId"],
                "candid": message["candid"],
                "probabilities": self.classify(candidate),
            },
            key=message["objectId"],
        )

    def classify(self, candidate):
        bogus = 1 - candidate["rb"]
        shares = {"SN": 0.4, "AGN": 0.2, "VS": 0.3, "asteroid": 0.1}
        return {"bogus": bogus, **{name: share * candidate["rb"] for name, share in shares.items()}}
