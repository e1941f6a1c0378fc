"""Avro that would end the process or fill its memory is refused before fastavro reads it; what is real is not."""

from __future__ import annotations

import bz2
import io
import json
import lzma
import zlib
from pathlib import Path
from typing import Any

import fastavro
import pytest
from confluent_kafka import Message
from hop.models import AvroBlob

from tom_alertstreams import avro_limits
from tom_alertstreams.alerts import Alert
from tom_alertstreams.alertstreams import hopskotch
from tom_alertstreams.avro_limits import check_container, check_schema
from tom_alertstreams.decoders import decode_container, first_record, make_decoder
from tom_alertstreams.exceptions import DecodeError

ONE = {"type": "record", "name": "one", "fields": [{"name": "n", "type": "long"}]}
NODE = {"type": "record", "name": "node", "fields": [{"name": "next", "type": ["null", "node"]}]}
#: What fastavro writes into a schema that it has parsed, and believes when it finds it there.
HINTS = {"__fastavro_parsed": True, "__named_schemas": {"node": NODE}}
SYNC = b"s" * 16


def long(number: int) -> bytes:
    """As Avro writes it."""
    rest, written = (number << 1) ^ (number >> 63), b""
    while rest & ~0x7F:
        rest, written = rest >> 7, written + bytes([rest & 0x7F | 0x80])
    return written + bytes([rest])


def container(schema: Any, data: bytes, records: int = 1, codec: str = "null") -> bytes:
    """With one block, whatever is in it."""
    header = long(2) + b"".join(
        long(len(part)) + part for part in (b"avro.codec", codec.encode(), b"avro.schema", json.dumps(schema).encode())
    )
    return b"Obj\x01" + header + long(0) + SYNC + long(records) + long(len(data)) + data + SYNC


def field_of(*types: Any) -> dict[str, Any]:
    fields = [{"name": f"f{n}", "type": kind} for n, kind in enumerate(types)]
    return {"type": "record", "name": "outer", "namespace": "org.example", "fields": fields}


