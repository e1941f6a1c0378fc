"""What can be done for a group of alerts before its transaction: decoding, and ``prepare`` of batch handlers.

``prepare`` runs in a thread, for it may use the network, with a time-out. Where it needs its alerts only (``ahead``) the
next group is prepared while the present one is handled: Python reads while the database writes.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError

from django.db import connections

from tom_alertstreams.alerts import Alert
from tom_alertstreams.exceptions import LookUpUnavailable

from .calls import Prepared, content_error
from .source import Binding

#: A group on its way.
Begun = tuple[Sequence[Alert], "Future[Prepared]"]


class Preparer:
    """One thread, started when it is first needed. A call that hangs blocks its stream's look-ups, and nothing else."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._executor: ThreadPoolExecutor | None = None
        self._hanging: Future[Prepared] | None = None
        #: Key of TOPIC_HANDLERS → groups that are prepared ahead, in their order.
        self._begun: dict[str, list[Begun]] = {}

    def begin(self, binding: Binding, *groups: Sequence[Alert]) -> None:
        """Prepare these groups one after the other, meanwhile others may be handled; where the handler allows that."""
        if not binding.handler.ahead or self._is_hanging:
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

        :raises LookUpUnavailable: ``prepare`` took longer than PREPARE_TIMEOUT_S, or an earlier one still does.
        :raises TransientError: what decoding needs is away.
        """
        handler, timeout_s = binding.handler, binding.topic.delivery.prepare_timeout_s
        if handler.prepare is None or not alerts:
            return _opened(alerts)
        if self._is_hanging:
            raise self._too_slow(handler.path, timeout_s)
        future = self._take(binding, alerts) or self._submit(binding, alerts)
        try:
            return future.result(timeout_s)
        except FutureTimeoutError as error:
            if future.done():  # prepare itself raised a TimeoutError
                raise
            self._hanging = future
            raise self._too_slow(handler.path, timeout_s) from error

    def close(self) -> None:
        """End the thread; one that hangs is left behind."""
        if self._executor is not None:
            self._executor.shutdown(wait=not self._is_hanging, cancel_futures=True)

    @property
    def _is_hanging(self) -> bool:
        return self._hanging is not None and not self._hanging.done()

    def _take(self, binding: Binding, alerts: Sequence[Alert]) -> Future[Prepared] | None:
        """What was begun for exactly these alerts."""
        begun = self._begun.get(binding.topic.key)
        return begun.pop(0)[1] if begun and _same(begun[0][0], alerts) else None

    def _submit(self, binding: Binding, alerts: Sequence[Alert]) -> Future[Prepared]:
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix=f"alertstream-{self._label}-prepare")
        return self._executor.submit(self._call, binding, list(alerts))

    @staticmethod
    def _call(binding: Binding, alerts: list[Alert]) -> Prepared:
        handler = binding.handler
        assert handler.prepare is not None  # noqa: S101
        try:
            opened = _opened(alerts)
            if not opened.ready:
                return opened
            options = {} if handler.options is None else {"options": handler.options}
            return Prepared(opened.errors, opened.ready, handler.prepare(list(opened.ready), **options))
        finally:
            # Connections are per thread: a kept one would be one more per stream.
            connections.close_all()

    @staticmethod
    def _too_slow(path: str, timeout_s: float) -> LookUpUnavailable:
        return LookUpUnavailable(
            f"the look-up of {path} took longer than {timeout_s:g} s.", hint="It is tried again; see PREPARE_TIMEOUT_S."
        )


def _opened(alerts: Sequence[Alert]) -> Prepared:
    errors = [content_error(alert) for alert in alerts]
    return Prepared(errors, [alert for alert, error in zip(alerts, errors, strict=True) if error is None])


def _same(alerts: Sequence[Alert], others: Sequence[Alert]) -> bool:
    """The very same envelopes: a fresh one is to be prepared anew."""
    return len(alerts) == len(others) and all(map(operator.is_, alerts, others))
