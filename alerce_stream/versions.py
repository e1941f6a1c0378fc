"""The versions of ALeRCE's schemas: those that come with this app, those of settings, and those that containers bring.

A version is known by its fingerprint, which is the same however its JSON is written. Bare Avro ("schemaless") names no
version, so whatever a container of the same classifier has brought is kept in mind for it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import fastavro
from fastavro.schema import fingerprint, load_schema, to_parsing_canonical_form

from tom_alertstreams.decoders import parse_schema
from tom_alertstreams.exceptions import ConfigurationError
from tom_alertstreams.logs import get_logger

logger = get_logger(__name__)

#: The schemas that come with this app, one file for each version that ALeRCE has published.
SCHEMAS: Final = Path(__file__).with_name("schemas")
#: Files there that are no version, but a part that several of them name.
_PARTS: Final = frozenset({"features_record"})
#: Versions that one stream keeps in mind: a producer gone wrong might send a new one with each message.
_MOST_LEARNT: Final = 64
#: Names of fields that are told, and characters of each.
_FIELDS_TOLD, _LONGEST_NAME = 12, 64
#: How surveys name the record of a raw packet (``lsst.v10_0.alert``, ``ztf.alert``), which is no business of ALeRCE's.
_PACKET: Final = "alert"


@dataclass(frozen=True)
class SchemaVersion:
    """One layout of bytes, and the names of what is in it."""

    #: A file of :data:`SCHEMAS` without .avsc, the path of a file of settings, or else the name of the record.
    name: str
    #: CRC-64-AVRO of the schema's Parsing Canonical Form (Avro specification 1.11), in hex.
    fingerprint: str
    #: As returned by ``fastavro.parse_schema``.
    schema: Any = field(repr=False, compare=False)

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of the record, in order."""
        given = self.schema.get("fields", ()) if isinstance(self.schema, dict) else ()
        return tuple(str(item["name"]) for item in given)

    @property
    def is_packet(self) -> bool:
        """The alert of a survey, as it came to ALeRCE."""
        return self.name.rpartition(".")[2] == _PACKET


class KnownVersions:
    """What one stream knows of schemas.

    :param schema: SCHEMA of the stream. Its versions are tried before those that come with this app.
    :raises ConfigurationError: a file of SCHEMA is no Avro schema.
    """

    def __init__(self, schema: str | Path | None = None) -> None:
        #: Fingerprint → version.
        self._versions: dict[str, SchemaVersion] = {}
        for version in (*_configured(schema), *shipped_versions().values()):
            self._versions.setdefault(version.fingerprint, version)
        #: Classifier → fingerprints of what its containers have brought that was not known.
        self._learnt: dict[str, dict[str, SchemaVersion]] = {}
        #: Classifier → the version that fitted its last bare message.
        self._last: dict[str, SchemaVersion] = {}
        self.recognise = lru_cache(maxsize=256)(self._recognise)

    def _recognise(self, classifier: str, schema: bytes) -> SchemaVersion:
        """The version that a message brings with it. One that is not known is told once, and kept in mind.

        :param schema: JSON, which fastavro has read already.
        """
        return self.look_at(classifier, parse_schema(schema))

    def look_at(self, classifier: str, schema: Any) -> SchemaVersion:
        """The version of a parsed schema. One that is not known is told once, and kept in mind."""
        mark = fingerprint_of(schema)
        learnt = self._learnt.setdefault(classifier, {})
        known = self._versions.get(mark) or learnt.get(mark)
        if known is not None:
            return known
        version = SchemaVersion(_record_name(schema), mark, schema)
        if sum(map(len, self._learnt.values())) < _MOST_LEARNT:
            told = any(mark in others for others in self._learnt.values())
            learnt[mark] = version
            if not told and not version.is_packet:
                _tell(classifier, version)
        return version

    def last(self, classifier: str) -> SchemaVersion | None:
        """What fitted the last bare message of a classifier."""
        return self._last.get(classifier)

    def fits(self, classifier: str, version: SchemaVersion) -> None:
        """Note what fitted a bare message: the next one is most likely of the same version."""
        self._last[classifier] = version

    def for_bare(self, classifier: str) -> Iterator[SchemaVersion]:
        """Every version that a bare message of a classifier may have, the likeliest first."""
        last = self._last.get(classifier)
        if last is not None:
            yield last
        for version in (*self._learnt.get(classifier, {}).values(), *self._versions.values()):
            if version is not last:
                yield version


@lru_cache(maxsize=1)
def shipped_versions() -> dict[str, SchemaVersion]:
    """The versions that come with this app, by name, newest first."""
    paths = sorted((path for path in SCHEMAS.glob("*.avsc") if path.stem not in _PARTS), key=_by_age)
    return {path.stem: _version(path.stem, load_schema(path)) for path in paths}


def fingerprint_of(schema: Any) -> str:
    """What tells a version from all others.

    :param schema: as returned by ``fastavro.parse_schema``.
    """
    return str(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"))


def _by_age(path: Path) -> tuple[int, str]:
    """Newest year first; those without one last. Only an order of trying: see ``is_plausible``."""
    year = re.search(r"_(20[0-9]{2})", path.stem)
    return (-int(year[1]) if year else 0, path.stem)


def _configured(schema: str | Path | None) -> list[SchemaVersion]:
    if schema is None or re.match(r"https?://", str(schema)):
        return []
    path = Path(schema)
    return [_read(file) for file in ([path] if path.is_file() else sorted(path.glob("*.avsc")))]


def _read(path: Path) -> SchemaVersion:
    try:
        return _version(str(path), fastavro.parse_schema(json.loads(path.read_text(encoding="utf-8"))))
    except Exception as error:
        # fastavro lets through whatever the schema made it meet: KeyError, TypeError, its own errors …
        raise ConfigurationError(
            f"SCHEMA {path} is no Avro schema: {error}", hint="It is JSON, as in .avsc."
        ) from error


def _version(name: str, schema: Any) -> SchemaVersion:
    return SchemaVersion(name, fingerprint_of(schema), schema)


def _record_name(schema: Any) -> str:
    name = schema.get("name") if isinstance(schema, dict) else None
    return str(name or "a schema without a name")[:_LONGEST_NAME]


def _tell(classifier: str, version: SchemaVersion) -> None:
    names = [name[:_LONGEST_NAME] for name in version.fields]
    more = f" and {len(names) - _FIELDS_TOLD} more" if len(names) > _FIELDS_TOLD else ""
    logger.warning(
        "%s: a schema that is not known yet: %s, fingerprint %s, with %s%s. Its messages are read by the names of their "
        "fields. Look at what `manage.py tryalert` makes of one, and ask for a newer alerce_stream. If ALeRCE sends it "
        "as bare Avro too, put its .avsc file into SCHEMA: until then that can be read only after such a message.",
        classifier,
        version.name,
        version.fingerprint,
        ", ".join(names[:_FIELDS_TOLD]) or "no fields",
        more,
    )
