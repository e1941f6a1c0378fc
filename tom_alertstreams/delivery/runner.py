"""Calls handlers and commits: the only code that opens transactions around them.

Every transaction has the same four parts, in this order: claim the alerts (compare-and-set), call the handler, write
the ledger, commit. What differs is how many alerts share one, and what happens when one of them fails:

* a group of ``@alert_handler``: no savepoints; if that fails, again under savepoints; if that fails, one by one;
* a ``@batch_handler``: one call; if that fails, halves, until the alert at fault is alone;
* any other handler: one alert, one transaction; outside of it where the handler cannot run inside.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from django import db
from django.db import connection, connections, reset_queries, transaction

from tom_alertstreams.alerts import Alert, Outcome
from tom_alertstreams.exceptions import (
    BrokenTransaction,
    NoHandler,
    RejectAlert,
    RetryLater,
)
from tom_alertstreams.handlers import Style
from tom_alertstreams.logs import get_logger

from .after_commit import outlive_failures
from .calls import Calls
from .failures import Meaning, is_conflict, judge, outcome_of, text_of, unavailable, wait_if_away
from .fuse import Fuse
from .ledger import Ledger
from .offsets import Progress
from .preparing import Preparer
from .runs import Status
from .source import AlertSource, Binding

logger = get_logger(__name__)

#: A transaction that held SQLite's only writer's lock for longer is warned about.
_LONG_LOCK_S = 2.0
#: How long SQLite's lock is left free after a long transaction: it grants its lock unfairly, and back-to-back
#: transactions starve a web request.
_LOCK_FREE_S = 0.25


class Runner:
    """Handles alerts of one stream."""

    def __init__(
        self,
        source: AlertSource,
        progress: Progress,
        ledger: Ledger,
        preparer: Preparer,
        fuse: Fuse,
        status: Status,
        stopping: Callable[[], bool],
    ) -> None:
        """
        :param status: hears which alerts a handler has in hand.
        :param stopping: True when what is in hand shall be finished and nothing more begun.
        """
        self.source = source
        self.progress = progress
        self.ledger = ledger
        self.preparer = preparer
        self.fuse = fuse
        self._calls = Calls(source, status)
        self._measures = status.measures
        #: How long the last transaction was open, in seconds.
        self.last_transaction_s = 0.0
        self.stopping = stopping
        #: Handlers that turned out to need their own transactions; ATOMIC on a topic says so beforehand.
        self._outside: set[str] = set()
        self._under_savepoints: set[str] = set()
        self._batch_limit: dict[str, int] = {}
        self._warned_of_lock = False

    def handle(self, binding: Binding | None, alerts: Sequence[Alert]) -> int:
        """Handle alerts of one binding, in order, and commit; return how many of them, from the first, are finished.

        :raises TransientError: something outside is away; nothing of the alerts not finished was committed.
        :raises PartitionLost: another consumer has taken a partition over.
        """
        if binding is None:
            outcomes = [Outcome.failed(NoHandler(hint="Add a key for it to TOPIC_HANDLERS.")) for _ in alerts]
            return self._commit(binding, alerts, lambda: outcomes)
        style = binding.handler.style
        if style is Style.BATCH:
            return self._batches(binding, alerts)
        if style is Style.ALERT:
            return self._group(binding, alerts)
        return self._one_by_one(binding, alerts)

    def batch_limit(self, binding: Binding) -> int:
        """How many alerts the handler takes at once: BATCH_SIZE, or as many as it did in BATCH_SECONDS."""
        most = binding.topic.delivery.batch_size
        return min(self._batch_limit.get(binding.handler.path, most), most)

    def lock_pause_s(self) -> float:
        """How long to leave SQLite's lock free after what was committed since this was asked last (seconds)."""
        was_long, self.last_transaction_s = self.last_transaction_s > _long_for_others_s(), 0.0
        return _LOCK_FREE_S if was_long else 0.0

    # --- the transaction -------------------------------------------------------------------------------------------

    def _commit(self, binding: Binding | None, alerts: Sequence[Alert], call: Callable[[], Sequence[Outcome]]) -> int:
        """One transaction. ``call`` returns the outcomes of a prefix of the alerts; only those are finished."""
        began, called = time.monotonic(), False
        try:
            with transaction.atomic():
                self.progress.begin(alerts)
                called = True
                finished = self._call_and_record(binding, alerts, call)
                outlive_failures(self.source.settings.label)
        except db.Error as error:
            if called:
                raise
            raise unavailable(error) from error  # the lock, or our own rows: whatever it is, no alert is at fault
        self.progress.committed(finished)
        self.ledger.committed()
        self.fuse.committed()
        reset_queries()  # with DEBUG on, Django keeps every query for ever
        self.last_transaction_s = time.monotonic() - began
        self._measures.committed(binding.handler.path if binding else "", self.last_transaction_s, finished)
        self._warn_of_long_lock(binding)
        return len(finished)

    def _call_and_record(
        self, binding: Binding | None, alerts: Sequence[Alert], call: Callable[[], Sequence[Outcome]]
    ) -> Sequence[Alert]:
        """Inside the transaction. Returns the alerts that it finishes."""
        outcomes = call()
        if connection.get_rollback():
            raise BrokenTransaction(
                hint="Let the error out, or put the query that may fail into its own transaction.atomic()."
            )
        finished = alerts[: len(outcomes)]
        if len(finished) < len(alerts):
            self.progress.trim(alerts, len(finished))
        previous = [self.progress.previous(alert) for alert in finished]
        self.fuse.judge(outcome for outcome, row in zip(outcomes, previous, strict=True) if row is None)
        try:
            self.ledger.record(binding, finished, outcomes, previous)
        except db.Error as error:
            if is_conflict(error):  # over our own rows, as the counts: no alert is at fault
                raise unavailable(error) from error
            raise
        return finished

    def _settle(self, binding: Binding | None, alert: Alert, outcome: Outcome) -> int:
        """Commit an outcome that is known already: no handler is called, so whatever is in the way is no alert's fault."""
        try:
            return self._commit(binding, [alert], lambda: [outcome])
        except db.Error as error:
            if judge(error) is Meaning.CONTENTION:
                raise unavailable(error) from error
            raise

    def _warn_of_long_lock(self, binding: Binding | None) -> None:
        if self._warned_of_lock or connection.vendor != "sqlite" or self.last_transaction_s <= _LONG_LOCK_S:
            return
        self._warned_of_lock = True
        logger.warning(
            '%s: handler %s held SQLite\'s writer lock for %.1f s; the web site cannot write meanwhile. Set "ATOMIC": False '
            "on its topic (then an alert is handled at least once instead of exactly once), or use PostgreSQL.",
            self.source.settings.label, binding.handler.path if binding else "", self.last_transaction_s,
            extra={"stream": self.source.settings.label},
        )  # fmt: skip

    # --- 1.x and 2.0 style -----------------------------------------------------------------------------------------

    def _one_by_one(self, binding: Binding, alerts: Sequence[Alert]) -> int:
        deadline = time.monotonic() + binding.topic.delivery.batch_seconds
        for finished, alert in enumerate(alerts, start=1):
            try:
                if not binding.topic.atomic or binding.handler.path in self._outside:
                    self._alone_outside(binding, alert)
                else:
                    self._alone(binding, alert)
            except Exception:
                if finished > 1:  # those are committed: say so, and meet the same trouble at the next call
                    return finished - 1
                raise
            if self.stopping() or time.monotonic() >= deadline or self.last_transaction_s > _long_for_others_s():
                return finished
        return len(alerts)

    def _alone(self, binding: Binding, alert: Alert) -> None:
        """One alert in its own transaction; if it fails, a second transaction that says so."""
        try:
            call = self._calls.ready(binding, alert)
            self._commit(binding, [alert], lambda: [call()])
            return
        except Exception as error:  # noqa: BLE001  (whatever a handler raises is its alert's outcome)
            wait_if_away(error)
            if judge(error) is Meaning.NEEDS_OUTSIDE and not binding.handler.marked:
                self._move_outside(binding, error)
                return self._alone_outside(binding, alert.fresh())
            outcome = outcome_of(error)
        self._settle(binding, alert, outcome)

    def _alone_outside(self, binding: Binding, alert: Alert) -> None:
        """One alert whose handler makes its own transactions: at least once."""
        try:
            outcome = self._calls.ready(binding, alert)()
        except Exception as error:  # noqa: BLE001  (whatever a handler raises is its alert's outcome)
            wait_if_away(error)
            outcome = outcome_of(error)
        self._settle(binding, alert, outcome)

    def _move_outside(self, binding: Binding, error: Exception) -> None:
        self._outside.add(binding.handler.path)
        logger.warning(
            "%s: handler %s cannot run inside our transaction (%s). From now on it runs outside: an alert is then handled "
            'at least once, not exactly once. Say "ATOMIC": False on its topic to have it so from the start.',
            self.source.settings.label, binding.handler.path, f"{type(error).__name__}: {text_of(error)}",
            extra={"stream": self.source.settings.label},
        )  # fmt: skip

    # --- @alert_handler --------------------------------------------------------------------------------------------

    def _group(self, binding: Binding, alerts: Sequence[Alert]) -> int:
        for savepoints in (False, True):
            if not savepoints and binding.handler.path in self._under_savepoints:
                continue
            calls = [self._calls.ready_or_failed(binding, alert) for alert in alerts]
            try:
                return self._commit(binding, alerts, lambda: self._call_in_turn(binding, calls, savepoints))  # noqa: B023
            except Exception as error:  # noqa: BLE001  (tried again more carefully below)
                wait_if_away(error)
                if isinstance(error, (RejectAlert, RetryLater)):
                    # Not a failure but this handler's way of answering: groups would always run twice.
                    self._under_savepoints.add(binding.handler.path)
                alerts = [alert.fresh() for alert in alerts]
        return self._one_by_one(binding, alerts)

    def _call_in_turn(
        self, binding: Binding, calls: Sequence[Callable[[], Outcome]], savepoints: bool
    ) -> list[Outcome]:
        deadline = time.monotonic() + binding.topic.delivery.batch_seconds
        database = connections[db.DEFAULT_DB_ALIAS]  # what ``connection`` looks up anew each time
        outcomes = []
        for call in calls:
            outcomes.append(self._under_savepoint(call) if savepoints else call())
            if database.get_rollback() or self.stopping() or time.monotonic() >= deadline:
                break
        return outcomes

    @staticmethod
    def _under_savepoint(call: Callable[[], Outcome]) -> Outcome:
        try:
            with transaction.atomic():
                outcome = call()
                if connection.get_rollback():
                    raise BrokenTransaction
                return outcome
        except Exception as error:
            if not isinstance(error, BrokenTransaction) and judge(error) in (Meaning.AWAY, Meaning.CONTENTION):
                raise
            return outcome_of(error)

    # --- @batch_handler --------------------------------------------------------------------------------------------

    def _batches(self, binding: Binding, alerts: Sequence[Alert]) -> int:
        """As many alerts as the handler takes in BATCH_SECONDS, judged by its last call."""
        path, settings = binding.handler.path, binding.topic.delivery
        limit = self.batch_limit(binding)
        finished = self._halve(binding, alerts[: max(limit, len(self.preparer.next_group(binding)))])
        if self.last_transaction_s > settings.batch_seconds:
            self._batch_limit[path] = max(1, limit // 2)
        elif self.last_transaction_s < settings.batch_seconds / 2:
            self._batch_limit[path] = limit * 2
        return finished

    def _halve(self, binding: Binding, alerts: Sequence[Alert]) -> int:
        try:
            prepared = self.preparer.prepare(binding, alerts)
            return self._commit(binding, alerts, lambda: self._calls.batch(binding, prepared))
        except Exception as error:  # noqa: BLE001  (whatever a handler raises is its alert's outcome)
            wait_if_away(error)
            if len(alerts) == 1:
                return self._settle(binding, alerts[0], outcome_of(error))
        middle = len(alerts) // 2
        finished = self._halve(binding, [alert.fresh() for alert in alerts[:middle]])
        if finished < middle or self.stopping():
            return finished  # never over what is not finished
        try:
            return finished + self._halve(binding, [alert.fresh() for alert in alerts[middle:]])
        except Exception:
            if finished:  # as in _one_by_one
                return finished
            raise


def _long_for_others_s() -> float:
    """After a transaction this long SQLite's lock is left free for a while; elsewhere never."""
    return 0.5 if connection.vendor == "sqlite" else float("inf")
