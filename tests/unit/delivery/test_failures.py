"""What an error means for delivery."""

from __future__ import annotations

import sqlite3

import psycopg
import pytest
from django import db

from tom_alertstreams.delivery.failures import TABLES_DENIED, Meaning, clean, fingerprint, judge, why_unknown
from tom_alertstreams.exceptions import BrokenTransaction, LookUpUnavailable
from tom_alertstreams.redaction import remember_secrets


def wrapped(outer: type[Exception], inner: BaseException) -> Exception:
    """As Django hands a driver's error on."""
    error = outer(*inner.args)
    error.__cause__ = inner
    return error


def sqlite_error(code: int, text: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code  # type: ignore[misc]
    return error


AWAY = ["57P01", "57P02", "57P03", "53300", "53100", "25006", "08006", "08001"]
CONTENTION = ["40P01", "40001", "55P03", "57014", "25P03"]
FAILURES = ["23505", "22001", "42703", "22P02"]


@pytest.mark.parametrize(
    ("state", "meaning"),
    [
        *[(state, Meaning.AWAY) for state in AWAY],
        *[(state, Meaning.CONTENTION) for state in CONTENTION],
        *[(state, Meaning.FAILURE) for state in FAILURES],
        ("25P02", Meaning.NEEDS_OUTSIDE),
    ],
)
def test_postgresql_by_state(state: str, meaning: Meaning) -> None:
    driver = psycopg.errors.lookup(state)("as the server says")
    for outer in (db.OperationalError, db.InternalError, db.DataError):
        assert judge(wrapped(outer, driver)) is meaning


def test_tables_that_may_not_be_read_are_no_missing_ones() -> None:
    denied = psycopg.errors.InsufficientPrivilege("permission denied for table tom_alertstreams_streamrun")
    assert why_unknown(wrapped(db.ProgrammingError, denied)) == TABLES_DENIED  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        (5, Meaning.CONTENTION),
        (6, Meaning.CONTENTION),
        (261, Meaning.CONTENTION),
        (8, Meaning.AWAY),
        (1032, Meaning.AWAY),
        (10, Meaning.AWAY),
        (13, Meaning.AWAY),
        (14, Meaning.AWAY),
        (1, Meaning.FAILURE),
        (19, Meaning.FAILURE),
    ],
)
def test_sqlite_by_code(code: int, meaning: Meaning) -> None:
    assert judge(wrapped(db.OperationalError, sqlite_error(code, "whatever"))) is meaning


def test_sqlite_by_message_where_python_does_not_tell_the_code() -> None:
    assert judge(wrapped(db.OperationalError, sqlite3.OperationalError("database is locked"))) is Meaning.CONTENTION


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (LookUpUnavailable(), Meaning.AWAY),
        (BrokenTransaction(), Meaning.NEEDS_OUTSIDE),
        (RuntimeError("A durable atomic block cannot be nested within another atomic block."), Meaning.NEEDS_OUTSIDE),
        (RuntimeError("anything else"), Meaning.FAILURE),
        (psycopg.errors.ForeignKeyViolation("of a connection of the handler's own"), Meaning.NEEDS_OUTSIDE),
        (sqlite3.IntegrityError("of a connection of the handler's own"), Meaning.NEEDS_OUTSIDE),
        (KeyError("candid"), Meaning.FAILURE),
    ],
)
def test_other_errors(error: Exception, meaning: Meaning) -> None:
    assert judge(error) is meaning


def test_the_chain_of_contexts_does_not_mislead() -> None:
    """A handler that fails while it handles a lost connection of its own has failed."""
    error = ValueError("the handler's own")
    error.__context__ = psycopg.errors.AdminShutdown("of something else")
    assert judge(error) is Meaning.FAILURE


def test_fingerprints_tell_places_apart_and_not_values() -> None:
    def fail(value: object) -> Exception:
        try:
            raise ValueError(f"bad candid {value}")
        except ValueError as error:
            return error

    def fail_elsewhere() -> Exception:
        try:
            raise ValueError("bad candid 1")
        except ValueError as error:
            return error

    assert fingerprint(fail(1), "h") == fingerprint(fail(2), "h")
    assert fingerprint(fail(1), "h") != fingerprint(fail_elsewhere(), "h")
    assert fingerprint(fail(1), "h") != fingerprint(fail(1), "other")


def test_texts_are_storable_and_tell_no_secret() -> None:
    remember_secrets({"API_SECRET": "rosebud-1941"})
    text = clean("nul \x00, lone \ud800, rosebud-1941, " + "x" * 100, 50)
    assert len(text) == 50
    text.encode()
    assert "\x00" not in text
    assert "rosebud" not in text
