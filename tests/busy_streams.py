"""ALERT_STREAMS of the TOM of busy_night.py. Nothing is ever read with it. Needs no Django, as who only starts programs."""

from __future__ import annotations

from typing import Any, Final

_KAFKA: Final = "tom_alertstreams.alertstreams.kafka.KafkaAlertStream"
_ALERCE: Final = "alerce_stream.streams.AlerceAlertStream"


def _stream(label: str, **more: Any) -> dict[str, Any]:
    options = {"BOOTSTRAP_SERVERS": "broker:9092", "TOPIC_HANDLERS": {}}
    return {"NAME": _KAFKA, "LABEL": label, "OPTIONS": options, **more}


#: Those that are not well come early, so that a picture of the page shows them.
STREAMS: Final = [
    _stream("ztf"),
    _stream("lasair"),
    _stream("gcn"),
    _stream("fink"),
    {"NAME": _ALERCE, "LABEL": "alerce", "OPTIONS": {"USERNAME": "", "PASSWORD": "", "TOPIC_HANDLERS": {}}},
    _stream("hopskotch"),
    _stream("antares", ACTIVE=False),
]
