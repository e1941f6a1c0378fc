"""Alerts for the tests of ingest: real ones from the sample folder, and small self-made ones."""

from __future__ import annotations

import json
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tom_alertstreams.alerts import Alert
from tom_alertstreams.decoders import decode_auto

ROOT = Path(__file__).resolve().parents[3]
SAMPLES = Path(os.environ.get("ALERT_SAMPLES") or ROOT.parent / "shared" / "alerts")
ABSENT = f"no real alerts in {SAMPLES} (set ALERT_SAMPLES)"
SENT = datetime(2026, 11, 1, 12, tzinfo=timezone.utc)

_offsets = iter(range(10**9))


def decode(alert: Alert) -> Any:
    """As a stream with DECODER "auto" would."""
    return decode_auto(alert.raw)


def alert_of(raw: bytes | None, *, topic: str = "ztf", stream: str = "survey", sent: datetime | None = SENT) -> Alert:
    """An alert with these bytes."""
    return Alert(stream, topic, 0, next(_offsets), None, (), sent, raw, decode)


def sample(name: str, *, topic: str = "ztf") -> Alert:
    """A file of the sample folder as an alert."""
    return alert_of((SAMPLES / name).read_bytes(), topic=topic)


def json_alert(content: Any, *, topic: str = "ztf", stream: str = "survey", sent: datetime | None = SENT) -> Alert:
    """Content as a JSON alert."""
    return alert_of(json.dumps(content).encode(), topic=topic, stream=stream, sent=sent)


def ztf_packet(object_id: str = "ZTF26aaaaaaa", candid: int = 3300000000000000001, **candidate: Any) -> dict[str, Any]:
    """A packet with one detection."""
    fields = {
        "jd": 2461000.75, "fid": 1, "candid": candid, "ra": 150.0, "dec": 20.0, "magpsf": 18.5, "sigmapsf": 0.1,
        "isdiffpos": "t", "diffmaglim": 20.1, "rb": 0.9, "ssdistnr": -999.0,
    }  # fmt: skip
    return {"objectId": object_id, "candid": candid, "candidate": fields | candidate, "prv_candidates": None}


def lsst_source(**fields: Any) -> dict[str, Any]:
    """A diaSource of 1000 nJy at five times its error, 23.9 mag."""
    return {
        "diaSourceId": 170094456272322681, "visit": 2026030500055, "diaObjectId": 170028485706776685, "ssObjectId": 0,
        "midpointMjdTai": 61105.25, "ra": 63.5, "raErr": 6.8e-06, "dec": -47.25, "decErr": 6.6e-06, "psfFlux": 1000.0,
        "psfFluxErr": 200.0, "band": "i", "timeWithdrawnMjdTai": None,
    } | fields  # fmt: skip


def lsst_packet(**fields: Any) -> dict[str, Any]:
    """A packet of schema v10 as Fink hands it on: what is absent has objects whose fields are all null."""
    return {
        "diaSourceId": 170094456272322681, "diaSource": lsst_source(), "prvDiaSources": None,
        "prvDiaForcedSources": None, "diaObject": {"diaObjectId": 170028485706776685, "ra": 63.5, "dec": -47.25},
        "ssSource": {"ssObjectId": None, "designation": None}, "mpc_orbits": {"designation": None, "a": None, "e": None},
    } | fields  # fmt: skip


def notice(**fields: Any) -> dict[str, Any]:
    """A GCN notice in JSON."""
    return {
        "$schema": "https://gcn.nasa.gov/schema/main/gcn/notices/swift/bat/Guano.schema.json",
        "mission": "Swift",
        "alert_datetime": "2026-10-01T00:00:00Z",
        "alert_tense": "current",
        "alert_type": "initial",
        "trigger_time": "2026-09-30T23:59:00Z",
        "id": ["1000001"],
        "ra": 100.0,
        "dec": -30.0,
        "ra_dec_error": 0.05,
    } | fields


VOEVENT = """<?xml version='1.0' encoding='UTF-8'?>
<voe:VOEvent ivorn="ivo://nasa.gsfc.gcn/SWIFT#BAT_GRB_Pos_1125809-092" role="{role}" version="2.0"
    xmlns:voe="http://www.ivoa.net/xml/VOEvent/v2.0">
  <Who><Date>2022-09-30T11:12:15</Date></Who>
  <What><Param name="TrigID" value="{trigger}"/></What>
  <WhereWhen><ObsDataLocation><ObservationLocation><AstroCoords>
    <Time><TimeInstant><ISOTime>2022-09-30T11:11:52.12</ISOTime></TimeInstant></Time>
    <Position2D><Value2><C1>64.7373</C1><C2>13.3517</C2></Value2><Error2Radius>{error}</Error2Radius></Position2D>
  </AstroCoords></ObservationLocation></ObsDataLocation></WhereWhen>
  <Citations>{citation}</Citations>
</voe:VOEvent>"""


def voevent(role: str = "observation", trigger: str = "1125809", error: str = "0.05", citation: str = "") -> str:
    return VOEVENT.format(role=role, trigger=trigger, error=error, citation=citation)


HERMES = {
    "title": "GRB 230409B: Swift/UVOT Detection",
    "topic": "hermes.test",
    "submitter": "someone",
    "data": {
        "event_id": "GRB 230409B",
        "targets": [
            {"name": "GRB 230409B", "ra": "329.5158", "dec": "52.8321", "redshift": "0.3", "aliases": ["AT 2023xyz"]},
            {"name": "SN 2023b", "ra": "12:30:00", "dec": "-05:30:00", "ra_error": 2, "ra_error_units": "arcsec"},
            {"name": "C/2023 A1", "orbital_elements": {"eccentricity": 1.0}},
        ],
        "photometry": [
            {"target_name": "GRB 230409B", "date_obs": "2023-04-09", "telescope": "Swift", "instrument": "UVOT",
             "bandpass": "white", "brightness": "19.35", "brightness_error": "0.2", "brightness_unit": "AB mag"},
            {"target_name": "GRB 230409B", "date_obs": "2460043.5", "bandpass": "v", "brightness_unit": "AB mag",
             "limiting_brightness": "18.1", "limiting_brightness_unit": "AB mag"},
            {"target_name": "GRB 230409B", "date_obs": 60043.0, "bandpass": "u", "brightness": 3.2,
             "brightness_unit": "mJy"},
        ],
    },
}  # fmt: skip
