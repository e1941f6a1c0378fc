"""What an error means for delivery: wait for something outside, try once more, or give this alert up.

Errors of databases are judged by SQLSTATE (PostgreSQL) or result code (SQLite), never by class: Django raises
``OperationalError`` for a server that is gone and for a deadlock alike.
"""

from __future__ import annotations

import hashlib
import re
import traceback
from collections.abc import Iterator
from enum import Enum
from typing import Final

from django import db
from django.db import connection, transaction

from tom_alertstreams.alerts import Outcome
from tom_alertstreams.exceptions import (
    AlertStreamError,
    BrokenTransaction,
    FuseBlown,
    HandlerAborted,
    HandlerExit,
    PartitionLost,
    PermanentError,
    RejectAlert,
    RetryLater,
    TransientError,
)
from tom_alertstreams.models import Installation
from tom_alertstreams.redaction import redact

DATABASE_AWAY: Final = "the database cannot be reached"
TABLES_MISSING: Final = "the tables of tom_alertstreams are not up to date: run ./manage.py migrate"
TABLES_DENIED: Final = "the user of DATABASES in settings.py may not read the tables of tom_alertstreams: GRANT it"


class Meaning(Enum):
    """What to do about an error."""

    #: Something outside is away: pause, keep polling, try the same again for ever. No attempt is spent.
    AWAY = "away"
    #: Two transactions were in each other's way, or a statement took too long: the alert alone, then as a failure.
    CONTENTION = "contention"
    #: The handler cannot run inside our transaction.
    NEEDS_OUTSIDE = "needs its own transactions"
    #: The alert itself, or the handler.
    FAILURE = "failure"


class DatabaseUnavailable(TransientError):
    """The database does not answer, or takes no writes."""


#: SQLSTATE or its class → the server is gone, shutting down, full, read-only, or out of connections.
_AWAY_STATES = ("08", "57P01", "57P02", "57P03", "53", "25006", "58")
#: Deadlock, serialisation failure, lock not available, statement or lock timeout, idle-in-transaction timeout.
_CONFLICT_STATE = "40"
_CONTENTION_STATES = (_CONFLICT_STATE, "55P03", "57014", "25P03", "25P04")
_DENIED_STATE = "42501"
_ABORTED_STATE = "25P02"
#: SQLite primary result codes: READONLY, IOERR, FULL, CANTOPEN, NOTADB … and BUSY, LOCKED.
_SQLITE_AWAY = {8, 10, 13, 14}
_SQLITE_CONTENTION = {5, 6}
#: Python 3.10's sqlite3 does not tell the code.
_SQLITE_MESSAGES = {
    "database is locked": 5,
    "database table is locked": 6,
    "attempt to write a readonly database": 8,
    "disk I/O error": 10,
    "database or disk is full": 13,
    "unable to open database file": 14,
}
_DATABASE_LIBRARIES = {"psycopg", "psycopg2", "sqlite3", "sqlalchemy", "asyncpg", "MySQLdb", "pymysql", "oracledb"}


def judge(error: BaseException) -> Meaning:
    """What an error that came out of a handler, or of the transaction around it, means."""
    if isinstance(error, TransientError):
        return Meaning.AWAY
    if isinstance(error, (BrokenTransaction, transaction.TransactionManagementError)):
        return Meaning.NEEDS_OUTSIDE
    if isinstance(error, RuntimeError) and "durable atomic block" in str(error):
        return Meaning.NEEDS_OUTSIDE
    if isinstance(error, db.Error):
        return _judge_database(error)
    if _from_other_connection(error):
        # It cannot see what our transaction has not committed yet.
        return Meaning.NEEDS_OUTSIDE
    return Meaning.FAILURE


def is_conflict(error: db.Error) -> bool:
    """Whether two transactions were in each other's way, so that one was undone: a deadlock, or not to be serialised."""
    return (_state_of(error) or "").startswith(_CONFLICT_STATE)


def why_unknown(error: db.Error) -> str:
    """Why the database has not told how the streams are, in words for everybody."""
    if _state_of(error) == _DENIED_STATE:
        return TABLES_DENIED
    # SQLite has the same class of error for a table that is not there and for a file that cannot be read.
    answered = isinstance(error, db.ProgrammingError) or "no such" in str(error)
    return TABLES_MISSING if answered else DATABASE_AWAY


def _state_of(error: db.Error) -> str | None:
    return next((s for e in _chain(error) if (s := getattr(e, "sqlstate", None) or getattr(e, "pgcode", None))), None)


