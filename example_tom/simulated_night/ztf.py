"""ZTF alert packets as a broker hands them on: Avro containers with the measurement, its history and small cutouts."""

from __future__ import annotations

import gzip
import io
import math
import random
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import fastavro

from .light_curves import HISTORY_DAYS, TEMPLATES, Supernova, Visit
from .messages import Message, julian_date, letters, scattered, somewhere

TOPIC: Final = "ztf_alerts"
FILTER_IDS: Final = {"g": 1, "r": 2}
_PARTITIONS: Final = 4
_STAMP_PIXELS: Final = 15
#: A random one would make other bytes each time.
_SYNC_MARKER: Final = b"simulated-ZTF-ok"


def _fields(kind: str, *names: str) -> list[dict[str, Any]]:
    return [{"name": name, "type": kind} for name in names]


_CUTOUT: Final = {
    "type": "record", "name": "cutout",
    "fields": [{"name": "fileName", "type": "string"}, {"name": "stampData", "type": "bytes"}],
}  # fmt: skip
_PREVIOUS: Final = {
    "type": "record", "name": "prv_candidate",
    "fields": [
        *_fields("double", "jd"), *_fields("int", "fid"), *_fields("float", "diffmaglim"),
        *[{"name": name, "type": ["null", kind], "default": None} for name, kind in (
            ("candid", "long"), ("isdiffpos", "string"), ("ra", "double"), ("dec", "double"), ("magpsf", "float"),
            ("sigmapsf", "float"), ("rb", "float"),
        )],
    ],
}  # fmt: skip
SCHEMA: Final = fastavro.parse_schema({
    "type": "record", "name": "alert", "namespace": "ztf",
    "fields": [
        *_fields("string", "schemavsn", "publisher", "objectId"),
        *_fields("long", "candid"),
        {"name": "candidate", "type": {"type": "record", "name": "candidate", "fields": [
            *_fields("double", "jd"), *_fields("int", "fid"), *_fields("long", "candid"),
            *_fields("string", "isdiffpos"), *_fields("double", "ra", "dec"),
            *_fields("float", "magpsf", "sigmapsf", "diffmaglim", "rb", "fwhm", "ssdistnr", "ssmagnr"),
            *_fields("string", "ssnamenr"), *_fields("int", "ndethist", "ncovhist", "programid"),
        ]}},
        {"name": "prv_candidates", "type": ["null", {"type": "array", "items": _PREVIOUS}], "default": None},
        *[{"name": name, "type": ["null", _CUTOUT if name == "cutoutScience" else "ztf.cutout"], "default": None}
          for name in ("cutoutScience", "cutoutTemplate", "cutoutDifference")],
    ],
})  # fmt: skip


@dataclass
class Source:
    """A supernova under observation."""

    name: str
    ra: float
    dec: float
    supernova: Supernova
    #: All exposures so far, each with the id it has as a detection.
    visits: list[tuple[Visit, int]] = field(default_factory=list)


