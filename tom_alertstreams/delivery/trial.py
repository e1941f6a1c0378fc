"""Tries one alert out: its handler is called as the loop calls it, and everything it writes is rolled back.

Not undone is what happens outside of the project's databases, in other threads, and in ``prepare``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Literal

from django.db import connections, transaction

from tom_alertstreams.alerts import Alert, Outcome
from tom_alertstreams.exceptions import BrokenTransaction, NoHandler, PartitionLost, TransientError
from tom_alertstreams.handlers import Style

from .calls import Calls, content_error
from .failures import Meaning, judge, outcome_of, wait_if_away
from .preparing import Preparer
from .row_watch import RowChange, RowWatch
from .runs import Status
from .source import AlertSource, Binding

#: How it ended. ``away``: something outside does not answer, and the stream would wait. ``outside``: the handler cannot
#: run inside a transaction of ours, so that it cannot be tried.
Ending = Literal["done", "rejected", "retry", "failed", "away", "outside", "no handler"]


@dataclass(frozen=True)
class Trial:
    """What one alert would do."""

    alert: Alert
    #: The key of TOPIC_HANDLERS that takes the topic, with its handler; None where none does.
    binding: Binding | None
    ending: Ending
    #: Of kind ``failed`` where the ending is ``away`` or ``outside``.
    outcome: Outcome
    #: The content could be read.
    decoded: bool = False
    #: The handler was called: what it did elsewhere than in the databases is done.
    called: bool = False
    #: The rows that differ when it returned; none where it raised, for then they are undone in earnest too.
    changes: tuple[RowChange, ...] = ()
    #: Writes that could not be followed, in words.
    missed: tuple[str, ...] = ()
    #: Functions that it gave to ``transaction.on_commit``; they were not run.
    after_commit: tuple[str, ...] = ()


def try_alert(source: AlertSource, alert: Alert) -> Trial:
    """Call the handler of an alert, once, and roll back.

    :raises django.db.Error: the database cannot be used.
    """
    key = source.topic_keys.match(alert.topic)
    binding = source.bindings.get(key) if key is not None else None
    if binding is None:
        error = NoHandler(hint=f"TOPIC_HANDLERS has {', '.join(source.bindings)}.")
        return Trial(alert, None, "no handler", Outcome.failed(error), decoded=_is_readable(alert))
    before = Trial(alert, binding, "failed", Outcome.done())
    preparer = Preparer(source.settings.label)
    try:
        if problem := content_error(alert):
            return _ended(before, problem)
        before = replace(before, decoded=True)
        call = _ready(Calls(source, Status(source.settings.label)), preparer, binding, alert)
    except Exception as error:  # noqa: BLE001  (whatever decoding and prepare raise is what would happen)
        return _ended(before, error)
    finally:
        preparer.close()
    return _call_and_undo(replace(before, called=True), call)


def _is_readable(alert: Alert) -> bool:
    try:
        return content_error(alert) is None
    except TransientError:
        return False


def _ready(calls: Calls, preparer: Preparer, binding: Binding, alert: Alert) -> Callable[[], Outcome]:
    if binding.handler.style is not Style.BATCH:
        return calls.ready(binding, alert)
    prepared = preparer.prepare(binding, [alert])
    return lambda: calls.batch(binding, prepared)[0]


def _call_and_undo(before: Trial, call: Callable[[], Outcome]) -> Trial:
    with ExitStack() as stack:
        watches = [stack.enter_context(_undone(alias)) for alias in connections]
        try:
            with transaction.atomic():
                outcome = call()
                if transaction.get_rollback():
                    raise BrokenTransaction(
                        hint="Let the error out, or put the query that may fail into its own transaction.atomic()."
                    )
        except Exception as error:  # noqa: BLE001  (whatever a handler raises is what would happen)
            return _ended(before, error)
        return replace(
            _concluded(before, outcome),
            changes=tuple(change for watch in watches for change in watch.changes()),
            missed=tuple(text for watch in watches for text in watch.missed),
            after_commit=tuple(_name(entry[1]) for alias in connections for entry in connections[alias].run_on_commit),
        )


@contextmanager
def _undone(alias: str) -> Iterator[RowWatch]:
    """A transaction of one database that is rolled back however it ends."""
    connection = connections[alias]
    outermost = not connection.in_atomic_block
    watch = RowWatch(connection)
    with transaction.atomic(using=alias):
        if outermost and connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                # Rows that other processes commit meanwhile are not this handler's.
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        try:
            with watch.watching():
                yield watch
        finally:
            transaction.set_rollback(True, using=alias)


def _ended(before: Trial, error: Exception) -> Trial:
    """A trial that ended by an exception, judged as the loop would."""
    try:
        wait_if_away(error)
    except (TransientError, PartitionLost) as away:
        return replace(before, ending="away", outcome=Outcome.failed(away))
    if before.binding is not None and not before.binding.handler.marked and judge(error) is Meaning.NEEDS_OUTSIDE:
        return replace(before, ending="outside", outcome=Outcome.failed(error))
    return _concluded(before, outcome_of(error))


def _concluded(before: Trial, outcome: Outcome) -> Trial:
    return replace(before, ending=outcome.kind, outcome=outcome)


def _name(function: object) -> str:
    return f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', type(function).__name__)}"
