"""Records on the wire, in each of the framings that ALeRCE has used."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any, Final, Literal

import fastavro

from alerce_stream.decoding import shipped_schemas

Framing = Literal["container", "schemaless", "confluent", "json"]

#: Of the containers; a random one would make other bytes each time.
_SYNC_MARKER: Final = b"simulated-ALeRCE"


def encode(record: Mapping[str, Any], schema: str, framing: Framing = "container", schema_id: int = 1) -> bytes:
    """A record on the wire.

    :param schema: one of ``alerce_stream/schemas``, without ``.avsc``.
    :param schema_id: for Confluent's framing.
    """
    if framing == "json":
        return json.dumps(record).encode()
    parsed, stream = shipped_schemas()[schema], io.BytesIO()
    if framing == "container":
        fastavro.writer(stream, parsed, [record], sync_marker=_SYNC_MARKER)
        return stream.getvalue()
    fastavro.schemaless_writer(stream, parsed, dict(record))
    head = b"\x00" + schema_id.to_bytes(4, "big") if framing == "confluent" else b""
    return head + stream.getvalue()
