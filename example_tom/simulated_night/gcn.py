"""GCN's streams: JSON notices of Einstein Probe, Swift and others, classic VOEvents, and gravitational waves."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from .messages import Message, iso, scattered, somewhere

SCHEMA: Final = "https://gcn.nasa.gov/schema/main/gcn/notices"
EINSTEIN_PROBE: Final = "gcn.notices.einstein_probe.wxt.alert"
GUANO: Final = "gcn.notices.swift.bat.guano"
ICECUBE: Final = "gcn.notices.icecube.gold_bronze_track_alerts"
SUPER_KAMIOKANDE: Final = "gcn.notices.superk.sn_alert"
SWIFT_BAT: Final = "gcn.classic.voevent.SWIFT_BAT_GRB_POS_ACK"
SWIFT_XRT: Final = "gcn.classic.voevent.SWIFT_XRT_POSITION"
FERMI: Final = "gcn.classic.voevent.FERMI_GBM_FLT_POS"
GRAVITATIONAL_WAVES: Final = "igwn.gwalert"

_VOEVENT: Final = """<?xml version="1.0" encoding="UTF-8"?>
<voe:VOEvent ivorn="ivo://nasa.gsfc.gcn/{ivorn}" role="{role}" version="2.0"
    xmlns:voe="http://www.ivoa.net/xml/VOEvent/v2.0">
  <Who><AuthorIVORN>ivo://nasa.gsfc.tan/gcn</AuthorIVORN><Date>{issued:%Y-%m-%dT%H:%M:%S}</Date></Who>
  <What><Param name="TrigID" value="{trigger}" ucd="meta.id"/><Param name="Simulated" value="true"/></What>
  <WhereWhen><ObsDataLocation>
    <ObservatoryLocation id="GEOLUN"/>
    <ObservationLocation>
      <AstroCoordSystem id="UTC-FK5-GEO"/>
      <AstroCoords coord_system_id="UTC-FK5-GEO">
        <Time unit="s"><TimeInstant><ISOTime>{time:%Y-%m-%dT%H:%M:%S}</ISOTime></TimeInstant></Time>
        <Position2D unit="deg"><Name1>RA</Name1><Name2>Dec</Name2>
          <Value2><C1>{ra:.4f}</C1><C2>{dec:.4f}</C2></Value2><Error2Radius>{error:.4f}</Error2Radius>
        </Position2D>
      </AstroCoords>
    </ObservationLocation>
  </ObsDataLocation></WhereWhen>
  <How><Description>Simulated</Description></How>
