"""The fuse: a stream whose alerts nearly all fail stops before it buries them.

A bad alert becomes a dead letter and the rest goes on. After a bad deploy every alert would: so failures are counted, and
too many of them stop the stream with the offsets where they were. The next start is half-open: one alert at a time and
no dead letter, until one succeeds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from tom_alertstreams.alerts import Outcome
from tom_alertstreams.conf import DeliverySettings
from tom_alertstreams.exceptions import FuseBlown

from .failures import text_of

#: Why ``--once`` ended though alerts wait.
FINISHED_HALF_OPEN = (
    "finished. Its fuse had blown and no new alert has succeeded since, so nothing that waits was tried. It is tried when "
    "one succeeds, or with MAX_CONSECUTIVE_FAILURES and MAX_FAILURE_SHARE of 0."
)


class Fuse:
    """Counts the first tries of one stream. Second tries, and alerts that asked to come later, do not count."""

    def __init__(self, stream: str, settings: DeliverySettings, *, half_open: bool) -> None:
        """
        :param half_open: it had blown when the last life of the stream ended.
        """
        self.half_open = half_open
        self._stream = stream
        self._settings = settings
        self._recent: deque[bool] = deque(maxlen=settings.failure_window)
        self._in_a_row = 0
        self._pending: list[bool] = []

    def judge(self, outcomes: Iterable[Outcome]) -> None:
        """Look at first tries before their transaction commits.

        :raises FuseBlown: there are too many failures; the transaction must be rolled back.
        """
        first_tries = [outcome for outcome in outcomes if outcome.kind != "retry"]
        self._pending = [outcome.kind == "failed" for outcome in first_tries]
        if not any(self._pending):
            return
        error = next(outcome.error for outcome in reversed(first_tries) if outcome.kind == "failed")
        if self.half_open:
            raise self._blown("the first alert after the restart failed too", error)
        recent, in_a_row = self._recent.copy(), self._in_a_row
        limit, share = self._settings.max_consecutive_failures, self._settings.max_failure_share
        for failed in self._pending:
            recent.append(failed)
            in_a_row = in_a_row + 1 if failed else 0
            if limit and in_a_row >= limit:
                raise self._blown(f"{in_a_row} alerts in a row failed (MAX_CONSECUTIVE_FAILURES)", error)
        if share and len(recent) == recent.maxlen and sum(recent) > share * len(recent):
            reason = f"{sum(recent)} of the last {len(recent)} alerts failed (MAX_FAILURE_SHARE {share:g})"
            raise self._blown(reason, error)

    def committed(self) -> None:
        """The transaction of the last :meth:`judge` is committed."""
        for failed in self._pending:
            self._recent.append(failed)
            self._in_a_row = self._in_a_row + 1 if failed else 0
            self.half_open = self.half_open and failed
        self._pending = []

    def _blown(self, reason: str, error: Exception | None) -> FuseBlown:
        last = f" The last error was {type(error).__name__}." if error is not None else ""
        return FuseBlown(
            f"stopped by its fuse: {reason}.{last}",
            details=f"It said: {text_of(error)}." if error is not None else "",
            stream=self._stream,
            hint="Mend the handler and start readstreams again: it begins with one alert at a time. "
            "Where it is the alerts that are wrong: MAX_CONSECUTIVE_FAILURES and MAX_FAILURE_SHARE of 0 make them dead "
            "letters, and seekstream passes over them.",
        )
