"""Runs ``prepare`` of batch handlers, which may use the network, with a time-out."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

from django.db import connections

from tom_alertstreams.alerts import Alert
from tom_alertstreams.exceptions import LookUpUnavailable

from .source import Binding


class Preparer:
    """One thread, started when it is first needed. A call that hangs blocks its stream's look-ups, and nothing else."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._executor: ThreadPoolExecutor | None = None
        self._hanging: Future[Any] | None = None

    def prepare(self, binding: Binding, alerts: Sequence[Alert]) -> Any:
        """The result of the handler's ``prepare`` for these alerts; None where it has none.

        :raises LookUpUnavailable: it took longer than PREPARE_TIMEOUT_S, or an earlier one still does.
        """
        handler, timeout_s = binding.handler, binding.topic.delivery.prepare_timeout_s
        if handler.prepare is None or not alerts:
            return None
        if self._hanging is not None and not self._hanging.done():
            raise self._too_slow(handler.path, timeout_s)
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix=f"alertstream-{self._label}-prepare")
        future = self._executor.submit(self._call, binding, list(alerts))
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
            self._executor.shutdown(wait=self._hanging is None or self._hanging.done(), cancel_futures=True)

    @staticmethod
    def _call(binding: Binding, alerts: list[Alert]) -> Any:
        handler = binding.handler
        assert handler.prepare is not None  # noqa: S101
        try:
            return handler.prepare(alerts, **({} if handler.options is None else {"options": handler.options}))
        finally:
            # Connections are per thread: a kept one would be one more per stream.
            connections.close_all()

    @staticmethod
    def _too_slow(path: str, timeout_s: float) -> LookUpUnavailable:
        return LookUpUnavailable(
            f"the look-up of {path} took longer than {timeout_s:g} s.", hint="It is tried again; see PREPARE_TIMEOUT_S."
        )
