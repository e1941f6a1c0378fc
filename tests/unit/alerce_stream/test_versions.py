"""Versions of schemas: known by their fingerprints, learnt from containers, told where they are new."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from typing import Any

import fastavro
import pytest

from alerce_stream import versions
from alerce_stream.decoding import AlerceDecoder
from alerce_stream.messages import parse
from alerce_stream.testing import Framing, encode
from alerce_stream.versions import KnownVersions, shipped_versions
from tests.unit.alerce_stream.samples import RECORDS, SENT, container
from tom_alertstreams import decoders
from tom_alertstreams.alerts import Alert
from tom_alertstreams.exceptions import DecodeError

FINGERPRINTS = {
    "elasticc_classification": "1e92a2a0262d37cf",
    "lc_classifier_2021": "ffe1cc3332cf72fa",
    "lc_classifier_2023_04_aid": "4846d20f11e34bad",
    "lc_classifier_2023_05_aid": "ef986a9961a2aad0",
    "lc_classifier_2023_12_aid": "aa9aea05e158638c",
    "lc_classifier_2024": "1e8433661ab990f1",
    "rubin_stamp_classifier": "2852ce0f96739252",
    "stamp_classifier_2021": "aa7fcd4a0dbc6969",
    "stamp_classifier_2021_candid_text": "b75c9c650d60a266",
    "stamp_classifier_2025": "f1deac879859c79f",
    "stamp_classifier_2026_multisurvey": "22f3edd6afbba1d7",
    "stamp_classifier_aid": "6ec97a036efd91b7",
}
#: Of next year: ids and probabilities go by known names, in an order and with a field that no version has.
NEXT: dict[str, Any] = {
    "type": "record",
    "name": "stamp_probabilities_next",
    "fields": [
        {"name": "mjd", "type": "double"},
        {"name": "oid", "type": "long"},
        {"name": "measurement_id", "type": "long"},
        {"name": "probabilities", "type": {"type": "map", "values": "double"}},
    ],
}
RECORD = {
    "mjd": 61234.5,
    "oid": 36028941024305561,
    "measurement_id": 7000000000,
    "probabilities": {"SN": 0.75, "AGN": 0.25},
}


def bare(record: dict[str, Any] = RECORD, schema: dict[str, Any] = NEXT) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), record)
    return stream.getvalue()


def alert(decoder: AlerceDecoder, raw: bytes, topic: str = "stamp_classifier_20261101") -> Alert:
    return Alert("alerce", topic, 0, 7, None, (), SENT, raw, decoder)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_every_version_has_a_fingerprint_of_its_own() -> None:
    assert {name: version.fingerprint for name, version in shipped_versions().items()} == FINGERPRINTS
    assert len(set(FINGERPRINTS.values())) == len(FINGERPRINTS)


def test_the_features_are_those_that_were_published() -> None:
    schema = shipped_versions()["lc_classifier_2021"].schema["fields"][2]["type"]
    types = [tuple(item["type"]) for item in schema["fields"]]
    assert (types.count(("float", "null")), types.count(("double", "null")), len(types)) == (127, 51, 178)
    assert sum(not item["name"].replace("_", "a").isalnum() for item in schema["fields"]) == 13


@pytest.mark.parametrize("name", FINGERPRINTS)
def test_a_known_version_is_recognised_however_it_is_written(name: str, caplog: pytest.LogCaptureFixture) -> None:
    schema = {"doc": "in other words", **{k: v for k, v in shipped_versions()[name].schema.items() if k != "doc"}}
    known = KnownVersions()
    assert known.recognise("stamp_classifier", json.dumps(schema, indent=3).encode()).name == name
    _ = alert(AlerceDecoder(), encode(RECORDS[name], name)).content
    assert warnings(caplog) == []


def test_a_new_version_is_told_once_and_read_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    decoder = AlerceDecoder()
    for day in ("20261101", "20261102"):
        for topic in (f"stamp_classifier_{day}", f"stamp_classifier_ztf_{day}"):
            report = parse(alert(decoder, container(NEXT, RECORD), topic))
            assert (report.object_id, report.classifications[0].class_name) == ("ZTF17yegsjgj", "SN")
    (told,) = warnings(caplog)
    mark = versions.fingerprint_of(fastavro.parse_schema(NEXT))
    assert told.startswith(
        f"stamp_classifier: a schema that is not known yet: stamp_probabilities_next, fingerprint {mark}, with mjd, oid, "
        "measurement_id, probabilities."
    )
    assert "SCHEMA" in told


def test_what_a_container_brought_reads_bare_messages_of_the_same_classifier() -> None:
    decoder = AlerceDecoder()
    with pytest.raises(DecodeError):
        _ = alert(decoder, bare()).content
    _ = alert(decoder, container(NEXT, RECORD)).content
    assert alert(decoder, bare(), "stamp_classifier_20261102").content == RECORD
    assert alert(decoder, bare(), "stamp_classifier_20261102").content == RECORD
    with pytest.raises(DecodeError):
        _ = alert(decoder, bare(), "lc_classifier_20261102").content
    with pytest.raises(DecodeError, match="stamp_probabilities_next"):  # which is among those that were tried
        _ = alert(decoder, b"\x93no Avro at all").content


def test_a_new_version_of_a_registry_is_told_once_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "704.avsc").write_text(json.dumps(NEXT))
    decoder = AlerceDecoder(tmp_path)
    decoder._versions = KnownVersions()  # as with a registry: the schemas of a folder are known
    for _ in range(2):
        assert alert(decoder, b"\x00" + (704).to_bytes(4, "big") + bare()).content == RECORD
    assert len(warnings(caplog)) == 1


def test_the_schema_of_settings_is_known(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "next.avsc").write_text(json.dumps(NEXT))
    decoder = AlerceDecoder(tmp_path / "next.avsc")
    assert alert(decoder, container(NEXT, RECORD)).content == RECORD
    assert alert(decoder, bare()).content == RECORD
    assert warnings(caplog) == []


def test_the_packet_of_a_survey_is_no_new_version(caplog: pytest.LogCaptureFixture) -> None:
    packet = {
        "type": "record",
        "namespace": "lsst.v10_0",
        "name": "alert",
        "fields": [{"name": "diaSourceId", "type": "long"}],
    }
    _ = alert(AlerceDecoder(), container(packet, {"diaSourceId": 7}), "sn_candidates").content
    assert warnings(caplog) == []


@pytest.mark.parametrize("schema", ["long", ["null", "long"], {"type": "map", "values": "long"}])
def test_a_schema_without_a_record_is_looked_at(schema: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A message that can be read does not fail for what is said of its schema."""
    content: Any = {"SN": 1} if isinstance(schema, dict) else 1
    assert alert(AlerceDecoder(), container(schema, content)).content == content
    assert "a schema without a name" in warnings(caplog)[0]


