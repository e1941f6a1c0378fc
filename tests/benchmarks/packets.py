"""Packets of surveys: real ones, from the folder that ALERT_SAMPLES names, as many as are wanted."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import fastavro

from tests.benchmarks import corpus
from tests.processes import ROOT

SAMPLES = Path(os.environ.get("ALERT_SAMPLES") or ROOT.parent / "shared" / "alerts")
#: Sources of the past in an LSST packet, detected and forced: then it has some 140 kB, as most have.
_PAST = 50


class NoSamples(Exception):
    """The real alerts are not here."""


def ztf(count: int) -> Iterator[bytes]:
    """ZTF's packets as they were sent, over and over."""
    return islice(cycle([path.read_bytes() for path in _files("ztf/*.avro")]), count)


def ztf_of_new_objects(count: int) -> Iterator[bytes]:
    """The same, each of an object of its own, with a position of its own: all of its history is new."""
    read = []
    for path in _files("ztf/*.avro"):
        with path.open("rb") as file:
            reader = fastavro.reader(file)
            read.append((fastavro.parse_schema(reader.writer_schema), next(reader)))
    for n, (schema, record) in enumerate(islice(cycle(read), count)):
        ra, dec = corpus.position(n)
        candid = 3_000_000_000_000_000_001 + n
        candidate = {**record["candidate"], "candid": candid, "ra": ra, "dec": dec, "ssdistnr": None}
        made = io.BytesIO()
        fastavro.writer(
            made, schema, [{**record, "objectId": f"ZTF26{n:07d}", "candid": candid, "candidate": candidate}]
        )
        yield made.getvalue()


def lsst(count: int) -> Iterator[bytes]:
    """Rubin's, as they are on the wire: Confluent's framing, the schema elsewhere."""
    schema, records = _lsst()
    made = []
    for record in records:
        past = {name: (record[name] or [])[:_PAST] for name in ("prvDiaSources", "prvDiaForcedSources")}
        packet = io.BytesIO()
        fastavro.schemaless_writer(packet, schema, {**record, **past})
        made.append(b"\x00\x00\x00\x00\x01" + packet.getvalue())
    return islice(cycle(made), count)


def write_lsst_schema(path: Path) -> None:
    """For SCHEMA of a stream."""
    with _files("lsst/fink_lsst_*_records.avro")[0].open("rb") as file:
        path.write_text(json.dumps(fastavro.reader(file).writer_schema))


@lru_cache(maxsize=1)
def _lsst() -> tuple[Any, list[Any]]:
    with _files("lsst/fink_lsst_*_records.avro")[0].open("rb") as file:
        reader = fastavro.reader(file)
        return fastavro.parse_schema(reader.writer_schema), list(reader)


def _files(pattern: str) -> list[Path]:
    found = sorted(SAMPLES.glob(pattern))
    if not found:
        raise NoSamples(f"no real alerts {pattern} in {SAMPLES}; ALERT_SAMPLES names another place")
    return found


def bare_decoder(schema: str) -> Callable[[bytes], Any]:
    """What a hand would write with fastavro to read everything but the images.

    :param schema: a file, for packets in Confluent's framing; "" for containers.
    """
    parsed = fastavro.parse_schema(json.loads(Path(schema).read_text())) if schema else None

    def decode(raw: bytes) -> dict[str, Any]:
        if parsed is None:
            record = next(fastavro.reader(io.BytesIO(raw)))
        else:
            record = fastavro.schemaless_reader(io.BytesIO(raw[5:]), parsed, None)
        return {name: value for name, value in record.items() if not name.startswith("cutout")}

    return decode
