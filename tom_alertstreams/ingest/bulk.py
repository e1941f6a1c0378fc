"""Many rows at once: statements that take whole columns on PostgreSQL, row by row elsewhere. Both write the same rows.

A statement is one text for any number of rows, so neither Django nor the server builds it anew for each batch, and no
instance of a model is made for a row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connection, models, transaction
from django.db.models import F
from django.db.models.lookups import Lookup
from django.utils import timezone


class AnyOf(Lookup[Any]):
    """``queryset.filter(any_of("name", names))``: one parameter, however many values."""

    lookup_name = "any_of"
    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        """SQLite."""
        if not self.rhs:
            raise EmptyResultSet
        lhs, params = self.process_lhs(compiler, connection)
        return f"{lhs} IN (SELECT value FROM json_each(%s))", [*params, json.dumps(self.rhs)]  # noqa: S608

    def as_postgresql(self, compiler: Any, connection: Any) -> Any:
        if not self.rhs:
            raise EmptyResultSet
        lhs, params = self.process_lhs(compiler, connection)
        # One text: to quote each value of a list for itself takes longer than to look it up.
        numbers = all(type(value) is int for value in self.rhs)
        return f"{lhs} = ANY(%s::{'bigint' if numbers else 'text'}[])", [*params, _array(self.rhs)]


def _array(values: Sequence[str | int]) -> str:
    """PostgreSQL's text of an array."""
    quoted = (
        str(value) if type(value) is int else '"' + str(value).replace("\\", r"\\").replace('"', r"\"") + '"'
        for value in values
    )
    return "{" + ",".join(quoted) + "}"


def any_of(field: str, values: Sequence[Any]) -> AnyOf:
    """A condition: the field has one of these values (texts or whole numbers)."""
    return AnyOf(F(field), list(values))


def on_postgresql() -> bool:
    """Whether rows are written by statements that take columns."""
    return connection.vendor == "postgresql"


def insert(
    model: type[models.Model], columns: Mapping[str, Sequence[Any]], returning: Sequence[str] = ()
) -> list[tuple[Any, ...]]:
    """Insert rows; those that a constraint of the table forbids are left out.

    :param columns: name of a field (its attribute: ``target_id``) → its value in each row. All other fields get their
        defaults.
    :param returning: on PostgreSQL, what to tell of each row that was really inserted; elsewhere nothing is told.
    """
    if not columns or not len(next(iter(columns.values()))):
        return []
    if on_postgresql():
        return _insert_columns(model, columns, returning)
    _insert_rows(model, columns)
    return []


def _insert_rows(model: type[models.Model], columns: Mapping[str, Sequence[Any]]) -> None:
    quote = connection.ops.quote_name
    fields = {field.attname: field for field in model._meta.local_concrete_fields}
    others = [name for name, field in fields.items() if name not in columns and not field.primary_key]
    into = ", ".join(quote(str(fields[name].column)) for name in (*columns, *others))
    marks = ", ".join(["%s"] * (len(columns) + len(others)))
    sql = f"INSERT INTO {quote(model._meta.db_table)} ({into}) VALUES ({marks}) ON CONFLICT DO NOTHING"  # noqa: S608
    rest = tuple(_default(model, name) for name in others)
    sent = [list(map(_as_sent(fields[name]), values)) for name, values in columns.items()]
    with connection.cursor() as cursor:
        cursor.executemany(sql, [row + rest for row in zip(*sent, strict=True)])


def _as_sent(field: models.Field[Any, Any]) -> Callable[[Any], Any]:
    """How a driver wants a value of this field."""
    if isinstance(field, models.JSONField):
        return _json
    if isinstance(field, models.DateTimeField):
        return connection.ops.adapt_datetimefield_value
    return _as_it_is


def _json(value: Any) -> str:
    return json.dumps(value) if value else "{}"


def _as_it_is(value: Any) -> Any:
    return value


