"""Classifies light curves, and tells the database's scribe as well as whoever reads the topic."""

from __future__ import annotations

import json
import logging
from typing import Any

from apf.core import get_class
from apf.core.step import GenericStep


class LightCurveClassifier(GenericStep):
    """A batch at a time, with the hooks of 6.x and two producers."""

    def __init__(self, config: dict, level: int = logging.INFO, **step_args: Any):
        super().__init__(config=config, level=level, **step_args)
        scribe = self.config["SCRIBE_PRODUCER_CONFIG"]
        self.scribe_producer = get_class(scribe["CLASS"])(scribe)
        self.set_producer_key_field("oid")

    def pre_execute(self, messages: list[dict]) -> list[dict]:
        return [message for message in messages if message["candidate"]["fid"] in (1, 2)]

    def execute(self, messages: list[dict]) -> list[dict]:
        return [
            {"oid": message["objectId"], "candid": message["candid"], "probabilities": self.predict(message)}
            for message in messages
        ]

    def predict(self, message: dict) -> dict[str, float]:
        periodic = round(message["candidate"]["magpsf"] % 1, 3)
        return {"RRL": periodic, "SNIa": round(1 - periodic, 3)}

    def post_execute(self, result: list[dict]) -> list[dict]:
        self.produce_scribe(result)
        return result

    def produce_scribe(self, predictions: list[dict]) -> None:
        for n, prediction in enumerate(predictions, 1):
            command = {
                "collection": "object",
                "type": "update_probabilities",
                "criteria": {"_id": prediction["oid"]},
                "data": {"classifier_name": "lc_classifier", **prediction},
                "options": {"upsert": True, "set_on_insert": False},
            }
            payload = {"payload": json.dumps(command)}
            self.scribe_producer.produce(payload, flush=n == len(predictions), key=prediction["oid"])

    def pre_produce(self, result: list[dict]) -> list[dict]:
        return [
            {
                "oid": prediction["oid"],
                "candid": prediction["candid"],
                "lc_classification": {
                    "class": max(prediction["probabilities"], key=prediction["probabilities"].get),
                    "probabilities": prediction["probabilities"],
                },
            }
            for prediction in result
        ]

    def tear_down(self) -> None:
        self.scribe_producer.producer.flush()
