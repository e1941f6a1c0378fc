"""What the Avro of a message may ask for, looked at before fastavro does what it says.

A container brings its own schema, and fastavro, which is written in C, follows it wherever it leads: a record that
contains itself overflows the stack and ends the process; items that take no bytes are made in any number out of nothing.
Such a message would end every process that is started again, so it has to be refused beforehand.
"""

from __future__ import annotations

import bz2
import json
import lzma
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from .exceptions import DecodeError

_MAGIC_BYTES, _SYNC_BYTES = 4, 16
#: Of one message.
_MOST_RECORDS: Final = 10_000
_LARGEST_BYTES: Final = 256 * 1024 * 1024
#: Levels of a schema; those of surveys have less than ten.
_DEEPEST: Final = 100
#: Fields of an item that take no bytes: each item of a byte would bring all of them along.
_MOST_EMPTY_FIELDS: Final = 16
_INFLATERS: Final[Mapping[bytes, Callable[[], Any]]] = {
    b"deflate": lambda: zlib.decompressobj(-15),
    b"bzip2": bz2.BZ2Decompressor,
    b"xz": lzma.LZMADecompressor,
}
_PRIMITIVES: Final = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})


@dataclass(frozen=True)
class Container:
    """The parts of an Avro object container, not yet decoded."""

    #: JSON.
    schema: bytes
    codec: bytes
    #: Number of records, and their bytes, compressed with the codec.
    blocks: list[tuple[int, bytes]]


def check_container(raw: bytes) -> Container:
    """An Avro object container may be read.

    :returns: its parts.
    :raises DecodeError: it is cut, or what it holds has no bound that its bytes set.
    """
    reader = _Reader(raw, _MAGIC_BYTES)
    header = _header(reader)
    schema = header.get(b"avro.schema", b"")
    check_schema(schema)
    sync, codec = reader.take(_SYNC_BYTES), header.get(b"avro.codec", b"null")
    blocks: list[tuple[int, bytes]] = []
    records = inflated = 0
    while (count := reader.long_or_end()) is not None:
        records += max(0, count)
        if records > _MOST_RECORDS:
            raise DecodeError(f"an Avro container of more than {_MOST_RECORDS:,} records.")
        block = reader.take(reader.long())
        if codec in _INFLATERS:
            inflated += _inflated_size(block, _INFLATERS[codec](), _LARGEST_BYTES - inflated)
            if inflated > _LARGEST_BYTES:
                raise DecodeError(f"an Avro container of more than {_LARGEST_BYTES:,} bytes when decompressed.")
        if reader.take(_SYNC_BYTES) != sync:
            raise DecodeError("broken Avro container: its blocks do not fit together.")
        blocks.append((count, block))
    return Container(schema, codec, blocks)


@lru_cache(maxsize=32)
def check_schema(schema: bytes | str) -> None:
    """Whatever bytes are read with this schema, their number bounds what comes out.

    :param schema: JSON.
    :raises DecodeError: they do not, or it is no JSON.
    """
    try:
        parsed = json.loads(schema)
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"the Avro schema of the message is no JSON: {error}") from error
    _Walk().type_of(parsed, "", 0)


class _Reader:
    """Reads Avro's integers and bytes."""

    def __init__(self, raw: bytes, at: int) -> None:
        self._raw = raw
        self._at = at

    def take(self, size: int) -> bytes:
        """The next bytes. :raises DecodeError: there are not so many."""
        end = self._at + size
        if size < 0 or end > len(self._raw):
            raise DecodeError("broken Avro container: cut short.")
        taken = self._raw[self._at : end]
        self._at = end
        return taken

    def long(self) -> int:
        """The next integer, of 64 bits as fastavro reads it. :raises DecodeError: there is none."""
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
            if shift > 63:
                raise DecodeError("broken Avro container: an integer of more than 64 bits.")
        value &= 2**64 - 1
        return (value >> 1) ^ -(value & 1)

    def long_or_end(self) -> int | None:
        """As :meth:`long`; None where the bytes end."""
        return self.long() if self._at < len(self._raw) else None


