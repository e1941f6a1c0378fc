"""Records of every schema that ALeRCE has published, and the alerts they come in."""

from __future__ import annotations

import io
import json
from datetime import datetime, timezone
from typing import Any

import fastavro

from alerce_stream.decoding import AlerceDecoder
from alerce_stream.versions import SCHEMAS
from tom_alertstreams.alerts import Alert

SENT = datetime(2026, 11, 1, 12, tzinfo=timezone.utc)
CANDID = 2454460970015010006  # more than a float64 holds
STAMP = {"SN": 0.9, "AGN": 0.05, "VS": 0.03, "asteroid": 0.01, "bogus": 0.01}
STAMP_2025 = {**STAMP, "satellite": 0.0}
FEATURES = {"Power_rate_1/2": 1.5, "W1-W2": 0.25, "g-r_max_corr": None, "MHPS_ratio_1": 2.0}
#: As the schemas of 2021 to 2023 have them: a record of all of them.
FEATURE_NAMES = tuple(item["name"] for item in json.loads((SCHEMAS / "features_record.avsc").read_text())["fields"])
FEATURE_RECORD = {name: FEATURES.get(name) for name in FEATURE_NAMES}
LIGHT_CURVE = {
    "probabilities": {"SNIa": 0.75, "QSO": 0.25, "RRL": 0.0},
    "class": "SNIa",
    "hierarchical": {
        "top": {"Transient": 0.75, "Stochastic": 0.25, "Periodic": 0.0},
        "children": {"Transient": {"SNIa": 1.0}, "Stochastic": {"QSO": 1.0}, "Periodic": {}},
    },
}

#: Name of a shipped schema that names an object → (record, object id, alert id, classifier, most probable class).
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
        {"oid": 36028941024305561, "measurement_id": CANDID, "sid": 0, "probabilities": STAMP_2025},
        "ZTF17yegsjgj", f"stamp_classifier:{CANDID}", "stamp_classifier", "SN",
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
    "lc_classifier_2021": (
        {"oid": "ZTF21aaaaaaa", "candid": CANDID, "features": FEATURE_RECORD, "lc_classification": LIGHT_CURVE},
        "ZTF21aaaaaaa", f"stamp_classifier:{CANDID}", "stamp_classifier", "SNIa",
    ),
    "lc_classifier_2023_04_aid": (
        {"aid": "AL23aaaaaaa", "candid": CANDID, "features": FEATURE_RECORD, "lc_classification": LIGHT_CURVE},
        "AL23aaaaaaa", f"stamp_classifier:{CANDID}", "stamp_classifier", "SNIa",
    ),
    "lc_classifier_2023_05_aid": (
        {"aid": "AL23aaaaaaa", "features": FEATURE_RECORD, "lc_classification": LIGHT_CURVE},
        "AL23aaaaaaa", "", "stamp_classifier", "SNIa",
    ),
    "lc_classifier_2023_12_aid": (
        {"aid": "AL23aaaaaaa", "features": FEATURES, "lc_classification": LIGHT_CURVE},
        "AL23aaaaaaa", "", "stamp_classifier", "SNIa",
    ),
    "lc_classifier_2024": (
        {"oid": "ZTF24aaaaaaa", "features": FEATURES, "lc_classification": LIGHT_CURVE},
        "ZTF24aaaaaaa", "", "stamp_classifier", "SNIa",
    ),
}  # fmt: skip

#: ELAsTiCC's classifications name a simulated alert, and no object.
ELASTICC: dict[str, Any] = {
    "alertId": 2262001000, "diaSourceId": 2262001, "elasticcPublishTimestamp": SENT, "brokerIngestTimestamp": None,
    "brokerName": "ALeRCE", "brokerVersion": "4.0.0", "classifierName": "balto", "classifierParams": "balto 1.1.0",
    "classifications": [{"classId": 111, "probability": 0.75}, {"classId": 221, "probability": 0.25}],
}  # fmt: skip
#: Everything that ALeRCE has published.
RECORDS: dict[str, dict[str, Any]] = {
    **{name: known[0] for name, known in KNOWN.items()},
    "elasticc_classification": ELASTICC,
}

#: Versions with the bytes of another one, which only calls the object id aid for oid, or oid for aid.
SAME_BYTES = {
    "lc_classifier_2021": "lc_classifier_2023_04_aid",
    "lc_classifier_2023_04_aid": "lc_classifier_2021",
    "lc_classifier_2023_12_aid": "lc_classifier_2024",
    "lc_classifier_2024": "lc_classifier_2023_12_aid",
}


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