class Survey:
    """The supernovae that ZTF sees tonight, and what else it takes for a source."""

    def __init__(self, date: datetime, shared: Sequence[tuple[str, float, float, str]], choice: random.Random) -> None:
        """
        :param shared: (name, RA, Dec, class) of supernovae that ALeRCE classifies as well.
        """
        self._date = date
        self._choice = choice
        self._next_candid = 3_250_000_000_000_000_000 + date.toordinal() * 10**9
        self.sources = [self._source(date, *item) for item in shared]
        self.sources += [self._new_source(date, choice) for _ in range(len(shared) or 3)]
        self._messages = list(self._night())

    def messages(self) -> Sequence[Message]:
        """The packets of the night, broken ones among them."""
        return self._messages

    def later(self, now: datetime, choice: random.Random) -> Iterator[Message]:
        """Packets from now on: mostly of known supernovae, sometimes of a new one."""
        self._next_candid = 3_260_000_000_000_000_000 + int(now.timestamp() * 1000)
        while True:
            time = datetime.now(now.tzinfo)
            if choice.random() < 0.2:
                self.sources.append(self._new_source(time - timedelta(hours=12), choice))
                yield self._observe(self.sources[-1], time, "r", choice)
            elif choice.random() < 0.1:
                yield self._asteroid(time, choice)
            else:
                yield self._observe(choice.choice(self.sources), time, choice.choice("gr"), choice)

    # --- the night ---------------------------------------------------------------------------------------------------

    def _new_source(self, tonight: datetime, choice: random.Random) -> Source:
        name = f"ZTF{tonight:%y}{letters(choice, 7)}"
        return self._source(tonight, name, *somewhere(choice), choice.choice(list(TEMPLATES)), choice)

    def _source(
        self, tonight: datetime, name: str, ra: float, dec: float, class_name: str, choice: random.Random | None = None
    ) -> Source:
        choice = choice or self._choice
        source = Source(name, ra, dec, Supernova.draw(class_name, tonight, choice))
        source.visits = [(visit, self._candid()) for visit in source.supernova.history(tonight, choice)]
        return source

    def _candid(self) -> int:
        self._next_candid += 1
        return self._next_candid

    def _night(self) -> Iterator[Message]:
        choice, found = self._choice, []
        for source in self.sources:
            for band in ("g", "r", "g", "r")[: choice.choice((2, 2, 3, 4))]:
                found.append((self._date + timedelta(hours=choice.uniform(3, 12)), source, band))
        packets = [
            self._observe(source, time, band, choice) for time, source, band in sorted(found, key=lambda x: x[0])
        ]
        times = [self._date + timedelta(hours=choice.uniform(3, 12)) for _ in range(30)]
        packets += [self._asteroid(time, choice) for time in times[:15]]
        packets += [self._artefact(time, choice) for time in times[15:]]
        yield from packets
        yield from self._broken(packets[0].value or b"")

    def _broken(self, whole: bytes) -> Iterator[Message]:
        """Cut off on the way, deleted, nowhere, and off the sky."""
        yield Message(TOPIC, whole[: len(whole) * 2 // 3])
        yield Message(TOPIC, None, key=b"deleted")
        time = self._date + timedelta(hours=6)
        for ra, dec in ((math.nan, math.nan), (412.5, -97.0)):
            source = Source(f"ZTF{time:%y}{letters(self._choice, 7)}", ra, dec, Supernova("SNIa", time, 17.0))
            yield self._packet(source, source.supernova.visit(time, "g", self._choice), 0.95)

    # --- packets -----------------------------------------------------------------------------------------------------

    def _observe(self, source: Source, time: datetime, band: str, choice: random.Random) -> Message:
        """A detection. Should it be too faint in this band, the other one is taken; else the exposure was a deep one."""
        visit = source.supernova.visit(time, band, choice)
        if visit.magnitude is None:
            true = source.supernova.magnitude(time, band) or 20.0
            visit = Visit(time, band, round(true + 0.3, 3), round(choice.gauss(true, 0.15), 4), 0.15)
        ra, dec = scattered(choice, source.ra, source.dec, 0.08 / 3600)
        message = self._packet(source, visit, choice.uniform(0.75, 0.99), ra, dec)
        source.visits.append((visit, self._next_candid))
        return message

    def _asteroid(self, time: datetime, choice: random.Random) -> Message:
        """A known asteroid passes."""
        source = Source(f"ZTF{time:%y}{letters(choice, 7)}", *somewhere(choice, -20, 30), Supernova("SNIa", time, 19.0))
        visit = Visit(time, "r", 20.4, round(choice.uniform(17, 19.8), 4), 0.06)
        return self._packet(source, visit, 0.95, near=(choice.uniform(0.1, 2), str(choice.randrange(1000, 500_000))))

    def _artefact(self, time: datetime, choice: random.Random) -> Message:
        """A bad subtraction, which the real/bogus score tells."""
        source = Source(f"ZTF{time:%y}{letters(choice, 7)}", *somewhere(choice), Supernova("SNIa", time, 19.0))
        visit = Visit(time, choice.choice("gr"), 20.3, round(choice.uniform(16, 20), 4), 0.1)
        return self._packet(source, visit, choice.uniform(0.02, 0.4))

    def _packet(
        self,
        source: Source,
        visit: Visit,
        real_bogus: float,
        ra: float | None = None,
        dec: float | None = None,
        near: tuple[float, str] = (-999.0, "null"),
    ) -> Message:
        candid = self._candid()
        since = visit.time - timedelta(days=HISTORY_DAYS)
        history = [(old, number) for old, number in source.visits if old.time >= since]
        record = {
            "schemavsn": "3.3", "publisher": "simulated night", "objectId": source.name, "candid": candid,
            "candidate": {
                "jd": julian_date(visit.time), "fid": FILTER_IDS[visit.band], "candid": candid, "isdiffpos": "t",
                "ra": source.ra if ra is None else ra, "dec": source.dec if dec is None else dec,
                "magpsf": visit.magnitude, "sigmapsf": visit.error, "diffmaglim": visit.depth, "rb": real_bogus,
                "fwhm": 2.1, "ssdistnr": near[0], "ssmagnr": -999.0, "ssnamenr": near[1],
                "ndethist": sum(old.magnitude is not None for old, _ in history) + 1, "ncovhist": len(history) + 1,
                "programid": 1,
            },
            "prv_candidates": [_previous(old, number) for old, number in history] or None,
            **{
                f"cutout{kind}": {"fileName": f"candid{candid}_{kind.lower()}.fits.gz", "stampData": _stamp(peak)}
                for kind, peak in (("Science", 900.0), ("Template", 60.0), ("Difference", 840.0))
            },
        }  # fmt: skip
        stream = io.BytesIO()
        fastavro.writer(stream, SCHEMA, [record], sync_marker=_SYNC_MARKER)
        # By object, so that the packets of one keep their order.
        partition = zlib.crc32(source.name.encode()) % _PARTITIONS
        return Message(TOPIC, stream.getvalue(), partition=partition)


def _previous(visit: Visit, candid: int) -> dict[str, Any]:
    row: dict[str, Any] = {"jd": julian_date(visit.time), "fid": FILTER_IDS[visit.band], "diffmaglim": visit.depth}
    if visit.magnitude is not None:
        row |= {"candid": candid, "isdiffpos": "t", "magpsf": visit.magnitude, "sigmapsf": visit.error, "rb": 0.9}
    return row


def _stamp(peak: float) -> bytes:
    """A gzipped FITS image of a star."""
    middle = _STAMP_PIXELS // 2
    cards = {"SIMPLE": "T", "BITPIX": "-32", "NAXIS": "2", "NAXIS1": str(_STAMP_PIXELS), "NAXIS2": str(_STAMP_PIXELS)}
    header = "".join(f"{name:8}= {value:>20}".ljust(80) for name, value in cards.items()) + "END"
    pixels = [
        100 + peak * math.exp(-((x - middle) ** 2 + (y - middle) ** 2) / 4)
        for y in range(_STAMP_PIXELS)
        for x in range(_STAMP_PIXELS)
    ]
    data = struct.pack(f">{len(pixels)}f", *pixels)
    return gzip.compress(header.ljust(2880).encode() + data.ljust(2880, b"\0"), mtime=0)
