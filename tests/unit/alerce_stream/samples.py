"""Records of every schema that ALeRCE has published, and the alerts they come in."""

from __future__ import annotations

import io
from datetime import datetime, timezone
from typing import Any

import fastavro

from alerce_stream.decoding import AlerceDecoder
from tom_alertstreams.alerts import Alert

SENT = datetime(2026, 11, 1, 12, tzinfo=timezone.utc)
CANDID = 2454460970015010006  # more than a float64 holds
STAMP = {"SN": 0.9, "AGN": 0.05, "VS": 0.03, "asteroid": 0.01, "bogus": 0.01}
STAMP_2025 = {**STAMP, "satellite": 0.0}
FEATURES = {"Power_rate_1/2": 1.5, "W1-W2": 0.25, "g-r_max_corr": None, "MHPS_ratio_g": 2.0}
LIGHT_CURVE = {
    "probabilities": {"SNIa": 0.75, "QSO": 0.25, "RRL": 0.0},
    "class": "SNIa",
    "hierarchical": {
        "top": {"Transient": 0.75, "Stochastic": 0.25, "Periodic": 0.0},
        "children": {"Transient": {"SNIa": 1.0}, "Stochastic": {"QSO": 1.0}, "Periodic": {}},
    },
}

#: Name of a shipped schema → (record, object id, alert id, classifier, most probable class).
KNOWN: dict[str, tuple[dict[str, Any], str, str, str, str]] = {
    "stamp_classifier_2021": (
        {"objectId": "ZTF21aaaaaaa", "candid": CANDID, "probabilities": STAMP},
        "ZTF21aaaaaaa", f"stamp_classifier:{CANDID}", "stamp_classifier", "SN",
    ),
    "stamp_classifier_2021_candid_text": (
        {"objectId": "ZTF21aaaaaaa", "candid": str(CANDID), "probabilities": STAMP},
        "ZTF21aaaaaaa", f"stamp_classifier:{CANDID}", "stamp_classifier", "SN",
    ),
    "stamp_classifier_2025": (
        {"objectId": "ZTF25aaaaaaa", "candid": CANDID, "probabilities": STAMP_2025},
        "ZTF25aaaaaaa", f"stamp_classifier:{CANDID}", "stamp_classifier", "SN",
    ),
    "stamp_classifier_2026_multisurvey": (
        {"oid": 36028941024305561, "measurement_id": CANDID, "sid": 1, "probabilities": STAMP_2025},
        "36028941024305561", f"stamp_classifier:{CANDID}", "stamp_classifier", "SN",
    ),
    "stamp_classifier_aid": (
        {
            "aid": "AL21abcdefg",
            "classifications": [
                {"class_name": "AGN", "probability": 0.25}, {"class_name": "SN", "probability": 0.75},
            ],
            "classifier_name": "atlas_stamp", "classifier_version": "1.2.3", "brokerPublishTimestamp": None,
        },
        "AL21abcdefg", "", "atlas_stamp", "SN",
    ),
    "rubin_stamp_classifier": (
        {
            "diaObjectId": 0, "ssObjectId": 21163611375810943, "diaSourceId": CANDID,
            "probabilities": {"SN": 0.25, "asteroid": 0.75}, "midpointMjdTai": 61000.5, "ra": 150.0, "dec": -20.0,
        },
        "21163611375810943", f"stamp_classifier:{CANDID}", "stamp_classifier", "asteroid",
    ),
    "lc_classifier_2024": (
        {"oid": "ZTF24aaaaaaa", "features": FEATURES, "lc_classification": LIGHT_CURVE},
        "ZTF24aaaaaaa", "", "stamp_classifier", "SNIa",
    ),
}  # fmt: skip

#: The light-curve classifier's schema of 2021 (its features a record) and of 2023 (aid for oid): in containers only.
LC_2021 = {
    "type": "record",
    "name": "probabilities + features",
    "fields": [
        {"name": "oid", "type": "string"},
        {"name": "candid", "type": "long"},
        {"name": "features", "type": {"type": "record", "name": "features_record", "fields": [
            {"name": name, "type": ["float", "null"]} for name in FEATURES]}},
        {"name": "lc_classification", "type": {"type": "record", "name": "late_record", "fields": [
            {"name": "probabilities", "type": {"type": "map", "values": ["float"]}},
            {"name": "class", "type": "string"},
            {"name": "hierarchical", "type": {"type": "map", "values": [
                {"type": "map", "values": "float"}, {"type": "map", "values": {"type": "map", "values": "float"}}]}},
        ]}},
    ],
}  # fmt: skip


def container(schema: dict[str, Any], *records: dict[str, Any]) -> bytes:
    """An Avro container."""
    stream = io.BytesIO()
    fastavro.writer(stream, fastavro.parse_schema(schema), records)
    return stream.getvalue()


def alert(raw: bytes | None, topic: str = "stamp_classifier_20261101", *, schema: Any = None) -> Alert:
    """An alert as the stream makes it."""
    return Alert("alerce", topic, 0, 7, None, (), SENT, raw, AlerceDecoder(schema))


def of(content: Any, topic: str = "stamp_classifier_20261101", sent: datetime | None = SENT, offset: int = 0) -> Alert:
    """An alert with this content. Its bytes are those of the content's text."""
    return Alert("alerce", topic, 0, offset, None, (), sent, repr(content).encode(), lambda _: content)