MANY_NULLS = field_of(*["null"] * 20, "boolean")
REFUSED: list[tuple[str, bytes, str]] = [
    ("a record that contains itself", container(NODE, b"\x02" * 1_000_000 + b"\x00"), "node contains itself"),
    (
        "by way of others",
        container(field_of({"type": "array", "items": {**field_of(["null", "org.example.outer"]), "name": "b"}}), b"\0"),
        "contains itself",
    ),
    ("an array of nulls", container(field_of({"type": "array", "items": "null"}), long(2**40) + b"\0"), "out of nothing"),
    (
        "an array of empty records",
        container(field_of({"type": "array", "items": {"type": "record", "name": "e", "fields": []}}), long(2**40)),
        "out of nothing",
    ),
    (
        "an array of nothing of fixed size",
        container(field_of({"type": "array", "items": {"type": "fixed", "name": "e", "size": 0}}), long(2**40)),
        "out of nothing",
    ),
    ("an array of one byte and many nulls", container({"type": "array", "items": MANY_NULLS}, b"\0"), "out of nothing"),
    ("a map of the same", container({"type": "map", "values": MANY_NULLS}, b"\0"), "out of nothing"),
    ("records without a byte", container("null", b"", records=2**40), "more than 10,000 records"),
    ("a deep schema", container(json.loads('{"type": "array", "items":' * 200 + '"int"' + "}" * 200), b"\0"), "levels deep"),
    ("a type known from elsewhere", container({**field_of("node"), **HINTS}, b"\x02" * 1_000_000 + b"\0"), "no type node"),
    ("no schema", container(None, b"\0"), "is none"),
    ("an integer without an end", b"Obj\x01" + b"\xff" * 20, "more than 64 bits"),
    ("a negative length", container(ONE, b"\x02")[:-18] + long(-5) + b"\x02" + SYNC, "cut short"),
    ("another end of a block", container(ONE, b"\x02")[:-1] + b"t", "do not fit together"),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "words"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_refused(raw: bytes, words: str) -> None:
    with pytest.raises(DecodeError, match=words):
        decode_container(raw)
    assert first_record(raw) == (raw, 1)
    headers = [("_format", b"avro")]
    with pytest.raises(DecodeError, match=words):
        hopskotch._deserialize(Message(topic="t", partition=0, offset=0, value=raw, headers=headers))


@pytest.mark.parametrize(
    ("codec", "compress"),
    [
        ("deflate", lambda data: zlib.compress(data)[2:-4]),
        ("bzip2", bz2.compress),
        ("xz", lzma.compress),
    ],
)
def test_compressed(codec: str, compress: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = long(1_000_000) + bytes(1_000_000)
    raw = container(field_of("bytes"), compress(data), codec=codec)
    assert len(decode_container(raw)["f0"]) == 1_000_000
    monkeypatch.setattr(avro_limits, "_LARGEST_BYTES", 900_000)
    with pytest.raises(DecodeError, match="when decompressed"):
        decode_container(raw)
    with pytest.raises(DecodeError, match="broken Avro container"):
        decode_container(container(field_of("bytes"), b"not compressed", codec=codec))


def test_schema_in_the_key() -> None:
    decode = make_decoder("key-schema")
    with pytest.raises(DecodeError, match="contains itself"):
        decode(Alert("s", "t", 0, 0, json.dumps(NODE).encode(), (), None, b"\x02" * 100_000 + b"\x00"))


@pytest.mark.parametrize("known", [False, True])
def test_each_message_of_a_known_schema_is_looked_at(known: bool) -> None:
    assert decode_container(container(ONE, b"\x02")) == {"n": 1}
    schema = ONE if known else {**ONE, "doc": "another"}
    for broken in (
        container(schema, b"\x02")[:-1],
        container(schema, b"\x02")[:-1] + b"t",
        container(schema, b"\x02" * 10_001, records=10_001),
        container(schema, b"", records=1),
        container(schema, b"\x02", records=0),
    ):
        for _ in range(2):
            with pytest.raises(DecodeError):
                decode_container(broken)
    assert decode_container(container(schema, b"\x02")) == {"n": 1}


def test_types_are_the_schemas_own() -> None:
    with pytest.raises(DecodeError, match="no type node"):
        check_schema(json.dumps({**field_of("node"), **HINTS}))
    # Where it has one of that name, what fastavro noted is not read.
    schema = {**field_of({**ONE, "name": "node"}, "org.example.node"), **HINTS}
    schema["__named_schemas"] = {"org.example.node": {**ONE, "fields": [{"name": "evil", "type": "long"}]}}
    content = {"f0": {"n": 1}, "f1": {"n": 2}}
    assert decode_container(container(schema, b"\x02\x04")) == content
    key = json.dumps(schema).encode()
    assert make_decoder("key-schema")(Alert("s", "t", 0, 0, key, (), None, b"\x02\x04")) == content


SOUND: list[Any] = [
    ONE,
    ["null", ONE],
    {"type": "map", "values": "null"},  # as hop makes it of {"a": None}
    {"type": "map", "values": {"type": "array", "items": []}},  # as hop makes it of {"a": []}
    {"type": "map", "values": {"type": "map", "values": []}},
    field_of({"type": "long", "logicalType": "timestamp-micros"}, {"type": ["null", "string"]}, "null"),
    field_of({"type": "fixed", "name": "f", "size": 4}, {"type": "array", "items": "f"}),
    field_of({"type": "enum", "name": "e", "symbols": ["a"]}, {"type": "array", "items": "org.example.e"}),
    # The same short name in another namespace; a record used again beside where it was first named.
    field_of({"type": "record", "name": "inner", "namespace": "a", "fields": []}, "a.inner", ["null", "a.inner"]),
    {"type": "array", "items": {**ONE, "fields": [{"name": f"f{n}", "type": ["null", "float"]} for n in range(500)]}},
]


@pytest.mark.parametrize("schema", SOUND, ids=range(len(SOUND)))
def test_sound_schemas(schema: Any) -> None:
    check_schema(json.dumps(schema))


@pytest.mark.parametrize(
    "content", [{"a": None}, {"a": []}, {"a": {}}, [{"a": 1}, {"b": None}], {"a": [[], [1, None]]}]
)
def test_what_hop_sends(content: Any) -> None:
    check_container(bytes(AvroBlob(content)))


def test_what_surveys_send(samples: Path) -> None:
    files = sorted(samples.glob("*/*.avro"))
    assert len(files) > 20
    for path in files:
        check_container(path.read_bytes())


def test_containers_as_fastavro_writes_them() -> None:
    for codec in ("null", "deflate"):
        file = io.BytesIO()
        fastavro.writer(file, ONE, [{"n": n} for n in range(9_999)], codec=codec, sync_interval=100)
        assert len(decode_container(file.getvalue())) == 9_999
        for end in range(0, 300, 7):  # cut anywhere: refused, by whom does not matter
            with pytest.raises(DecodeError):
                decode_container(file.getvalue()[: 100 + end])
