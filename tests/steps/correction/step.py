"""Corrects difference magnitudes for the flux of the reference."""

from __future__ import annotations

import math

from apf.core.step import GenericStep


class CorrectionStep(GenericStep):
    """A batch at a time, with the hooks of 2.x."""

    def __init__(self, config={}, **kwargs):  # noqa: B006
        super().__init__(config=config, **kwargs)
        self.set_producer_key_field("oid")

    def pre_execute(self, messages):
        for message in messages:
            candidate = message.pop("candidate")
            message.update(candidate, mjd=candidate["jd"] - 2400000.5, oid=message.pop("objectId"))
        return messages

    def execute(self, messages):
        self.logger.info("Processing %d new alerts", len(messages))
        corrected = []
        for message in messages:
            sign = 1 if message["isdiffpos"] in ("t", "1") else -1
            flux = 10 ** (-0.4 * message["magnr"]) + sign * 10 ** (-0.4 * message["magpsf"])
            corrected.append({**message, "mag_corr": -2.5 * math.log10(flux) if flux > 0 else None})
        return corrected

    def post_execute(self, result):
        for detection in result:
            detection["dubious"] = detection["mag_corr"] is None
        return result

    def pre_produce(self, result):
        fields = ("oid", "candid", "mjd", "fid", "mag_corr", "dubious")
        return [{"mag": detection["magpsf"], **{name: detection[name] for name in fields}} for detection in result]