</voe:VOEvent>
"""


@dataclass(frozen=True)
class Transient:
    """An X-ray transient of Einstein Probe, for whoever follows it up."""

    name: str
    ra: float
    dec: float
    time: datetime


class Events:
    """What goes off in the high-energy sky in one night."""

    def __init__(self, date: datetime, choice: random.Random) -> None:
        self._date = date
        self._choice = choice
        self._trigger = 1_280_000 + date.toordinal() % 1000 * 100
        self.transients = [
            Transient(f"EP{date:%y%m%d}{letter}", *somewhere(choice), self._moment()) for letter in "abcdefgh"
        ]
        self._messages = [*self._notices(), *self._bursts(), *self._waves(), *self._broken()]

    def messages(self) -> list[Message]:
        """The notices of the night, tests and broken ones among them."""
        return self._messages

    def later(self, now: datetime, choice: random.Random) -> Iterator[Message]:
        """One burst after another, each first seen by BAT and then located by XRT."""
        self._trigger = int(now.timestamp())
        while True:
            self._trigger += 1
            yield from self._burst(datetime.now(now.tzinfo), choice)

    def _moment(self) -> datetime:
        return self._date + timedelta(hours=self._choice.uniform(3, 11))

    # --- JSON --------------------------------------------------------------------------------------------------------

    def _notices(self) -> Iterator[Message]:
        for number, item in enumerate(self.transients):
            ra, dec = scattered(self._choice, item.ra, item.dec, 0.02)
            found = {"ra": ra, "dec": dec, "ra_dec_error": 0.05, "image_snr": round(self._choice.uniform(7, 30), 1)}
            notice = {
                "mission": "Einstein Probe", "instrument": "WXT", "messenger": "EM",
                "id": [f"{11_900_000_000 + self._date.toordinal() * 100 + number}"],
                "event_name": [item.name], "trigger_time": iso(item.time),
            }  # fmt: skip
            wxt = "einstein_probe/wxt/alert"
            yield _notice(EINSTEIN_PROBE, wxt, item.time + timedelta(minutes=2), "initial", {**notice, **found})
            if number % 2 == 0:  # the narrow-field telescope has found it again
                better = {"ra": item.ra, "dec": item.dec, "ra_dec_error": 0.003, "instrument": "FXT"}
                yield _notice(EINSTEIN_PROBE, wxt, item.time + timedelta(hours=1), "update", {**notice, **better})
        for number in range(5):
            yield from self._guano(number)
        for number in range(3):
            time = self._moment()
            track = {
                "mission": "IceCube", "messenger": "Neutrino", "id": [f"{141_200 + number}_{10_800_000 + time.minute}"],
                "trigger_time": iso(time), **_position(self._choice, 0.4), "p_astro": round(0.35 + number / 5, 2),
            }  # fmt: skip
            yield _notice(ICECUBE, "icecube/gold_bronze_track_alerts", time + timedelta(seconds=40), "initial", track)
        for number in range(3):
            drill = {"mission": "Super-Kamiokande", "id": f"SN.{95_001 + number:06}", **_position(self._choice, 0.9)}
            yield _notice(SUPER_KAMIOKANDE, "superk/sn_alert", self._moment(), "initial", drill, tense="test")

    def _guano(self, number: int) -> Iterator[Message]:
        """A weak burst: found, found better, and in one case withdrawn."""
        time, (ra, dec) = self._moment(), somewhere(self._choice)
        trigger = 780_000_000 + self._date.toordinal() * 10 + number
        notice = {
            "mission": "Swift", "instrument": "BAT-GUANO", "messenger": "EM", "id": [f"{trigger}"],
            "trigger_time": iso(time), "follow_up_event": f"Fermi {trigger - 25}", "classification": {"GRB": 1},
        }  # fmt: skip
        steps = [("initial", 0.5, 20), ("update", 0.06, 95)]
        for kind, error, minutes in steps:
            near = scattered(self._choice, ra, dec, error / 3)
            found = {"ra": near[0], "dec": near[1], "ra_dec_error": error}
            yield _notice(GUANO, "swift/bat/guano", time + timedelta(minutes=minutes), kind, {**notice, **found})
        if number == 3:
            del notice["classification"]
            yield _notice(GUANO, "swift/bat/guano", time + timedelta(hours=3), "retraction", notice)

    def _waves(self) -> Iterator[Message]:
        """Known by a sky map only."""
        time = self._moment()
        for minutes, kind in ((1, "PRELIMINARY"), (30, "INITIAL"), (90, "UPDATE")):
            alert = {
                "superevent_id": f"S{time:%y%m%d}ab", "alert_type": kind,
                "time_created": iso(time + timedelta(minutes=minutes)), "urls": {}, "event": None,
            }  # fmt: skip
            yield Message(GRAVITATIONAL_WAVES, json.dumps(alert).encode())

    def _broken(self) -> Iterator[Message]:
        text = json.dumps({"mission": "Einstein Probe", "id": ["11900000000"]})
        yield Message(EINSTEIN_PROBE, text[:-9].encode())
        nowhere = {"mission": "Einstein Probe", "id": ["11900000001"], "ra": float("nan"), "dec": float("nan")}
        yield _notice(EINSTEIN_PROBE, "einstein_probe/wxt/alert", self._moment(), "initial", nowhere)
        yield Message(SWIFT_BAT, b"<?xml version='1.0'?><voe:VOEvent>")

    # --- XML ---------------------------------------------------------------------------------------------------------

    def _bursts(self) -> Iterator[Message]:
        for _ in range(7):
            self._trigger += 1
            yield from self._burst(self._moment(), self._choice)
        # Every day Swift sends a notice that says it is a test.
        yield _voevent(
            SWIFT_BAT, "SWIFT#BAT_GRB_Test_99999-1", "99999", self._moment(), 0, (0.0, 0.0), 0.05, role="test"
        )
        for number in range(8):
            time, trigger = self._moment(), f"{801_000_000 + self._date.toordinal() * 10 + number}"
            error = self._choice.uniform(3, 12)
            position = somewhere(self._choice, -90, 90)
            yield _voevent(FERMI, f"Fermi#GBM_Flt_Pos_{trigger}-1", trigger, time, 30, position, error)

    def _burst(self, time: datetime, choice: random.Random) -> Iterator[Message]:
        trigger, (ra, dec) = str(self._trigger), somewhere(choice)
        near = scattered(choice, ra, dec, 0.015)
        yield _voevent(SWIFT_BAT, f"SWIFT#BAT_GRB_Pos_{trigger}-001", trigger, time, 20, near, 0.05)
        yield _voevent(SWIFT_XRT, f"SWIFT#XRT_Pos_{trigger}-002", trigger, time, 110, (ra, dec), 0.0015)


def _notice(
    topic: str, schema: str, issued: datetime, kind: str, content: Mapping[str, Any], tense: str = "current"
) -> Message:
    core = {"$schema": f"{SCHEMA}/{schema}.schema.json", "alert_datetime": iso(issued), "alert_tense": tense}
    return Message(topic, json.dumps({**core, "alert_type": kind, **content}).encode())


def _voevent(
    topic: str, ivorn: str, trigger: str, time: datetime, seconds: float, position: tuple[float, float], error: float,
    role: str = "observation",
) -> Message:  # fmt: skip
    text = _VOEVENT.format(
        ivorn=ivorn, role=role, trigger=trigger, issued=time + timedelta(seconds=seconds), time=time,
        ra=position[0], dec=position[1], error=error,
    )  # fmt: skip
    return Message(topic, text.encode())


def _position(choice: random.Random, error: float) -> dict[str, float]:
    ra, dec = somewhere(choice)
    return {"ra": ra, "dec": dec, "ra_dec_error": error}
