"""Real messages of every stream, and ways to spoil them."""

from __future__ import annotations

import io
import json
import random
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import fastavro
from hop import bson
from hop.models import ExternalMessage

from alerce_stream.testing import SimulatedNight, encode
from tests.faults.model.kafka import Record

#: What stands in for a value of JSON or XML.
_ODD: Final = (
    b"null", b"true", b"NaN", b"-Infinity", b"1e400", b"-0", b"361", b"-90.5", b"9" * 400, b"[]", b"{}", b"[[[{}]]]",
    b'""', b'" "', b'"\\u0000"', b'"\\ud800"', b'"' + b"x" * 300 + b'"', b'"NaN"', b'"2026-02-30T25:61:61Z"', b'"\xff"',
)  # fmt: skip
_TOKEN: Final = re.compile(rb'"[^"\n]{0,200}"|-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|\bnull\b|\btrue\b|\bfalse\b')
#: What stands in for a value of Avro or BSON, by its type.
_ODD_OF_TYPE: Final[dict[type, tuple[Any, ...]]] = {
    float: (float("nan"), float("inf"), -1e300, 0.0, 1e-320),
    int: (0, -1, 2**31 - 1, 2**63 - 1, -(2**63)),
    str: ("", " ", "\x00", "x" * 300, "nan", "ZTF\u202e"),
    bytes: (b"", b"\x00" * 10),
    bool: (True, False),
}


@dataclass(frozen=True)
class Sample:
    """One message as it was sent."""

    name: str
    topic: str
    record: Record


def spoiled(sample: Sample, others: Sequence[Sample], dice: random.Random) -> Sample:
    """The sample after one to three mutations, some of them with a piece of another sample."""
    raw = sample.record.value or b""
    done = []
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        mutate = dice.choice(_MUTATIONS)
        raw = mutate(raw, dice.choice(others).record.value or b"", dice)
        done.append(mutate.__name__.strip("_"))
    return replace(sample, name=f"{sample.name} {'+'.join(done)}", record=sample.record._replace(value=raw))


def _flipped(raw: bytes, _other: bytes, dice: random.Random) -> bytes:
    """Bits change; half of the time at the beginning, where formats are told and schemas are."""
    spoilt = bytearray(raw)
    end = dice.choice((len(raw), min(len(raw), 3000)))
    for _ in range(dice.randint(1, 8) if end else 0):
        spoilt[dice.randrange(end)] ^= 1 << dice.randrange(8)
    return bytes(spoilt)


def _overwritten(raw: bytes, _other: bytes, dice: random.Random) -> bytes:
    """A few bytes in a row become those that lengths and counts are large with."""
    if not raw:
        return raw
    at, width = dice.randrange(len(raw)), dice.randint(1, 9)
    return raw[:at] + dice.choice((b"\xff", b"\x80", b"\x00", b"\x7f")) * width + raw[at + width :]


def _cut(raw: bytes, _other: bytes, dice: random.Random) -> bytes:
    """The end is missing, or the beginning, or something between."""
    begin, end = sorted((dice.randint(0, len(raw)), dice.randint(0, len(raw))))
    return dice.choice((raw[:begin], raw[end:], raw[:begin] + raw[end:], raw[: max(0, len(raw) - dice.randint(1, 9))]))


def _spliced(raw: bytes, other: bytes, dice: random.Random) -> bytes:
    """It goes on as another one."""
    return raw[: dice.randint(0, len(raw))] + other[dice.randint(0, len(other)) :]


def _inserted(raw: bytes, other: bytes, dice: random.Random) -> bytes:
    """A piece of another one in the middle."""
    at, begin = dice.randint(0, len(raw)), dice.randint(0, len(other))
    return raw[:at] + other[begin : begin + dice.randint(1, 200)] + raw[at:]


def _revalued(raw: bytes, _other: bytes, dice: random.Random) -> bytes:
    """A few values become odd ones; the format stays whole."""
    for _ in range(dice.randint(1, 3)):
        raw = _revalued_once(raw, dice)
    return raw


def _revalued_once(raw: bytes, dice: random.Random) -> bytes:
    if raw.startswith(b"Obj\x01"):
        try:
            reader = fastavro.reader(io.BytesIO(raw))
            records: list[Any] = [_revalue(record, dice) for record in reader]
            file = io.BytesIO()
            fastavro.writer(file, reader.writer_schema, records, sync_marker=b"s" * 16)
        except Exception:  # noqa: BLE001  (it was spoilt before, or the value does not fit)
            return raw
        return file.getvalue()
    if raw[:1] == b"\x78":
        try:
            return zlib.compress(bson.dumps(_revalue(bson.loads(zlib.decompress(raw)), dice)))
        except Exception:  # noqa: BLE001  (as above)
            return raw
    found = list(_TOKEN.finditer(raw))
    if not found:
        return raw
    token = dice.choice(found)
    return raw[: token.start()] + dice.choice(_ODD) + raw[token.end() :]