def _insert_columns(
    model: type[models.Model], columns: Mapping[str, Sequence[Any]], returning: Sequence[str]
) -> list[tuple[Any, ...]]:
    as_json = {field.attname for field in model._meta.local_concrete_fields if isinstance(field, models.JSONField)}
    arrays: dict[str, list[Any]] = {}
    scalars: dict[str, Any] = {}
    for name, column in columns.items():
        values = list(map(_json, column) if name in as_json else column)
        # Half of the columns of a batch have one value throughout: it is sent once.
        if len(values) > 1 and values.count(values[0]) == len(values):
            scalars[name] = values[0]
        else:
            arrays[name] = values
    if not arrays:  # one array says how many rows there are
        name, value = scalars.popitem()
        arrays[name] = [value] * len(columns[name])
    statement = _statement(model, tuple(arrays), tuple(scalars), tuple(returning))
    defaults = [_default(model, name) for name in statement.others]
    return run(statement.sql, [*scalars.values(), *defaults, *arrays.values()])


@dataclass(frozen=True)
class _Statement:
    """``INSERT … SELECT … FROM UNNEST(…)``; its parameters: scalars, defaults of the other fields, arrays."""

    sql: str
    others: tuple[str, ...]


@lru_cache(maxsize=256)
def _statement(
    model: type[models.Model], arrays: tuple[str, ...], scalars: tuple[str, ...], returning: tuple[str, ...]
) -> _Statement:
    quote = connection.ops.quote_name
    fields = {field.attname: field for field in model._meta.local_concrete_fields}
    given = (*scalars, *arrays)
    others = tuple(name for name, field in fields.items() if name not in given and not field.primary_key)
    as_json = {name for name in given if isinstance(fields[name], models.JSONField)}
    names = {name: f"c{number}" for number, name in enumerate(arrays)}
    selected = [f"%s::{_base_type(fields[name])}" for name in (*scalars, *others)]
    selected += [f"{names[name]}::jsonb" if name in as_json else names[name] for name in arrays]
    sent = ", ".join(f"%s::{'text' if name in as_json else _base_type(fields[name])}[]" for name in arrays)
    into = ", ".join(quote(str(fields[name].column)) for name in (*scalars, *others, *arrays))
    told = ", ".join(quote(str(fields[name].column)) for name in returning)
    sql = (
        f"INSERT INTO {quote(model._meta.db_table)} ({into}) "  # noqa: S608  (names of fields, no values)
        f"SELECT {', '.join(selected)} FROM UNNEST({sent}) AS t({', '.join(names.values())}) ON CONFLICT DO NOTHING"
    )
    return _Statement(sql + (f" RETURNING {told}" if told else ""), others)


def _base_type(field: models.Field[Any, Any]) -> str:
    """The type of a field's column without its length."""
    return str(field.db_type(connection)).partition("(")[0]


def _default(model: type[models.Model], name: str) -> Any:
    field = next(field for field in model._meta.local_concrete_fields if field.attname == name)
    if getattr(field, "auto_now", False) or getattr(field, "auto_now_add", False):
        return connection.ops.adapt_datetimefield_value(timezone.now())
    return field.get_db_prep_save(field.get_default(), connection)


def look_up(sql: str, columns: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Rows of a statement that finds a few rows for each of many values; on PostgreSQL, inside a transaction."""
    _do_not_compile()
    return run(sql, columns)


@contextmanager
def uncompiled() -> Iterator[None]:
    """A transaction for such statements, made by Django."""
    with transaction.atomic():
        if on_postgresql():
            _do_not_compile()
        yield


def _do_not_compile() -> None:
    """PostgreSQL overrates what such statements cost, and would compile each anew for longer than it runs."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL jit = off")


def run(sql: str, columns: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Run a statement on PostgreSQL, its parameters written as ``%s``, and return its rows."""
    with _cursor() as cursor:
        cursor.execute(sql, columns)
        return list(cursor.fetchall()) if cursor.description else []


def _cursor() -> Any:
    """With psycopg 3 one that sends lists as they are in memory (binary): half the time of Django's own."""
    from django.db.backends.postgresql.psycopg_any import is_psycopg3

    if not is_psycopg3:
        return connection.cursor()
    connection.ensure_connection()
    with connection.wrap_database_errors:
        raw = _binary_cursor()(connection.connection)
    # In Django's wrapper: it turns errors into Django's, and lets those see the statement who watch the connection.
    return connection.make_debug_cursor(raw) if connection.queries_logged else connection.make_cursor(raw)


@lru_cache(maxsize=1)
def _binary_cursor() -> Any:
    import psycopg

    class BinaryCursor(psycopg.Cursor[Any]):
        def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
            return super().execute(query.replace("%s", "%b"), params, **options)

    return BinaryCursor
