"""Messages made to exhaust whoever reads them: deep, endless, or much larger than they look. Each ends at its first try."""

from __future__ import annotations

import io
import json
import time
import zlib
from typing import Any, Final

import fastavro
import pytest

from tests.faults.corpora import CORPORA, deliver
from tests.faults.model.clock import Clock
from tests.faults.model.kafka import Kafka, Record
from tests.faults.mutations import Sample
from tests.unit.ingest.samples import notice, ztf_packet

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

#: More digits than a float goes, and the most that Python reads.
HUGE, LARGEST = "9" * 400, "9" * 4300
NODE: Final = {"type": "record", "name": "node", "fields": [{"name": "next", "type": ["null", "node"]}]}
NULLS: Final = {"type": "record", "name": "r", "fields": [{"name": "a", "type": {"type": "array", "items": "null"}}]}
CLASSIFIED: Final = {
    "oid": "ZTF24aaaaaaa",
    "lc_classification": {"probabilities": {"SNIa": 0.75, "QSO": 0.25}, "class": "SNIa", "hierarchical": {"top": {}}},
    "features": {"x": 1},
}
VOEVENT: Final = (
    '<voe:VOEvent ivorn="ivo://nasa.gsfc.gcn/SWIFT#BAT_GRB_Pos_1-1" role="observation" version="2.0" '
    'xmlns:voe="http://www.ivoa.net/xml/VOEvent/v2.0"><What>{}</What></voe:VOEvent>'
)


def deep(levels: int) -> str:
    """JSON; Python's own reader goes to about 990 levels, and what comes after it often less far."""
    return '{"a":' * levels + "1" + "}" * levels


def deep_xml(levels: int) -> bytes:
    return VOEVENT.format("<Group>" * levels + "</Group>" * levels).encode()


def with_value(content: Any, old: str, new: str) -> bytes:
    text = json.dumps(content)
    assert text.count(old) == 1
    return text.replace(old, new).encode()


def long(number: int) -> bytes:
    file = io.BytesIO()
    fastavro.schemaless_writer(file, "long", number)
    return file.getvalue()


def container(schema: Any, data: bytes) -> bytes:
    """With one record, whatever is in it."""
    file, sync = io.BytesIO(), b"s" * 16
    fastavro.writer(file, schema, [], sync_marker=sync)
    return file.getvalue() + long(1) + long(len(data)) + data + sync


def deep_bson(levels: int) -> bytes:
    sizes = [5 + 8 * n for n in range(levels, 0, -1)]
    heads = b"".join(size.to_bytes(4, "little") + b"\x03a\x00" for size in sizes)
    return heads + b"\x05\x00\x00\x00\x00" + b"\x00" * levels


RECURSIVE, ENDLESS = container(NODE, b"\x02" * 1_000_000 + b"\x00"), container(NULLS, long(2**40) + b"\x00")

CASES: list[tuple[str, str, bytes, str]] = [
    # what it is, stream (and form), message, how it ends
    ("Avro record in itself", "survey", RECURSIVE, "dead"),
    ("Avro array of nulls", "survey", ENDLESS, "dead"),
    ("deep JSON", "survey", deep(100_000).encode(), "dead"),
    ("deep list", "survey", b"[" * 900 + b"]" * 900, "rejected"),
    ("huge right ascension", "survey", with_value(ztf_packet(ra=10.5), "10.5", HUGE), "rejected"),
    ("huge magnitude", "survey", with_value(ztf_packet(magpsf=18.25), "18.25", HUGE), "done"),
    ("huge date", "survey", with_value(ztf_packet(jd=2461000.75), "2461000.75", HUGE), "done"),
    ("largest id", "survey", with_value(ztf_packet(candid=5) | {"candid": 6}, '"candid": 6', f'"candid": {LARGEST}'), "done"),
    ("deep XML", "gcn", deep_xml(100_000), "rejected"),
    ("huge position", "gcn", with_value(notice(), "100.0", HUGE), "rejected"),
    ("largest id of an event", "gcn", with_value(notice(), '["1000001"]', LARGEST), "dead"),
    ("Avro record in itself", "hopskotch avro", RECURSIVE, "dead"),
    ("Avro array of nulls", "hopskotch avro", ENDLESS, "dead"),
    ("deep XML", "hopskotch voevent", deep_xml(100_000), "rejected"),
    ("deep JSON", "hopskotch json", deep(100_000).encode(), "dead"),
    ("deep features", "alerce", with_value(CLASSIFIED, '{"top": {}}', deep(500)), "dead"),
    ("huge probability", "alerce", with_value(CLASSIFIED, "0.75", HUGE), "dead"),
    ("huge position", "alerce", with_value(CLASSIFIED | {"ra": 0.5, "dec": 1}, "0.5,", f"{HUGE},"), "done"),
    ("largest id", "alerce", with_value(CLASSIFIED, '"ZTF24aaaaaaa"', LARGEST), "dead"),
    ("huge feature", "alerce", with_value(CLASSIFIED, '"x": 1', f'"x": {HUGE}'), "done"),
    ("deep BSON", "antares", zlib.compress(deep_bson(100_000)), "dead"),
    ("BSON longer than it is", "antares", zlib.compress(b"\xff\xff\xff\x7f" + bytes(100)), "dead"),
    ("300 MB of zeros", "antares", zlib.compress(bytes(300_000_000), 1), "dead"),
]  # fmt: skip
TOPICS: Final = {
    "survey": "survey",
    "gcn": "gcn.notices.mission",
    "hopskotch": "hermes.test",
    "alerce": "lc_classifier_20261231",
    "antares": "client.nuclear",
}


@pytest.mark.parametrize("stream", TOPICS)
def test_each_ends_at_its_first_try(stream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for what, where, raw, expected in CASES:
        name, _, form = where.partition(" ")
        if name != stream:
            continue
        headers = (("_format", form.encode()),) if form else ()
        topic = TOPICS[stream]
        kafka = Kafka([(topic, 0)], Clock(), lambda: None)
        sent = [Sample(what, topic, Record(raw, headers=headers))]
        since = time.monotonic()
        # A stream of its own for each, so that each is at offset 0.
        ends = deliver(CORPORA[stream], kafka, sent, monkeypatch, group_id=f"{stream} {what}")
        assert +ends == {expected: 1}, what
        assert time.monotonic() - since < 20
