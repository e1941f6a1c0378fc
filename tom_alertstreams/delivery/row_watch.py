"""Which rows a piece of code writes: watched while it runs inside a transaction that is going to be rolled back.

Django sends no signal for bulk writes and raw SQL, so every statement is looked at on its way to the database. What it
is about to change or delete is read beforehand by its own WHERE; of a table that gets new rows it is noted where the
ids end. At the end all of these are read again: what counts is the difference, not the statements.

Not seen: what triggers and cascades of the database itself write.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from django import db
from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper

Row = Mapping[str, Any]

#: Rows that are read for one statement, or of one table.
LIMIT = 1000

_NAME = r'(?:"([^"]+)"|`([^`]+)`|(\w+))'
_INSERT = re.compile(
    rf"\s*(?:INSERT(?:\s+OR\s+\w+)?|REPLACE)\s+INTO\s+{_NAME}\s*\(([^)]*)\)(.*)", re.IGNORECASE | re.DOTALL
)
_UPDATE = re.compile(rf"\s*UPDATE\s+{_NAME}\s+SET\s(.*)", re.IGNORECASE | re.DOTALL)
_DELETE = re.compile(rf"\s*DELETE\s+FROM\s+{_NAME}(?:\s(.*))?$", re.IGNORECASE | re.DOTALL)
#: The last line is for a WITH: it may have functions and locks of these names.
_WRITES = re.compile(
    r"(?:INSERT|REPLACE|UPDATE|DELETE|MERGE|TRUNCATE|COPY)\b"
    r"|WITH\b.*\b(?:(?:INSERT\b.*|REPLACE\s+|MERGE\s+)INTO|DELETE\s+FROM|UPDATE\b.*\bSET)\b",
    re.IGNORECASE | re.DOTALL,
)
_COMMENTS = re.compile(r"(?:\s+|--[^\n]*|/\*.*?\*/)*", re.DOTALL)
#: Texts and names in quotes, parentheses, words, placeholders: enough to find the WHERE of the statement itself.
_TOKEN = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|`[^`]*`|[()]|%%|%s|\bWHERE\b|\bRETURNING\b", re.IGNORECASE)


@dataclass(frozen=True)
class RowChange:
    """One row before and after; columns as the database gives them."""

    table: str
    before: Row | None
    after: Row | None

    @property
    def kind(self) -> Literal["inserted", "updated", "deleted"]:
        """What became of the row."""
        if self.before is None:
            return "inserted"
        return "deleted" if self.after is None else "updated"


@dataclass
class _Table:
    name: str
    #: The only column of the primary key.
    key: str
    #: Keys of rows to look at again at the end, by their text: a parameter may be of another type than what is read.
    keys: dict[str, Any] = field(default_factory=dict)
    #: Those of them that were there before, as they were.
    before: dict[str, Row] = field(default_factory=dict)
    #: Rows were added whose ids the database has drawn; the largest id before that, None where there was no row.
    grows: bool = False
    top: int | None = None

    def is_new(self, key: Any) -> bool:
        """The row with this id was added since."""
        return self.grows and isinstance(key, int) and (self.top is None or key > self.top)


class RowWatch:
    """Watches one connection. Takes ids that the database draws to grow, as they do unless somebody resets them."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self._connection = connection
        self._tables: dict[str, _Table] = {}
        self._reading = False
        #: What could not be followed, in words.
        self.missed: list[str] = []

    def watching(self) -> AbstractContextManager[None]:
        """While this is entered, statements are looked at."""
        return self._connection.execute_wrapper(self._execute)

    def changes(self) -> list[RowChange]:
        """What is different now; the transaction is still open."""
        found: list[RowChange] = []
        for table in self._tables.values():
            with self._aside(f"the rows of {table.name}"):
                found += self._changes_of(table)
        return found

    def _changes_of(self, table: _Table) -> Iterator[RowChange]:
        now = self._by_key(table, table.keys)
        if table.grows and table.top is None:
            now |= self._select(table, "", [])
        elif table.grows:
            now |= self._select(table, f"WHERE {self._quote(table.key)} > %s", [table.top])
        for key in dict.fromkeys((*table.keys, *now)):
            before, after = table.before.get(key), now.get(key)
            if before != after:
                yield RowChange(table.name, before, after)

    # --- before a statement ----------------------------------------------------------------------------------------

    def _execute(self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
        if not self._reading and not self._connection.needs_rollback and isinstance(sql, str):
            bare = _COMMENTS.sub("", sql, count=1)
            if _WRITES.match(bare):
                with self._aside(f"the rows of: {bare[:80]}"):
                    for one in params if many else [params]:
                        self._before(bare, one)
        return execute(sql, params, many, context)

    @contextmanager
    def _aside(self, what: str) -> Iterator[None]:
        """For reading without disturbing: in a savepoint, and what fails is only noted."""
        self._reading = True
        try:
            with transaction.atomic(using=self._connection.alias):
                yield
        except (db.Error, LookupError, TypeError, ValueError) as error:
            self._miss(f"{what} ({type(error).__name__})")
        finally:
            self._reading = False

    def _before(self, sql: str, params: Any) -> None:
        if isinstance(params, Mapping):
            raise TypeError("named parameters")
        if match := _INSERT.match(sql):
            self._before_insert(self._table(match), match[4], match[5], list(params or ()))
        elif match := _UPDATE.match(sql):
            self._remember(self._table(match), *_condition(match[4], params))
        elif match := _DELETE.match(sql):
            self._remember(self._table(match), *_condition(match[4] or "", params))
        else:
            raise ValueError("a statement of another form")

    def _before_insert(self, table: _Table, columns: str, rest: str, params: Sequence[Any]) -> None:
        names = [name.strip().strip('"`') for name in columns.split(",")]
        if table.key in names:
            given = {str(key): key for key in _values(names.index(table.key), len(names), rest, params)}
            unknown = {text: key for text, key in given.items() if text not in table.keys}
            table.before |= self._by_key(table, unknown)
            table.keys |= unknown
        elif not table.grows:
            top = self._scalar(f"SELECT max({self._quote(table.key)}) FROM {self._quote(table.name)}")  # noqa: S608
            if not (top is None or isinstance(top, int)):
                raise TypeError("the database draws keys that are no numbers")
            table.grows, table.top = True, top
        if re.search(r"\bDO\s+UPDATE\b|\bON\s+DUPLICATE\b", rest, re.IGNORECASE):
            self._miss(f"rows of {table.name} that were there and that an upsert changes")

    def _remember(self, table: _Table, condition: str, params: Sequence[Any] | None) -> None:
        for text, row in self._select(table, condition, params).items():
            if text not in table.keys and not table.is_new(row[table.key]):
                table.keys[text], table.before[text] = row[table.key], row

    # --- reading ---------------------------------------------------------------------------------------------------

    def _table(self, match: re.Match[str]) -> _Table:
        name = match[1] or match[2] or match[3]
        if name not in self._tables:
            with self._connection.cursor() as cursor:
                columns = self._connection.introspection.get_primary_key_columns(cursor, name) or []
            if len(columns) != 1:
                raise LookupError("no primary key of one column")
            self._tables[name] = _Table(name, columns[0])
        return self._tables[name]

    def _by_key(self, table: _Table, keys: Mapping[str, Any]) -> dict[str, Row]:
        if not keys:
            return {}
        places = ", ".join(["%s"] * len(keys))
        return self._select(table, f"WHERE {self._quote(table.key)} IN ({places})", list(keys.values()))

    def _select(self, table: _Table, condition: str, params: Sequence[Any] | None) -> dict[str, Row]:
        with self._connection.cursor() as cursor:
            cursor.execute(f"SELECT * FROM {self._quote(table.name)} {condition}", params)  # noqa: S608
            names = [column[0] for column in cursor.description]
            rows = [dict(zip(names, map(_plain, row), strict=True)) for row in cursor.fetchmany(LIMIT + 1)]
        if len(rows) > LIMIT:
            self._miss(f"more than {LIMIT:,} rows of {table.name}")
        return {str(row[table.key]): row for row in rows[:LIMIT]}

    def _scalar(self, sql: str) -> Any:
        with self._connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchone()[0]

    def _quote(self, name: str) -> str:
        return self._connection.ops.quote_name(name)

    def _miss(self, what: str) -> None:
        if what not in self.missed:
            self.missed.append(what)


def _plain(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value


def _values(column: int, columns: int, rest: str, params: Sequence[Any]) -> Sequence[Any]:
    """The parameters of one column of an INSERT, in the forms that Django writes."""
    if "UNNEST(" in rest and len(params) == columns:
        return list(params[column])
    if len(params) % columns or rest.count("%s") != len(params):
        raise ValueError("an INSERT of another form")
    return params[column::columns]


def _condition(text: str, params: Sequence[Any] | None) -> tuple[str, Sequence[Any] | None]:
    """The WHERE of a statement from behind its SET, or all of a DELETE behind its table, and its parameters."""
    depth, used, begin, end = 0, 0, len(text), len(text)
    for token in _TOKEN.finditer(text):
        word = token[0].upper()
        depth += (word == "(") - (word == ")")
        if word == "%S" and begin == len(text):
            used += 1
        elif word == "WHERE" and depth == 0 and begin == len(text):
            begin = token.start()
        elif word == "RETURNING" and depth == 0:
            end = token.start()
    return text[begin:end].rstrip(" ;"), None if params is None else list(params)[used:]
