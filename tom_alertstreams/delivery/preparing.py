"""What can be done for a group of alerts before its transaction: decoding, and ``prepare`` of batch handlers.

Both run in a thread, for they may use the network. ``prepare`` has a time-out, and what decoding fetches has its own. A
look-up that hangs is left behind with its thread, and the next try has another. Where it needs its alerts only (``ahead``)
the next group is prepared while the present one is handled: Python reads while the database writes.
"""

from __future__ import annotations

import operator
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, wait
from queue import SimpleQueue

from django.db import connections

from tom_alertstreams.alerts import Alert
from tom_alertstreams.exceptions import LookUpUnavailable

from .calls import Prepared, content_error
from .failures import as_exception
from .source import Binding

#: A group on its way.
Begun = tuple[Sequence[Alert], "Future[Prepared]"]

#: Threads of a stream that are left behind at one time: each may hold a socket and a connection to the database.
_MOST_HANGING = 3
#: What a look-up that nobody needs any more is given to end.
_LAST_CALL_S = 5.0


class Preparer:
    """One thread, started when it is first needed; another one where a call of it hangs."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._thread: _CallingThread | None = None
        self._hanging: list[_CallingThread] = []
        #: Key of TOPIC_HANDLERS → groups that are prepared ahead, in their order.
        self._begun: dict[str, list[Begun]] = {}

    def begin(self, binding: Binding, *groups: Sequence[Alert]) -> None:
        """Prepare these groups one after the other, meanwhile others may be handled; where the handler allows that."""
        if not binding.handler.ahead or self._hang() >= _MOST_HANGING:
            return
        before = self._begun.get(binding.topic.key, [])
        self._begun[binding.topic.key] = [
            next((begun for begun in before if _same(begun[0], alerts)), None)
            or (alerts, self._submit(binding, alerts))
            for alerts in groups
            if alerts
        ]

    def next_group(self, binding: Binding) -> Sequence[Alert]:
        """The first of the groups that are prepared ahead; empty where none is."""
        begun = self._begun.get(binding.topic.key)
        return begun[0][0] if begun else ()

    def prepare(self, binding: Binding, alerts: Sequence[Alert]) -> Prepared:
        """Decode these alerts, and call the handler's ``prepare`` with them.

        :raises LookUpUnavailable: ``prepare`` took longer than PREPARE_TIMEOUT_S, or too many earlier ones still do.
        :raises TransientError: what decoding needs is away.
        """
        handler, timeout_s = binding.handler, binding.topic.delivery.prepare_timeout_s
        if handler.prepare is None or not alerts:
            return _opened(alerts)
        if (hanging := self._hang()) >= _MOST_HANGING:
            raise LookUpUnavailable(
                f"{hanging} look-ups of this stream hang, so that {handler.path} begins no other.",
                hint="It goes on when one of them ends. Give what they ask a time-out of its own, and restart readstreams.",
            )
        future = self._take(binding, alerts) or self._submit(binding, alerts)
        if self._is_done_in_time(future, timeout_s):
            return future.result()
        self._leave_behind()
        raise LookUpUnavailable(
            f"the look-up of {handler.path} took longer than {timeout_s:g} s.",
            hint="It is tried again; see PREPARE_TIMEOUT_S.",
        )

    def close(self) -> None:
        """End the thread; one that hangs is left behind."""
        if self._thread is not None:
            self._thread.end()
            self._thread.join(_LAST_CALL_S)

    def _is_done_in_time(self, future: Future[Prepared], timeout_s: float) -> bool:
        """Wait; the time-out counts while a look-up runs, were it the one before, and from now on at the earliest."""
        assert self._thread is not None  # noqa: S101
        asked_at = time.monotonic()
        while True:
            since = self._thread.looking_up_since
            left_s = timeout_s if since is None else max(since, asked_at) + timeout_s - time.monotonic()
            if not wait([future], max(0.0, left_s)).not_done:
                return True
            if left_s <= 0:
                return False

    def _hang(self) -> int:
        """How many threads that were left behind have not come to their end."""
        self._hanging = [thread for thread in self._hanging if thread.is_alive()]
        return len(self._hanging)

    def _leave_behind(self) -> None:
        assert self._thread is not None  # noqa: S101
        self._thread.end()
        self._hanging.append(self._thread)
        self._thread = None
        self._begun.clear()  # what waited for its turn there comes anew

    def _take(self, binding: Binding, alerts: Sequence[Alert]) -> Future[Prepared] | None:
        """What was begun for exactly these alerts."""
        begun = self._begun.get(binding.topic.key)
        return begun.pop(0)[1] if begun and _same(begun[0][0], alerts) else None

    def _submit(self, binding: Binding, alerts: Sequence[Alert]) -> Future[Prepared]:
        if self._thread is None:
            self._thread = _CallingThread(f"alertstream-{self._label}-prepare")
        return self._thread.submit(binding, list(alerts))


class _CallingThread(threading.Thread):
    """Prepares one group after the other. An executor will not do: Python waits for its threads before a process may end."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._groups: SimpleQueue[tuple[Future[Prepared], Binding, list[Alert]] | None] = SimpleQueue()
        self._over = False
        #: ``time.monotonic()`` when the ``prepare`` that runs now began; None while none does.
        self.looking_up_since: float | None = None
        self.start()

    def submit(self, binding: Binding, alerts: list[Alert]) -> Future[Prepared]:
        """Prepare this group in its turn."""
        future: Future[Prepared] = Future()
        self._groups.put((future, binding, alerts))
        return future

    def end(self) -> None:
        """Begin no other group; what came of those that wait is never told."""
        self._over = True
        self._groups.put(None)

    def run(self) -> None:
        while (given := self._groups.get()) is not None and not self._over:
            future, binding, alerts = given
            try:
                future.set_result(self._prepare(binding, alerts))
            except BaseException as error:  # noqa: BLE001  (is the caller's to judge)
                future.set_exception(error)
            del given, future, binding, alerts  # else they would be kept until the next group

    def _prepare(self, binding: Binding, alerts: list[Alert]) -> Prepared:
        handler = binding.handler
        assert handler.prepare is not None  # noqa: S101
        try:
            opened = _opened(alerts)
            if not opened.ready:
                return opened
            options = {} if handler.options is None else {"options": handler.options}
            self.looking_up_since = time.monotonic()
            return Prepared(opened.errors, opened.ready, handler.prepare(list(opened.ready), **options))
        except Exception:
            raise
        except BaseException as error:
            raise as_exception(error, "prepare") from error
        finally:
            self.looking_up_since = None
            # Connections are per thread: a kept one would be one more per stream.
            connections.close_all()


def _opened(alerts: Sequence[Alert]) -> Prepared:
    errors = [content_error(alert) for alert in alerts]
    return Prepared(errors, [alert for alert, error in zip(alerts, errors, strict=True) if error is None])


def _same(alerts: Sequence[Alert], others: Sequence[Alert]) -> bool:
    """The very same envelopes: a fresh one is to be prepared anew."""
    return len(alerts) == len(others) and all(map(operator.is_, alerts, others))
