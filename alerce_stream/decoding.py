"""ALeRCE's wire formats. One stream carries several, so each message is looked at.

Production has sent Avro containers, which bring their schema, and bare Avro ("schemaless"), which does not: fastavro
reads garbage from the wrong schema without complaint. So every schema that fits must use up all the bytes and give ids
and probabilities that can be true.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from tom_alertstreams.alerts import Alert
from tom_alertstreams.decoders import (
    CONFLUENT_MAGIC,
    CONTAINER_MAGIC,
    SchemaSource,
    decode_auto,
    decode_json,
    decode_schemaless,
    read_container,
)
from tom_alertstreams.exceptions import DecodeError

from .messages import is_plausible
from .topics import classifier_of
from .versions import KnownVersions, SchemaVersion, shipped_versions


class AlerceDecoder:
    """Decodes the messages of one stream.

    :param schema: SCHEMA of the stream: an .avsc file or a folder of them, tried before those that are shipped, or the
        URL of a schema registry.
    :raises ConfigurationError: SCHEMA cannot be read.
    """

    def __init__(self, schema: str | Path | None = None) -> None:
        self._registry = SchemaSource(schema) if schema is not None else None
        self._versions = KnownVersions(schema)
        #: Classifier and id of each schema of the registry that has been looked at.
        self._registered: set[tuple[str, int]] = set()

    def __call__(self, alert: Alert) -> Any:
        """
        :raises DecodeError: the bytes are nothing that ALeRCE is known to send.
        :raises LookUpUnavailable: the schema registry does not answer.
        """
        raw = alert.raw
        if not raw:
            return decode_auto(raw)  # says which: a tombstone, or empty
        if raw.startswith(CONTAINER_MAGIC):
            record, schema = read_container(raw)
            self._versions.recognise(classifier_of(alert.topic), schema)
            return record
        if raw.lstrip()[:1] in (b"{", b"["):
            return decode_json(raw)
        return self._without_schema(raw, classifier_of(alert.topic))

    def _without_schema(self, raw: bytes, classifier: str) -> Any:
        """Confluent's framing, where there is a registry, or bare Avro; both may begin with a zero.

        A bare message of Rubin does where it has no diaObjectId. No registry is asked for an id made of such bytes once
        bare messages have been seen.
        """
        last = self._versions.last(classifier)
        if last is not None and (record := _fitting(raw, last)) is not None:
            return record
        if raw.startswith(CONFLUENT_MAGIC) and self._registry is not None:
            try:
                return self._confluent(raw, classifier, self._registry)
            except DecodeError:
                pass
        for version in self._versions.for_bare(classifier):
            if version is not last and (record := _fitting(raw, version)) is not None:
                self._versions.fits(classifier, version)
                return record
        raise self._nothing_fits(raw, classifier)

    def _confluent(self, raw: bytes, classifier: str, registry: SchemaSource) -> Any:
        schema_id = int.from_bytes(raw[1:5], "big")
        schema = registry.by_id(schema_id)
        record = decode_schemaless(raw[5:], schema)
        if not is_plausible(record):
            raise DecodeError
        if (classifier, schema_id) not in self._registered:
            self._registered.add((classifier, schema_id))
            self._versions.look_at(classifier, schema)
        return record

    def _nothing_fits(self, raw: bytes, classifier: str) -> DecodeError:
        tried = ", ".join(version.name for version in self._versions.for_bare(classifier))
        return DecodeError(
            f"{len(raw)} bytes (they begin with {raw[:8].hex(' ')}) that are neither an Avro container nor JSON, and as "
            f"bare Avro fit none of the schemas {tried}.",
            hint="ALeRCE may have changed its schema: name the new one in SCHEMA of the stream's OPTIONS"
            + (", or its schema registry." if raw.startswith(CONFLUENT_MAGIC) and self._registry is None else "."),
        )


@lru_cache(maxsize=1)
def shipped_schemas() -> dict[str, Any]:
    """The schemas that come with this app, parsed, by name, newest first: for whoever writes such messages."""
    return {name: version.schema for name, version in shipped_versions().items()}


def _fitting(raw: bytes, version: SchemaVersion) -> Any | None:
    """The record, where the bytes fit a version to the last one and say what can be true."""
    try:
        record = decode_schemaless(raw, version.schema)
    except DecodeError:
        return None
    return record if is_plausible(record) else None
