"""Hopskotch: what people report through Hermes, and GCN's notices as text."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from .gcn import Events, Transient
from .light_curves import Supernova
from .messages import Headers, Message, iso, letters, somewhere
from .ztf import Source, Survey

DISCOVERIES: Final = "hermes.discovery"
FOLLOW_UP: Final = "hermes.follow_up"
TEXT_NOTICES: Final = "gcn.classic.text.SWIFT_BAT_GRB_POS_ACK"

#: Telescope, instrument, submitter of those who look again.
_OBSERVERS: Final = (
    ("LCO 1m", "Sinistro", "lco-follow-up"), ("NOT", "ALFOSC", "not-group"), ("Liverpool Telescope", "IO:O", "ljmu"),
)  # fmt: skip
_TEXT_NOTICE: Final = """TITLE:           GCN/SWIFT NOTICE
NOTICE_DATE:     {issued:%a %d %b %y %H:%M:%S} UT
NOTICE_TYPE:     Swift-BAT GRB Position
TRIGGER_NUM:     {trigger},   Seg_Num: 0
GRB_RA:          {ra:.4f}d (J2000)
GRB_DEC:         {dec:+.4f}d (J2000)
GRB_ERROR:       3.00 [arcmin radius, statistical only]
COMMENTS:        SIMULATED NOTICE.
"""


class Reports:
    """What is reported in one night."""

    def __init__(self, date: datetime, survey: Survey, events: Events, choice: random.Random) -> None:
        self._date = date
        self._choice = choice
        self._survey = survey
        self._messages = [
            *(self._discovery(self._moment()) for _ in range(9)),
            *(self._supernova(source, self._moment(), choice) for source in survey.sources[:12]),
            *(self._afterglow(transient) for transient in events.transients[:5]),
            *self._text_notices(),
            *self._tests_and_broken(),
        ]

    def messages(self) -> Sequence[Message]:
        """The messages of the night, tests and broken ones among them."""
        return self._messages

    def later(self, now: datetime, choice: random.Random) -> Iterator[Message]:
        """More measurements of supernovae."""
        self._choice = choice
        while True:
            yield self._supernova(choice.choice(self._survey.sources), datetime.now(now.tzinfo), choice)

    def _moment(self) -> datetime:
        return self._date + timedelta(hours=self._choice.uniform(4, 12))

    # --- Hermes ------------------------------------------------------------------------------------------------------

    def _designation(self) -> str:
        """A name as the Transient Name Server gives them."""
        return f"AT {self._date:%Y}{letters(self._choice, 4)}"

    def _discovery(self, time: datetime) -> Message:
        """Somebody reports a new source with a few days of measurements."""
        name, (ra, dec) = self._designation(), somewhere(self._choice)
        supernova = Supernova(
            "SNIa", time + timedelta(days=self._choice.uniform(3, 12)), self._choice.uniform(15.5, 17)
        )
        rows = [
            _measurement(name, visit.time, "L", visit.magnitude, visit.error, "GOTO", "GOTO-North")
            for day in (10, 7, 5, 3, 2, 1, 0)
            if (visit := supernova.visit(time - timedelta(days=day), "g", self._choice)).magnitude is not None
        ]
        target = {"name": name, "ra": ra, "dec": dec, "host_name": f"WISEA J{letters(self._choice, 1)}{ra:08.4f}"}
        return self._hermes(DISCOVERIES, f"Discovery of {name} by GOTO", "goto-observers", [target], rows)

    def _supernova(self, source: Source, time: datetime, choice: random.Random) -> Message:
        """A supernova of the survey is measured again, and has got a designation and a class."""
        telescope, instrument, submitter = choice.choice(_OBSERVERS)
        rows = []
        for band, minutes in (("g", 0), ("r", 6), ("i", 12)):
            moment = time + timedelta(minutes=minutes)
            true = source.supernova.magnitude(moment, "g" if band == "g" else "r") or 20.5
            bright = round(choice.gauss(true + (0.15 if band == "i" else 0.0), 0.02), 3)
            rows.append(_measurement(source.name, moment, band, bright, 0.02, telescope, instrument))
        target = {
            "name": source.name, "ra": source.ra, "dec": source.dec,
            "aliases": [f"AT {self._date:%Y}{source.name[-4:]}"],
            "redshift": round(10 ** (0.2 * (source.supernova.peak + 19 - 43.2)), 4),
            "classifications": [{"classification": source.supernova.class_name, "probability": 0.98}],
        }  # fmt: skip
        title = f"Photometry and classification of {source.name} with {telescope}"
        return self._hermes(FOLLOW_UP, title, submitter, [target], rows)

    def _afterglow(self, transient: Transient) -> Message:
        """The optical counterpart of an X-ray transient fades."""
        rows, bright = [], self._choice.uniform(17, 18.5)
        for hours in (0.3, 0.6, 1.2, 2.4, 4.8):
            magnitude = round(bright + 2.5 * (hours / 0.3) ** 0.3 - 2.5, 3)
            moment = transient.time + timedelta(hours=hours)
            rows.append(_measurement(transient.name, moment, "r", magnitude, 0.05, "NOT", "ALFOSC"))
        target = {"name": transient.name, "ra": transient.ra, "dec": transient.dec}
        return self._hermes(FOLLOW_UP, f"{transient.name}: optical counterpart", "not-group", [target], rows)

    def _hermes(
        self, topic: str, title: str, submitter: str, targets: Sequence[Mapping[str, Any]],
        rows: Sequence[Mapping[str, Any]], *more: tuple[str, bytes],
    ) -> Message:  # fmt: skip
        content = {
            "topic": topic, "title": title, "submitter": submitter, "authors": "The simulated night",
            "message_text": "All of this is made up.", "data": {"targets": targets, "photometry": rows},
        }  # fmt: skip
        return Message(topic, json.dumps(content).encode(), headers=(*self._headers("json", submitter), *more))

    def _headers(self, form: str, sender: str) -> Headers:
        return ("_format", form.encode()), ("_id", self._choice.randbytes(16)), ("_sender", sender.encode())

    # --- the rest ----------------------------------------------------------------------------------------------------

    def _text_notices(self) -> Iterator[Message]:
        for number in range(6):
            ra, dec = somewhere(self._choice)
            text = _TEXT_NOTICE.format(issued=self._moment(), trigger=1_290_000 + number, ra=ra, dec=dec)
            yield Message(TEXT_NOTICES, text.encode(), headers=self._headers("gcntextnotice", "gcn"))

    def _tests_and_broken(self) -> Iterator[Message]:
        test = {"name": "AT 2026test", "ra": 10.0, "dec": 10.0}
        yield self._hermes(DISCOVERIES, "A test of the form", "somebody", [test], [], ("_test", b"true"))
        nowhere = {"name": "AT 2026nowhere", "ra": "NaN", "dec": "NaN"}
        yield self._hermes(DISCOVERIES, "A report without a place", "somebody", [nowhere], [])
        yield Message(DISCOVERIES, b'{"title": "cut off in the mid', headers=self._headers("json", "somebody"))
        yield Message(DISCOVERIES, b"\x89HDF\r\n\x1a\n", headers=self._headers("hdf5", "somebody"))


def _measurement(
    name: str, time: datetime, band: str, magnitude: float | None, error: float | None, telescope: str, instrument: str
) -> dict[str, Any]:
    return {
        "target_name": name, "date_obs": iso(time), "bandpass": band, "telescope": telescope, "instrument": instrument,
        "brightness": magnitude, "brightness_error": error, "brightness_unit": "AB mag",
    }  # fmt: skip
