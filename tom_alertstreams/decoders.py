"""Wire bytes to content. Decoders know formats, not brokers; every failure is a DecodeError that says what was expected."""

from __future__ import annotations

import io
import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import fastavro

from .alerts import Alert
from .avro_limits import Container, check_container, check_schema
from .exceptions import ConfigurationError, DecodeError, LookUpUnavailable

Decoder = Callable[[Alert], Any]

#: First bytes of an Avro object container file (Avro specification 1.11, "Object Container Files").
CONTAINER_MAGIC: Final = b"Obj\x01"
#: First byte of Confluent's framing; the schema id follows, four bytes, big-endian.
CONFLUENT_MAGIC: Final = b"\x00"
#: How surveys (ZTF, LSST) name the images in a packet, which are most of its bytes.
_CUTOUT: Final = "cutout"
_REGISTRY_TIMEOUT_S = 10.0
_JSON: Final = json.JSONDecoder()
_JSON_SPACE: Final = " \t\n\r"


def make_decoder(name: str = "auto", schema: str | Path | None = None) -> Decoder:
    """The decoder that DECODER and SCHEMA of a stream ask for.

    ``auto`` looks at each message: Avro container, Confluent framing (needs SCHEMA), JSON, text.
    ``key-schema`` takes the Avro schema from the message key, as Fink sends it. ``schemaless`` reads bare Avro with SCHEMA.

    :param schema: an .avsc file, a folder of .avsc files named by schema id, or the URL of a schema registry.
    :raises ConfigurationError: the name is unknown, or SCHEMA is missing or cannot be read.
    """
    if name == "auto":
        schemas = SchemaSource(schema) if schema is not None else None
        return lambda alert: decode_auto(alert.raw, schemas)
    if name == "key-schema":
        return _decode_with_key
    if name == "schemaless":
        if schema is None or not Path(schema).is_file():
            raise ConfigurationError("DECODER schemaless needs SCHEMA.", hint="SCHEMA is the path of an .avsc file.")
        parsed = _parse_file(Path(schema))
        return lambda alert: decode_schemaless(_present(alert.raw), parsed)
    raise ConfigurationError(f"DECODER is {name!r}.", hint='Use "auto", "key-schema" or "schemaless".')


def decode_auto(raw: bytes | None, schemas: SchemaSource | None = None) -> Any:
    """Recognise the format of a message by its first bytes and decode it.

    :returns: the record of a container with one record, else the list of its records; for JSON its value; for any other
        UTF-8 the text.
    :raises DecodeError: a tombstone, an empty value, or bytes that are nothing of this.
    """
    raw = _present(raw)
    if raw.lstrip()[:1] in (b"{", b"["):
        return decode_json(raw)
    if raw.startswith(CONTAINER_MAGIC):
        return decode_container(raw)
    if raw.startswith(CONFLUENT_MAGIC):
        if len(raw) < 6:
            raise DecodeError(f"{len(raw)} bytes that begin like Confluent's framing: cut short.")
        schema_id = int.from_bytes(raw[1:5], "big")
        if schemas is None:
            raise DecodeError(
                f"Avro in Confluent's framing, schema id {schema_id}, and no SCHEMA is set.",
                hint="Set SCHEMA in the stream's OPTIONS to the broker's schema registry or a folder of .avsc files.",
            )
        return decode_schemaless(raw[5:], schemas.by_id(schema_id))
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DecodeError(
            f"{len(raw)} bytes that are neither Avro, JSON nor text (they begin with {raw[:8].hex(' ')}).",
            hint="Set DECODER in the stream's OPTIONS if the broker sends bare Avro.",
        ) from error


def decode_json(raw: bytes) -> Any:
    """JSON as UTF-8.

    :raises DecodeError: it is not valid.
    """
    try:
        text = raw.decode("utf-8", "surrogatepass").strip(_JSON_SPACE)
        # json.loads looks for other encodings first, and for spaces by regular expressions: half of its time on a small alert.
        content, end = _JSON.raw_decode(text)
        if end != len(text):
            raise json.JSONDecodeError("Extra data", text, end)
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"invalid JSON: {error}") from error
    return content


def decode_container(raw: bytes) -> Any:
    """An Avro object container: the record if there is one, else the list of records.

    :raises DecodeError: it is cut, broken, empty, compressed with a codec that is not installed, or made to exhaust us.
    """
    return read_container(raw)[0]


def read_container(raw: bytes) -> tuple[Any, bytes]:
    """As :func:`decode_container`, and the schema that it was written with, JSON."""
    container = check_container(raw)
    try:
        records = _records(raw, container)
    except Exception as error:
        # fastavro lets through whatever its C code met: IndexError, EOFError, struct.error, UnicodeDecodeError …
        raise DecodeError(f"broken Avro container: {type(error).__name__}: {error}") from error
    if not records:
        raise DecodeError("an Avro container without a record.")
    return records[0] if len(records) == 1 else records, container.schema


def _records(raw: bytes, container: Container) -> list[Any]:
    if container.codec == b"null" and [count for count, _ in container.blocks] == [1]:
        # A survey's packet. fastavro.reader would parse the schema again, which takes as long as the record does.
        block = io.BytesIO(container.blocks[0][1])
        return [fastavro.schemaless_reader(block, parse_schema(container.schema), None)]
    return list(fastavro.reader(io.BytesIO(raw)))