def test_a_flood_of_new_versions_is_not_kept(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(versions, "_MOST_LEARNT", 3)
    decoder = AlerceDecoder()
    for number in range(6):
        raw = container({**NEXT, "name": f"v{number}"}, RECORD)
        assert alert(decoder, raw).content == RECORD
    assert len(warnings(caplog)) == 3


@pytest.mark.parametrize("framing", ["container", "schemaless", "confluent"])
def test_each_schema_is_parsed_once(framing: Framing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, version in enumerate(shipped_versions().values()):
        (tmp_path / f"{number}.avsc").write_text(json.dumps(version.schema))
    messages = [
        encode(RECORDS[name], name, framing, number)
        for number, name in enumerate(shipped_versions())
    ]  # fmt: skip
    decoder = AlerceDecoder(tmp_path if framing == "confluent" else None)
    calls: list[Any] = []
    parse_schema = fastavro.parse_schema
    decoders.parse_schema.cache_clear()
    monkeypatch.setattr(fastavro, "parse_schema", lambda schema: calls.append(schema) or parse_schema(schema))
    for _ in range(3):
        for raw in messages:
            _ = alert(decoder, raw).content
    # Bare messages are read with what was parsed when the stream was made.
    assert len(calls) == (0 if framing == "schemaless" else len(messages))
