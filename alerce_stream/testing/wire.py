"""Records on the wire, in each of the framings that ALeRCE has used."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, Literal

import fastavro

from alerce_stream.versions import shipped_versions

Framing = Literal["container", "schemaless", "confluent", "json"]

#: Of the containers; a random one would make other bytes each time.
_SYNC_MARKER: Final = b"simulated-ALeRCE"


@lru_cache(maxsize=1)
def schemas() -> Mapping[str, Any]:
    """The schemas that come with this app, parsed, by name."""
    return {name: version.schema for name, version in shipped_versions().items()}


def encode(record: Mapping[str, Any], schema: str, framing: Framing = "container", schema_id: int = 1) -> bytes:
    """A record on the wire.

    :param schema: one of ``alerce_stream/schemas``, without ``.avsc``.
    :param schema_id: for Confluent's framing.
    """
    if framing == "json":
        return json.dumps(record).encode()
    parsed, stream = schemas()[schema], io.BytesIO()
    if framing == "container":
        fastavro.writer(stream, parsed, [record], sync_marker=_SYNC_MARKER)
        return stream.getvalue()
    fastavro.schemaless_writer(stream, parsed, dict(record))
    head = b"\x00" + schema_id.to_bytes(4, "big") if framing == "confluent" else b""
    return head + stream.getvalue()
