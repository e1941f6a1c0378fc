"""Every schema in every framing, and what must not be taken for one."""

from __future__ import annotations

import io
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import fastavro
import pytest
from fastavro.schema import to_parsing_canonical_form

from alerce_stream.decoding import AlerceDecoder
from alerce_stream.testing import Framing, SimulatedNight, encode
from alerce_stream.versions import SCHEMAS, shipped_versions
from tests.unit.alerce_stream.samples import CANDID, KNOWN, RECORDS, SAME_BYTES, STAMP_2025, alert
from tom_alertstreams.exceptions import ConfigurationError, DecodeError


def _same(found: Any, sent: Any) -> bool:
    """Equal but for what a float of 32 bits loses."""
    if isinstance(sent, dict):
        return found.keys() == sent.keys() and all(_same(found[key], sent[key]) for key in sent)
    if isinstance(sent, list):
        return len(found) == len(sent) and all(map(_same, found, sent))
    return found == (pytest.approx(sent, rel=1e-6) if isinstance(sent, float) else sent)


@pytest.mark.parametrize("framing", ["container", "schemaless", "confluent", "json"])
@pytest.mark.parametrize("name", RECORDS)
def test_every_schema_in_every_framing(name: str, framing: Framing, tmp_path: Path) -> None:
    record = RECORDS[name]
    schema = None
    if framing == "confluent":  # as a broker with a registry; the folder answers for it
        (tmp_path / "1.avsc").write_text(json.dumps(shipped_versions()[name].schema))
        schema = tmp_path
    if framing == "json":
        record = {key: str(value) if isinstance(value, datetime) else value for key, value in record.items()}
    content = alert(encode(record, name, framing), schema=schema).content
    if framing == "schemaless" and name in SAME_BYTES:
        content, record = ({"oid" if key == "aid" else key: part[key] for key in part} for part in (content, record))
    assert _same(content, record)


def test_shipped_schemas_are_the_published_ones(samples: Path) -> None:
    published = {
        "early_classification_step_output": "stamp_classifier_2021",
        "stamp_classifier_2025_step_output": "stamp_classifier_2025",
        "lc_classification_step_output_ztf": "lc_classifier_2024",
        "elasticc_elasticc.v0_9_1.brokerClassification": "elasticc_classification",
    }
    for theirs, ours in published.items():
        files = samples / "alerce" / f"{theirs}.avsc", SCHEMAS / f"{ours}.avsc"
        expected, found = (
            to_parsing_canonical_form(fastavro.parse_schema(json.loads(file.read_text()))) for file in files
        )
        assert expected == found


def test_light_curve_messages_of_the_published_schema_are_read(samples: Path) -> None:
    schema = fastavro.parse_schema(
        json.loads((samples / "alerce" / "lc_classification_step_output_ztf.avsc").read_text())
    )
    record, stream = KNOWN["lc_classifier_2024"][0], io.BytesIO()
    fastavro.schemaless_writer(stream, schema, record)
    assert _same(alert(stream.getvalue(), "lc_classifier_ztf_20261101").content, record)


@pytest.mark.parametrize("cut", [1, 9, 20])
@pytest.mark.parametrize("framing", ["container", "schemaless"])
def test_truncated_messages_are_errors(framing: Framing, cut: int) -> None:
    raw = encode(KNOWN["stamp_classifier_2025"][0], "stamp_classifier_2025", framing)
    with pytest.raises(DecodeError):
        _ = alert(raw[:-cut]).content


@pytest.mark.parametrize(
    "raw",
    [
        None, b"", b"{broken", b"\x93no Avro at all", b"\x00\x00\x00\x02\xc0abc", b"\x00" * 40, bytes(range(256)),
        # Bytes that fit the schema of 2021 to the last one, with an id that nothing is called.
        b"\x08\x01\x02\x03\x04" + b"\x02" + b"\x00" * 20,
    ],
)  # fmt: skip
def test_garbage_is_an_error(raw: bytes | None) -> None:
    with pytest.raises(DecodeError):
        _ = alert(raw).content


def test_a_wrong_schema_in_the_settings_does_not_make_garbage(tmp_path: Path) -> None:
    """Every bare message fits "bytes, then the rest as one number" somehow; the ids give it away."""
    wrong = {
        "type": "record",
        "name": "wrong",
        "fields": [
            {"name": "objectId", "type": "string"},
            {"name": "candid", "type": "long"},
            {"name": "probabilities", "type": {"type": "record", "name": "p", "fields": [
                {"name": name, "type": "double"} for name in ("SN", "AGN", "VS")]}},
        ],
    }  # fmt: skip
    path = tmp_path / "wrong.avsc"
    path.write_text(json.dumps(wrong))
    record = KNOWN["stamp_classifier_2025"][0]
    raw = encode(record, "stamp_classifier_2025", "schemaless")
    # Three doubles are as long as six floats: it fits, and only the probabilities cannot be true.
    fastavro.schemaless_reader(io.BytesIO(raw), fastavro.parse_schema(wrong), None)
    assert _same(alert(raw, schema=path).content, record)


def test_a_schema_of_ones_own_comes_first(tmp_path: Path) -> None:
    own = {
        "type": "record",
        "name": "next_year",
        "fields": [{"name": "oid", "type": "string"}, {"name": "p", "type": {"type": "map", "values": "float"}}],
    }
    (tmp_path / "next_year.avsc").write_text(json.dumps(own))
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(own), {"oid": "ZTF27aaaaaaa", "p": {"SN": 1.0}})
    for schema in (tmp_path, tmp_path / "next_year.avsc"):
        assert alert(stream.getvalue(), schema=schema).content == {"oid": "ZTF27aaaaaaa", "p": {"SN": 1.0}}


def test_a_schema_that_cannot_be_read_is_a_finding_about_settings(tmp_path: Path) -> None:
    (tmp_path / "broken.avsc").write_text('{"type": "record"}')
    with pytest.raises(ConfigurationError, match="no Avro schema"):
        AlerceDecoder(tmp_path)


def test_the_message_says_what_to_do() -> None:
    with pytest.raises(DecodeError, match="stamp_classifier_2025") as caught:
        _ = alert(b"\x93no Avro at all").content
    assert "SCHEMA" in (caught.value.hint or "")


def test_ids_keep_every_digit() -> None:
    record = {"objectId": "ZTF25aaaaaaa", "candid": CANDID, "probabilities": STAMP_2025}
    assert alert(encode(record, "stamp_classifier_2025", "schemaless")).content["candid"] == CANDID
    assert float(CANDID) != CANDID


def test_a_night_parses_each_schema_once(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder, parse, parsed = AlerceDecoder(), fastavro.parse_schema, []

    def parse_and_count(schema: Any, *arguments: Any, **options: Any) -> Any:
        parsed.append(schema)
        return parse(schema, *arguments, **options)

    monkeypatch.setattr(fastavro, "parse_schema", parse_and_count)
    for message in SimulatedNight(30, days=("20261231", "20270101")).messages:
        sent = alert(message.value, message.topic)
        assert decoder(sent)
    assert len(parsed) <= 2  # the containers of both classifiers; none where another test has read such