def _revalue(value: Any, dice: random.Random) -> Any:
    """The same with one leaf changed."""
    if isinstance(value, dict) and value:
        key = dice.choice(list(value))
        return {**value, key: _revalue(value[key], dice)}
    if isinstance(value, list) and value:
        at = dice.randrange(len(value))
        return [*value[:at], _revalue(value[at], dice), *value[at + 1 :]]
    return dice.choice(_ODD_OF_TYPE.get(type(value), (None,)))


def _deflated(raw: bytes, other: bytes, dice: random.Random) -> bytes:
    """What was compressed is spoilt inside and compressed again; what was not, is."""
    try:
        inner = zlib.decompress(raw)
    except zlib.error:
        return zlib.compress(raw) if dice.random() < 0.1 else raw
    return zlib.compress(dice.choice((_flipped, _overwritten, _cut, _spliced))(inner, other, dice))


_MUTATIONS: Final[tuple[Callable[[bytes, bytes, random.Random], bytes], ...]] = (
    _flipped, _overwritten, _cut, _spliced, _inserted, _revalued, _revalued, _deflated,
)  # fmt: skip


# --- what is spoilt ----------------------------------------------------------------------------------------------------


def gcn_samples(folder: Path) -> list[Sample]:
    """Notices and circulars as GCN sends them: JSON, VOEvent, text."""
    kinds = {".json": "gcn.notices.mission", ".xml": "gcn.classic.voevent.KIND", ".txt": "gcn.classic.text.KIND"}
    files = [*folder.glob("gcn/*"), *folder.glob("gcn/notices/*"), *folder.glob("hopskotch/*gcn*")]
    return [
        Sample(path.name, kinds.get(path.suffix, kinds[".txt"]), Record(path.read_bytes()))
        for path in sorted(files)
        if path.is_file()
    ]


def hopskotch_samples(folder: Path, hermes: dict[str, Any]) -> list[Sample]:
    """What the formats of hop's models carry, and a message that is stored elsewhere."""
    forms = {".xml": "voevent", ".json": "json", ".avro": "avro", ".txt": "gcntextnotice", ".gcn3": "circular"}
    found = [
        (path.name, forms[path.suffix], path.read_bytes())
        for path in [*sorted(folder.glob("hopskotch/*")), *sorted(folder.glob("gcn/notices/*"))[::4]]
    ]
    found += [(path.name, "json", path.read_bytes()) for path in folder.glob("lvk/*")]
    found.append(("hermes", "json", json.dumps(hermes).encode()))
    found.append(("stored elsewhere", "external", bytes(ExternalMessage(url="https://hop.invalid/msg/1"))))
    return [
        Sample(name, "hermes.test", Record(raw, headers=(("_format", form.encode()), ("_id", b"i" * 16))))
        for name, form, raw in found
    ]


def survey_samples(folder: Path) -> list[Sample]:
    """Packets of ZTF, of LSST as Fink hands them on, and of its simulation."""
    files = [*folder.glob("ztf/*.avro"), *folder.glob("elasticc/*.avro"), *folder.glob("lsst/*")]
    return [Sample(path.name, "survey", Record(path.read_bytes())) for path in sorted(files)]


def alerce_samples(_folder: Path) -> list[Sample]:
    """A night of ALeRCE's classifiers in every framing; no captured message is public."""
    night = SimulatedNight(objects=20, days=("20261231", "20270101"), broken=True)
    samples = [
        Sample(f"{message.topic} {message.oid}", message.topic, Record(message.value, message.key))
        for message in night.messages
    ]
    record = {"objectId": "ZTF21aaaaaaa", "candid": 2454460970015010006, "probabilities": _STAMP}
    for framing in ("container", "schemaless", "confluent", "json"):
        raw = encode(record, "stamp_classifier_2021", framing)  # type: ignore[arg-type]
        samples.append(Sample(framing, "stamp_classifier_20261231", Record(raw)))
    return samples


_STAMP: Final = {"SN": 0.9, "AGN": 0.05, "VS": 0.03, "asteroid": 0.01, "bogus": 0.01}


def antares_samples(_folder: Path) -> list[Sample]:
    """Loci; none that was captured is public."""
    locus = {
        "id": "ANT2020abc", "ra": 123.5, "dec": -7.25, "properties": {"ztf_object_id": "ZTF18abc", "num_alerts": 3},
        "tags": ["nuclear_transient"], "catalogs": ["gaia"],
        "alerts": [{"id": f"ztf_candidate:{n}", "mjd": 59000.5 + n, "properties": {"mag": 18.5}} for n in range(20)],
    }  # fmt: skip
    packet = {"objectId": "ZTF18abc", "candid": 1, "candidate": {"jd": 2459000.5, "ra": 123.5, "dec": -7.25, "fid": 1}}
    return [
        Sample(name, "client.nuclear", Record(zlib.compress(bson.dumps(document))))
        for name, document in (("locus", locus), ("packet", packet))
    ]