def _judge_database(error: db.Error) -> Meaning:
    state = _state_of(error)
    if state is not None:
        if state == _ABORTED_STATE:
            return Meaning.NEEDS_OUTSIDE
        if state.startswith(_AWAY_STATES):
            return Meaning.AWAY
        return Meaning.CONTENTION if state.startswith(_CONTENTION_STATES) else Meaning.FAILURE
    code = next((c for e in _chain(error) if (c := _sqlite_code(e)) is not None), None)
    if code is not None:
        if code in _SQLITE_AWAY:
            return Meaning.AWAY
        return Meaning.CONTENTION if code in _SQLITE_CONTENTION else Meaning.FAILURE
    # libpq could not even speak to the server: no code, "server closed the connection unexpectedly" and the like.
    gone = isinstance(error, (db.InterfaceError, db.OperationalError)) and connection.vendor == "postgresql"
    return Meaning.AWAY if gone else Meaning.FAILURE


def _sqlite_code(error: BaseException) -> int | None:
    code = getattr(error, "sqlite_errorcode", None)
    if isinstance(code, int):
        return code & 0xFF  # the extended code carries the primary one in its low byte
    if type(error).__module__ == "sqlite3":
        return _SQLITE_MESSAGES.get(str(error))
    return None


def _from_other_connection(error: BaseException) -> bool:
    return any(cls.__module__.partition(".")[0] in _DATABASE_LIBRARIES for cls in type(error).__mro__)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__


def wait_if_away(error: BaseException) -> None:
    """Return if the error is the alert's own or the handler's; else raise what tells the loop to pause or to step back.

    :raises TransientError: something outside is away.
    :raises PartitionLost: another consumer owns the partition now.
    :raises FuseBlown: too many alerts fail.
    """
    if isinstance(error, (PartitionLost, TransientError, FuseBlown)):
        raise error
    meaning = judge(error)
    if meaning is Meaning.AWAY or (meaning is Meaning.CONTENTION and not database_takes_writes()):
        raise unavailable(error) from error


def unavailable(error: BaseException) -> DatabaseUnavailable:
    """What tells the loop to wait for the database."""
    return DatabaseUnavailable(
        "the database cannot be used.",
        hint="The stream waits and goes on by itself.",
        details=f"It says: {text_of(error)}.",
    )


def database_takes_writes() -> bool:
    """Probe: does a transaction that changes nothing go through?"""
    try:
        with transaction.atomic():
            Installation.objects.update(only=True)
    except db.Error:
        return False
    return True


def heal_connection() -> None:
    """After an error: the next query opens a new connection.

    Not only where the server has closed the old one: a session may also remember that the server was read-only.
    """
    if not connection.in_atomic_block:
        connection.close()


def outcome_of(error: Exception) -> Outcome:
    """What an exception out of a handler says about its alert."""
    if isinstance(error, RejectAlert):
        return Outcome.rejected(error.code, error.object_id, error.reason)
    if isinstance(error, RetryLater):
        return Outcome.retry(error.delay_s, error.reason, error.give_up_after_s)
    return Outcome.failed(error)


def as_exception(error: BaseException, who: str) -> Exception:
    """What is meant to end a program or a task, as an error of the alert: else it would end the stream's thread.

    :param who: what raised it, as ``the handler``.
    """
    if isinstance(error, SystemExit):
        made: Exception = HandlerExit(f"{who} called sys.exit({error.code!r}).")
    else:
        name = type(error).__name__
        made = HandlerAborted(f"{who} raised {name}, which is no Exception.", details=text_of(error))
    return made.with_traceback(error.__traceback__)  # where it comes from tells such errors apart


def never_again(error: BaseException | None) -> bool:
    """Whether another try cannot help."""
    return isinstance(error, PermanentError)


_NUMBERS = re.compile(r"\d+|0x[0-9a-f]+")
#: NUL and lone surrogates: PostgreSQL stores neither.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def clean(text: str, limit: int) -> str:
    """A text that every database stores and that gives no secret away, cut to ``limit`` characters."""
    text = _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", redact(text))
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def text_of(error: BaseException) -> str:
    """The words of an error without secrets; some errors cannot even say what they are."""
    try:
        return redact(str(error)).strip()
    except Exception:  # noqa: BLE001  (whatever its __str__ raises)
        return "(no error message)"


def public_text_of(error: BaseException) -> str:
    """What everybody may read of an error: whose words are not ours may tell of an alert, or of a row that is private."""
    try:
        return redact(error.public).strip() if isinstance(error, AlertStreamError) else type(error).__name__
    except Exception:  # noqa: BLE001  (as in text_of)
        return type(error).__name__


def traceback_of(error: BaseException) -> str:
    """The traceback as text; local variables are never part of it."""
    return "".join(traceback.format_exception(type(error), error, error.__traceback__))


def fingerprint(error: BaseException, handler: str) -> str:
    """The same for errors of one class from one line of code: numbers and ids in the message do not count."""
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1] if frames else None
    place = f"{last.filename}:{last.name}:{last.lineno}" if last else ""
    message = _NUMBERS.sub("#", text_of(error)) if not place else ""
    return hashlib.sha256(f"{handler}|{type(error).__qualname__}|{place}|{message}".encode()).hexdigest()[:16]
