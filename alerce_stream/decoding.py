"""ALeRCE's wire formats. One stream carries several, so each message is looked at.

Production has sent Avro containers, which bring their schema, and bare Avro ("schemaless"), which does not: fastavro
reads garbage from the wrong schema without complaint. So every schema that fits must use up all the bytes and give ids
and probabilities that can be true.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import fastavro

from tom_alertstreams.alerts import Alert
from tom_alertstreams.decoders import (
    CONFLUENT_MAGIC,
    CONTAINER_MAGIC,
    SchemaSource,
    decode_auto,
    decode_container,
    decode_json,
    decode_schemaless,
)
from tom_alertstreams.exceptions import ConfigurationError, DecodeError

from .messages import is_plausible
from .topics import classifier_of

#: The schemas that come with this app, one file for each layout of bytes that ALeRCE has published.
SCHEMAS: Final = Path(__file__).with_name("schemas")


class AlerceDecoder:
    """Decodes the messages of one stream.

    :param schema: SCHEMA of the stream: an .avsc file or a folder of them, tried before those that are shipped, or the
        URL of a schema registry.
    :raises ConfigurationError: SCHEMA cannot be read.
    """

    def __init__(self, schema: str | Path | None = None) -> None:
        self._registry = SchemaSource(schema) if schema is not None else None
        self._schemas: dict[str, Any] = {**_configured(schema), **shipped_schemas()}
        #: Classifier → name of the schema that fitted its last message.
        self._last: dict[str, str] = {}

    def __call__(self, alert: Alert) -> Any:
        """
        :raises DecodeError: the bytes are nothing that ALeRCE is known to send.
        :raises LookUpUnavailable: the schema registry does not answer.
        """
        raw = alert.raw
        if not raw:
            return decode_auto(raw)  # says which: a tombstone, or empty
        if raw.startswith(CONTAINER_MAGIC):
            return decode_container(raw)
        if raw.lstrip()[:1] in (b"{", b"["):
            return decode_json(raw)
        if raw.startswith(CONFLUENT_MAGIC) and self._registry is not None:
            try:
                return self._confluent(raw, self._registry)
            except DecodeError:
                pass  # bare Avro may begin with a zero too: a Rubin object without diaObjectId does
        return self._schemaless(raw, classifier_of(alert.topic))

    @staticmethod
    def _confluent(raw: bytes, registry: SchemaSource) -> Any:
        record = decode_schemaless(raw[5:], registry.by_id(int.from_bytes(raw[1:5], "big")))
        if not is_plausible(record):
            raise DecodeError
        return record

    def _schemaless(self, raw: bytes, classifier: str) -> Any:
        last = self._last.get(classifier)
        names = [name for name in self._schemas if name != last]
        for name in names if last is None else [last, *names]:
            try:
                record = decode_schemaless(raw, self._schemas[name])
            except DecodeError:
                continue
            if is_plausible(record):
                self._last[classifier] = name
                return record
        raise DecodeError(
            f"{len(raw)} bytes (they begin with {raw[:8].hex(' ')}) that are neither an Avro container nor JSON, and as "
            f"bare Avro fit none of the schemas {', '.join(self._schemas)}.",
            hint="ALeRCE may have changed its schema: name the new one in SCHEMA of the stream's OPTIONS"
            + (", or its schema registry." if raw.startswith(CONFLUENT_MAGIC) and self._registry is None else "."),
        )


@lru_cache(maxsize=1)
def shipped_schemas() -> dict[str, Any]:
    """The schemas that come with this app, parsed, newest layouts first."""
    return {path.stem: _parse(path) for path in sorted(SCHEMAS.glob("*.avsc"), key=_by_age)}


def _by_age(path: Path) -> tuple[int, str]:
    """Newest year first; those without one last. Only an order of trying: two layouts do not fit the same bytes."""
    year = re.search(r"_(20[0-9]{2})", path.stem)
    return (-int(year[1]) if year else 0, path.stem)


def _configured(schema: str | Path | None) -> dict[str, Any]:
    if schema is None or re.match(r"https?://", str(schema)):
        return {}
    path = Path(schema)
    files = [path] if path.is_file() else sorted(path.glob("*.avsc"))
    return {str(file): _parse(file) for file in files}


def _parse(path: Path) -> Any:
    try:
        return fastavro.parse_schema(json.loads(path.read_text(encoding="utf-8")))
    except Exception as error:
        # fastavro lets through whatever the schema made it meet: KeyError, TypeError, its own errors …
        raise ConfigurationError(
            f"SCHEMA {path} is no Avro schema: {error}", hint="It is JSON, as in .avsc."
        ) from error
