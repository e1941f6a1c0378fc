"""Wire bytes to content."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tom_alertstreams.alerts import Alert
from tom_alertstreams.decoders import (
    SchemaSource,
    decode_auto,
    decode_schemaless,
    first_record,
    make_decoder,
    without_cutouts,
)
from tom_alertstreams.exceptions import ConfigurationError, DecodeError, LookUpUnavailable

SCHEMA = {
    "type": "record",
    "name": "alert",
    "fields": [{"name": "candid", "type": "long"}, {"name": "ra", "type": "double"}],
}
RECORD = {"candid": 2**60 + 1, "ra": 123.25}


def bare(record: dict[str, Any] = RECORD) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(SCHEMA), record)
    return out.getvalue()


def container(*records: dict[str, Any], codec: str = "null", schema: Any = SCHEMA) -> bytes:
    out = io.BytesIO()
    fastavro.writer(out, fastavro.parse_schema(schema), records, codec=codec)
    return out.getvalue()


def decoded_or_error(raw: bytes) -> Any:
    """The content, or the DecodeError. Any other error goes on, and fails the test."""
    try:
        return decode_auto(raw)
    except DecodeError as error:
        return error


def alert(raw: bytes | None, key: bytes | None = None) -> Alert:
    return Alert("test", "topic", 0, 0, key, (), None, raw)


class TestAuto:
    @pytest.mark.parametrize(
        ("raw", "content"),
        [
            (b'{"a": 1}', {"a": 1}),
            (b" \n[1]", [1]),
            (b'\t{"a": 1} \r\n', {"a": 1}),
            (b'{"a": 1, "a": 2}', {"a": 2}),
            (b'{"a": "\xed\xa0\x80"}', {"a": "\ud800"}),
            (b'{"a": [-Infinity, 1e999]}', {"a": [float("-inf"), float("inf")]}),
            ("Swift söker".encode(), "Swift söker"),
            (b"<voe:VOEvent/>", "<voe:VOEvent/>"),
            (container(RECORD), RECORD),
            (container(RECORD, codec="deflate"), RECORD),
            (container(RECORD, RECORD), [RECORD, RECORD]),
        ],
    )
    def test_each_format(self, raw: bytes, content: Any) -> None:
        assert decode_auto(raw) == content

    @pytest.mark.parametrize(
        ("raw", "word"),
        [
            (None, "tombstone"),
            (b"", "empty"),
            (b'{"a": ', "invalid JSON"),
            (b"{} {}", "invalid JSON: Extra data"),
            (b"[1]\xc2\xa0", "invalid JSON: Extra data"),  # a space to Python only
            (b'{"a": "\xff"}', "invalid JSON"),
            (b"[" * 100_000, "invalid JSON"),
            (container(RECORD)[:-5], "broken Avro container"),
            (container(), "without a record"),
            (b"Obj\x01", "broken Avro container"),
            (b"\x00\x00\x00\x03\x84" + bare(), "schema id 900"),
            (b"\x00\x00", "cut short"),
            (b"\xff\xfe", "neither Avro, JSON nor text"),
        ],
    )
    def test_what_is_broken_says_so(self, raw: bytes | None, word: str) -> None:
        with pytest.raises(DecodeError, match=word):
            decode_auto(raw)

    @given(st.binary(max_size=200))
    def test_any_bytes_are_decoded_or_an_error(self, raw: bytes) -> None:
        for candidate in (raw, b"Obj\x01" + raw, b"{" + raw, container(RECORD)[: len(raw)] + raw):
            assert isinstance(decoded_or_error(candidate), DecodeError | dict | list | str)


class TestContainers:
    def test_a_schema_is_parsed_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        parsed: list[Any] = []
        parse_schema = fastavro.parse_schema
        schema = {**SCHEMA, "doc": "read for the first time here"}
        messages = [container({"candid": n, "ra": 0.5}, schema=schema) for n in range(3)]
        monkeypatch.setattr(fastavro, "parse_schema", lambda schema: parsed.append(schema) or parse_schema(schema))
        assert [decode_auto(message)["candid"] for message in messages] == [0, 1, 2]
        assert parsed == [schema]

    def test_two_schemas_of_one_name(self) -> None:
        other = {**SCHEMA, "fields": [{"name": "object", "type": "string"}, {"name": "jd", "type": "double"}]}
        for _ in range(2):
            assert decode_auto(container(RECORD)) == RECORD
            record = {"object": "ZTF26aaaaaaa", "jd": 2461000.5}
            assert decode_auto(container(record, schema=other)) == record


class TestSchemaless:
    def test_whole_record(self) -> None:
        assert decode_schemaless(bare(), fastavro.parse_schema(SCHEMA)) == RECORD

    @pytest.mark.parametrize("raw", [bare()[:-1], bare() + b"\x00", b"\x01"])
    def test_every_byte_must_be_used(self, raw: bytes) -> None:
        with pytest.raises(DecodeError, match="does not fit its schema"):
            decode_schemaless(raw, fastavro.parse_schema(SCHEMA))

    def test_schema_in_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "alert.avsc").write_text(json.dumps(SCHEMA))
        assert make_decoder("schemaless", tmp_path / "alert.avsc")(alert(bare())) == RECORD

    def test_schema_in_the_key_as_fink_sends_it(self) -> None:
        decode = make_decoder("key-schema")
        assert decode(alert(bare(), json.dumps(SCHEMA).encode())) == RECORD
        for key in (None, b"", b"no schema", b"{}"):
            with pytest.raises(DecodeError, match="key"):
                decode(alert(bare(), key))

    def test_ids_keep_every_digit(self) -> None:
        assert decode_auto(json.dumps({"candid": 2**60 + 1}).encode())["candid"] == 2**60 + 1
        assert decode_schemaless(bare(), fastavro.parse_schema(SCHEMA))["candid"] == 2**60 + 1


class TestConfluentFraming:
    framed = b"\x00\x00\x00\x00\x07" + bare()

    def test_folder_of_schemas(self, tmp_path: Path) -> None:
        (tmp_path / "7.avsc").write_text(json.dumps(SCHEMA))
        assert decode_auto(self.framed, SchemaSource(tmp_path)) == RECORD
        with pytest.raises(DecodeError, match="no schema with id 8"):
            SchemaSource(tmp_path).by_id(8)

    def test_registry_is_asked_once(self, registry: Registry) -> None:
        schemas = SchemaSource(registry.url)
        assert decode_auto(self.framed, schemas) == decode_auto(self.framed, schemas) == RECORD
        assert registry.paths == ["/schemas/ids/7"]

    def test_registry_that_does_not_know_it(self, registry: Registry) -> None:
        registry.status = 404
        with pytest.raises(DecodeError, match="does not know id 7"):
            decode_auto(self.framed, SchemaSource(registry.url))

    def test_registry_that_is_down_is_waited_for(self, registry: Registry) -> None:
        registry.status = 503
        schemas = SchemaSource(registry.url)
        with pytest.raises(LookUpUnavailable, match="503"):
            decode_auto(self.framed, schemas)
        with pytest.raises(LookUpUnavailable, match="does not answer"):
            decode_auto(self.framed, SchemaSource("http://127.0.0.1:1"))
        registry.status = 200
        assert decode_auto(self.framed, schemas) == RECORD


class Registry:
    """A schema registry that knows one schema."""

    def __init__(self) -> None:
        self.status, self.paths = 200, list[str]()
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry.paths.append(self.path)
                self.send_response(registry.status)
                self.end_headers()
                self.wfile.write(json.dumps({"schema": json.dumps(SCHEMA)}).encode())

            def log_message(self, *args: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def registry() -> Iterator[Registry]:
    running = Registry()
    thread = threading.Thread(target=running.server.serve_forever)
    thread.start()
    yield running
    running.server.shutdown()
    running.server.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("name", "schema"),
    [("avro", None), ("schemaless", None), ("schemaless", "absent.avsc"), ("auto", "/no/such/folder")],
)
def test_settings_that_cannot_be_used(name: str, schema: str | None) -> None:
    with pytest.raises(ConfigurationError):
        make_decoder(name, schema)


@pytest.mark.parametrize(
    ("raw", "count"),
    [
        (container(RECORD), 1),
        (container(RECORD, {**RECORD}, RECORD), 3),
        (b"{}", 1),
        (container(RECORD, RECORD)[:-3], 1),
    ],
)
def test_first_record(raw: bytes, count: int) -> None:
    first, found = first_record(raw)
    assert found == count
    assert decode_auto(first) == RECORD if count > 1 else first == raw


@pytest.mark.parametrize(
    ("content", "rest"),
    [
        ({"candid": 1, "cutoutScience": {"stampData": b"x"}, "cutoutTemplate": None}, {"candid": 1}),
        ([{"cutoutDifference": b"x"}, {"candid": 1}], [{}, {"candid": 1}]),
        ({"candidate": {"cutouts": 3}, "Cutout": 1, 2: 3}, {"candidate": {"cutouts": 3}, "Cutout": 1, 2: 3}),
        ([[{"cutout": 1}]], [[{"cutout": 1}]]),
        ("cutout", "cutout"),
        (b"cutout", b"cutout"),
        (None, None),
    ],
)
def test_without_cutouts(content: Any, rest: Any) -> None:
    assert without_cutouts(content) == rest


def test_what_surveys_send_without_cutouts(samples: Path) -> None:
    for path in sorted(samples.glob("ztf/*.avro")) + sorted(samples.glob("lsst/*.avro")):
        content = decode_auto(path.read_bytes())
        for record in content if isinstance(content, list) else [content]:
            images = {"cutoutScience", "cutoutTemplate", "cutoutDifference"}
            assert set(record) - set(without_cutouts(record)) == images