def first_record(raw: bytes) -> tuple[bytes, int]:
    """A file of alerts as one message: a container with its first record only, and how many records there were.

    What is no container, or a broken one, is returned as it is and counts as one.
    """
    if not raw.startswith(CONTAINER_MAGIC):
        return raw, 1
    try:
        check_container(raw)
        reader = fastavro.reader(io.BytesIO(raw))
        schema, records = reader.writer_schema, list(reader)
    except Exception:  # noqa: BLE001  (as in decode_container; whoever decodes it will say what is wrong)
        return raw, 1
    if len(records) < 2:
        return raw, 1
    alone = io.BytesIO()
    fastavro.writer(alone, schema, records[:1])
    return alone.getvalue(), len(records)


def decode_schemaless(raw: bytes, schema: Any) -> Any:
    """Bare Avro with a schema known beforehand.

    :param schema: as returned by ``fastavro.parse_schema``.
    :raises DecodeError: the bytes do not fit the schema. fastavro reads garbage from a wrong one without complaint, but
        then it seldom ends at the last byte: bytes left over are an error too.
    """
    stream = io.BytesIO(raw)
    try:
        record = fastavro.schemaless_reader(stream, schema, None)
    except Exception as error:  # as in decode_container
        raise DecodeError(f"Avro does not fit its schema: {type(error).__name__}: {error}") from error
    if left := len(raw) - stream.tell():
        raise DecodeError(f"Avro does not fit its schema: {left} bytes are left over.")
    return record


def without_cutouts(content: Any) -> Any:
    """A record, or each record of a list, without its fields that are named ``cutout…``; anything else as it is.

    They are left out after they are read: a reader schema without them makes fastavro compare the two schemas at each
    record, which takes longer than to copy the images.
    """
    return [_rest(record) for record in content] if isinstance(content, list) else _rest(content)


def _rest(record: Any) -> Any:
    if not isinstance(record, dict):
        return record
    if not any(str(name).startswith(_CUTOUT) for name in record):
        return record
    return {name: value for name, value in record.items() if not str(name).startswith(_CUTOUT)}


class SchemaSource:
    """Avro schemas by the id in Confluent's framing, from a file, a folder or a registry; each is fetched once."""

    def __init__(self, location: str | Path) -> None:
        """
        :raises ConfigurationError: the file or folder does not exist.
        """
        self._url = str(location).rstrip("/") if re.match(r"https?://", str(location)) else None
        self._path = None if self._url else Path(location)
        if self._path is not None and not self._path.exists():
            raise ConfigurationError(
                f"SCHEMA {str(location)!r} does not exist.", hint="Name a file, a folder or a URL."
            )
        self.by_id = lru_cache(maxsize=256)(self._by_id)

    def _by_id(self, schema_id: int) -> Any:
        """The parsed schema.

        :raises DecodeError: it is not known here.
        :raises LookUpUnavailable: the registry does not answer.
        """
        if self._url:
            return self._fetch(schema_id)
        assert self._path is not None  # noqa: S101
        path = self._path if self._path.is_file() else self._path / f"{schema_id}.avsc"
        if not path.is_file():
            raise DecodeError(f"no schema with id {schema_id} in SCHEMA.", hint=f"Add the file {schema_id}.avsc to it.")
        return _parse_file(path)

    def _fetch(self, schema_id: int) -> Any:
        url = f"{self._url}/schemas/ids/{schema_id}"
        try:
            with urllib.request.urlopen(url, timeout=_REGISTRY_TIMEOUT_S) as answer:  # noqa: S310  (http or https only)
                schema = json.load(answer)["schema"]
            return parse_schema(schema)
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 404:
                    raise DecodeError(f"the schema registry does not know id {schema_id}.") from error
                raise LookUpUnavailable(f"the schema registry answered {error.code} for {url}.") from error
        except OSError as error:
            raise LookUpUnavailable(f"the schema registry {url} does not answer: {error}") from error
        except Exception as error:
            raise DecodeError(f"the schema registry's answer for id {schema_id} is no Avro schema: {error}") from error


def _decode_with_key(alert: Alert) -> Any:
    if not alert.key:
        raise DecodeError("the message has no key, and DECODER key-schema expects the Avro schema there.")
    return decode_schemaless(_present(alert.raw), _parse_key(alert.key))


def _parse_key(key: bytes) -> Any:
    try:
        return parse_schema(key)
    except Exception as error:  # as in decode_container
        raise DecodeError(f"the message key is no Avro schema: {type(error).__name__}: {error}") from error


@lru_cache(maxsize=64)
def parse_schema(schema: bytes | str) -> Any:
    """The schema that a message brings, as fastavro reads it, parsed once. Looked up by all of its text: two of one name
    are two.

    :param schema: JSON.
    :raises DecodeError: what is read with it would have no bound.
    """
    check_schema(schema)
    return fastavro.parse_schema(json.loads(schema, object_hook=_as_sent))


def _as_sent(part: dict[str, Any]) -> dict[str, Any]:
    """Without what fastavro notes in a schema that it has parsed: it believes such notes whoever wrote them."""
    return {name: value for name, value in part.items() if not name.startswith("__")}


def _parse_file(path: Path) -> Any:
    try:
        return fastavro.parse_schema(json.loads(path.read_text(encoding="utf-8")))
    except Exception as error:  # as in decode_container
        raise ConfigurationError(
            f"SCHEMA {path} is no Avro schema: {error}", hint="It is JSON, as in .avsc."
        ) from error


def _present(raw: bytes | None) -> bytes:
    if raw is None:
        raise DecodeError("a tombstone: the message has no value.")
    if not raw:
        raise DecodeError("the message is empty.")
    return raw