def _header(reader: _Reader) -> dict[bytes, bytes]:
    header: dict[bytes, bytes] = {}
    while count := reader.long():
        if count < 0:  # then the size of the block follows, for those who skip it
            count = -count
            reader.long()
        for _ in range(count):
            key = reader.take(reader.long())
            header[key] = reader.take(reader.long())
    return header


def _inflated_size(block: bytes, inflater: Any, limit: int) -> int:
    try:
        return len(inflater.decompress(block, limit + 1))
    except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError):
        return 0  # fastavro will say what is wrong with it


class _Walk:
    """Goes through one schema. A type is told as: does each value take a byte, and how many fields take none."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[bool, int]] = {}
        self._open: set[str] = set()

    def type_of(self, schema: Any, namespace: str, depth: int) -> tuple[bool, int]:
        """:raises DecodeError: what is read with it has no bound."""
        if depth > _DEEPEST:
            raise DecodeError(f"the Avro schema of the message is more than {_DEEPEST} levels deep.")
        if isinstance(schema, str):
            return self._named(schema, namespace)
        if isinstance(schema, list):  # a union, whose choice takes a byte
            empty = [self.type_of(branch, namespace, depth + 1)[1] for branch in schema if branch != "null"]
            return True, max(empty, default=0)
        if not isinstance(schema, dict):
            raise DecodeError("the Avro schema of the message is none.")
        kind = schema.get("type")
        if kind in ("array", "map"):
            return self._repeated(kind, schema.get("items" if kind == "array" else "values"), namespace, depth)
        if kind in ("record", "error"):
            return self._record(schema, namespace, depth)
        if kind in ("enum", "fixed"):
            size = schema.get("size")
            takes_bytes = kind == "enum" or (isinstance(size, int) and size > 0)
            self._known[self._full_name(schema, namespace)] = told = takes_bytes, int(not takes_bytes)
            return told
        return self.type_of(kind, namespace, depth + 1)

    def _repeated(self, kind: str, item: Any, namespace: str, depth: int) -> tuple[bool, int]:
        takes_bytes, empty_fields = self.type_of(item, namespace, depth + 1)
        # Each value of a map has a key, which takes bytes.
        if (kind == "array" and not takes_bytes) or empty_fields > _MOST_EMPTY_FIELDS:
            raise DecodeError("the Avro schema of the message makes any number of values out of nothing.")
        return True, 0

    def _record(self, schema: dict[str, Any], namespace: str, depth: int) -> tuple[bool, int]:
        name = self._full_name(schema, namespace)
        self._open.add(name)
        fields = schema.get("fields")
        inner = name.rpartition(".")[0]
        found = [
            self.type_of(field.get("type"), inner, depth + 1)
            for field in (fields if isinstance(fields, list) else [])
            if isinstance(field, dict)
        ]
        self._open.discard(name)
        self._known[name] = any(takes for takes, _ in found), sum(empty for _, empty in found)
        return self._known[name]

    def _named(self, name: str, namespace: str) -> tuple[bool, int]:
        if name in _PRIMITIVES:
            return (False, 1) if name == "null" else (True, 0)
        full = f"{namespace}.{name}" if namespace and "." not in name else name
        if {full, name} & self._open:
            raise DecodeError(f"in the Avro schema of the message {name[:100]} contains itself.")
        if full not in self._known:  # fastavro would look for it in "__named_schemas", where a message may put anything
            raise DecodeError(f"the Avro schema of the message has no type {name[:100]}.")
        return self._known[full]

    @staticmethod
    def _full_name(schema: dict[str, Any], namespace: str) -> str:
        name, own = str(schema.get("name", "")), schema.get("namespace")
        if "." in name:
            return name
        space = own if isinstance(own, str) else namespace
        return f"{space}.{name}" if space else name
