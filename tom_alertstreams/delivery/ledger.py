"""What is written beside the effects of alerts, in the same transaction: counts, rejections, dead letters."""

from __future__ import annotations

import base64
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from math import isfinite
from typing import Any

from django import db
from django.db import connection, transaction
from django.utils import timezone

from tom_alertstreams.alerts import Alert, Outcome
from tom_alertstreams.conf import DeliverySettings, RetrySettings
from tom_alertstreams.exceptions import AlertStreamError
from tom_alertstreams.logs import get_logger, where
from tom_alertstreams.models import DeadLetter, OutcomeCount, Rejection

from .failures import Meaning, clean, fingerprint, judge, never_again, text_of, traceback_of
from .source import Binding
from .waiting import UNSETTLED

logger = get_logger(__name__)

_ERROR_LENGTH = 10_000
#: Whoever asks for a later try gets one within a year.
_LONGEST_DELAY_S = 366 * 86_400.0
_TRACEBACK_LENGTH = 50_000
#: Handlers make codes of their own: a process counts so many, and the sum of the others.
_MOST_CODES = 100
OTHER_CODES = "(others)"


class Tally(Counter[str]):
    """What this process did since it started, for its log lines: received, done, rejected, waiting, dead."""

    def __init__(self) -> None:
        super().__init__()
        #: Why alerts were rejected → how many.
        self.codes: Counter[str] = Counter()

    def note_codes(self, codes: Counter[str]) -> None:
        """Alerts were rejected."""
        for code, n in codes.items():
            self.codes[code if code in self.codes or len(self.codes) < _MOST_CODES else OTHER_CODES] += n


class Ledger:
    """Writes down what became of the alerts of one stream."""

    def __init__(self, stream: str, cluster: str, group_id: str, tally: Tally) -> None:
        self.stream = stream
        self.cluster = cluster
        self.group_id = group_id
        self.tally = tally
        self._pending: Counter[str] = Counter()
        self._codes: Counter[str] = Counter()
        self._received = 0
        self._hour: datetime | None = None
        #: Topic, kind and code → row of OutcomeCount in this hour; rows of a transaction count only when it is committed.
        self._count_rows: dict[tuple[str, str, str], int] = {}
        self._new_rows: dict[tuple[str, str, str], int] = {}
        table, quote = OutcomeCount._meta.db_table, connection.ops.quote_name
        self._add_sql = f"UPDATE {quote(table)} SET n = n + %s WHERE id = %s"  # noqa: S608

    def record(
        self,
        binding: Binding | None,
        alerts: Sequence[Alert],
        outcomes: Sequence[Outcome],
        previous: Sequence[DeadLetter | None],
    ) -> None:
        """Write the outcomes of these alerts; the caller's transaction is open and moves their offsets.

        :param previous: for each alert the row it has waited in, or None.
        """
        self._new_rows = {}
        counts: Counter[tuple[str, str, str]] = Counter()
        became: Counter[str] = Counter()
        done: Counter[str] = Counter()  # by topic; what nearly all are
        rejected: list[tuple[Alert, Outcome]] = []
        settled: list[DeadLetter] = []
        for alert, answer, row in zip(alerts, outcomes, previous, strict=True):
            if row is None and answer.kind == "done":
                done[alert.topic] += 1
                continue
            outcome = _storable(answer)
            if outcome.kind in ("failed", "retry"):
                outcome = self._keep(binding, alert, outcome, row)
            elif row is not None:
                settled.append(row)
            if outcome.kind == "rejected":
                rejected.append((alert, outcome))
            became[_COUNTED_AS[outcome.kind]] += 1
            # A dead letter that is tried again in vain is the same dead letter still.
            if not (outcome.kind == "failed" and _was_given_up(row)):
                counts[alert.topic, outcome.kind, outcome.code if outcome.kind == "rejected" else ""] += 1
        for topic, n in done.items():
            counts[topic, "done", ""] += n
            became["done"] += n
        self._settle(settled)
        self._reject(binding, rejected)
        self._count(counts)
        self._pending = became
        self._codes = Counter()
        for (_, kind, code), n in counts.items():
            if kind == "rejected":
                self._codes[code] += n
        self._received = sum(row is None for row in previous)

    def committed(self) -> None:
        """The transaction of the last :meth:`record` is committed."""
        self._count_rows |= self._new_rows
        self.tally["received"] += self._received
        self.tally.update(self._pending)
        self.tally.note_codes(self._codes)

    def _count(self, counts: Counter[tuple[str, str, str]]) -> None:
        hour = timezone.now().replace(minute=0, second=0, microsecond=0)
        if hour != self._hour:
            self._hour, self._count_rows = hour, {}
        # In a fixed order: two processes that count the same topics must not wait for one another.
        for key, n in sorted(counts.items()):
            if not (key in self._count_rows and self._add(self._count_rows[key], n)):
                self._add(self._count_row(*key), n)

    def _add(self, row: int, n: int) -> bool:
        with connection.cursor() as cursor:
            cursor.execute(self._add_sql, [n, row])
            return bool(cursor.rowcount == 1)

    def _count_row(self, topic: str, outcome: str, code: str) -> int:
        """The row of this hour, made if need be; its number is kept, for looking it up costs more than counting."""
        names = {
            "stream": self.stream,
            "topic": topic,
            "hour": self._hour,
            "outcome": _COUNTED_AS[outcome],
            "code": code[:32],
        }
        OutcomeCount.objects.bulk_create([OutcomeCount(**names)], ignore_conflicts=True)
        row = OutcomeCount.objects.values_list("pk", flat=True).get(**names)
        self._new_rows[topic, outcome, code] = row
        return row

    @staticmethod
    def _settle(rows: Sequence[DeadLetter]) -> None:
        """These alerts are handled or rejected at last: what waited is deleted, a dead letter is kept as replayed."""
        given_up = [row.pk for row in rows if _was_given_up(row)]
        if given_up:
            DeadLetter.objects.filter(pk__in=given_up).update(
                state=DeadLetter.State.REPLAYED, next_attempt_at=None, leased_until=None, updated_at=timezone.now()
            )
        if len(given_up) < len(rows):
            DeadLetter.objects.filter(pk__in=[row.pk for row in rows if not _was_given_up(row)]).delete()

    def _reject(self, binding: Binding | None, rejected: Sequence[tuple[Alert, Outcome]]) -> None:
        if not rejected or binding is None or not binding.topic.delivery.rejections_days:
            return
        Rejection.objects.bulk_create(
            Rejection(
                stream=self.stream,
                topic=alert.topic,
                partition=alert.partition,
                offset=alert.offset,
                object_id=clean(outcome.object_id, 100),
                code=outcome.code[:32],
            )
            for alert, outcome in rejected
        )

    def _keep(self, binding: Binding | None, alert: Alert, outcome: Outcome, row: DeadLetter | None) -> Outcome:
        """Keep an alert that was not handled: waiting, or given up."""
        error = outcome.error
        now = timezone.now()
        retry = (binding.topic.delivery if binding else DeliverySettings()).retry
        first_failed_at = row.first_failed_at if row else now
        attempts = (row.attempts if row else 0) + 1
        wait_s = _next_wait(outcome, retry, attempts, (now - first_failed_at).total_seconds())
        if _was_given_up(row):
            if outcome.kind == "failed":  # its tries are over; whoever replays it may do so again
                wait_s = None
        elif wait_s is None and binding is not None and binding.topic.on_error == "reject":
            if row is not None:
                row.delete()
            return Outcome.rejected("error", outcome.object_id)
        # An alert that waited keeps its row, though its topic may have another handler by now, or none.
        handler = row.handler if row else binding.topic.handler if binding else ""
        fields: dict[str, Any] = {
            "stream": self.stream,
            "key": alert.key,
            "headers": [
                [clean(n, 249), base64.b64encode(v).decode() if v is not None else None] for n, v in alert.headers
            ],
            "timestamp": alert.timestamp,
            "raw": alert.raw,
            "error_class": _class_name(error),
            "error": clean(_message(error, outcome), _ERROR_LENGTH),
            "traceback": clean(traceback_of(error), _TRACEBACK_LENGTH) if error else "",
            "fingerprint": fingerprint(error, handler) if error else outcome.code[:64],
            "attempts": attempts,
            "state": DeadLetter.State.OPEN if wait_s is None else DeadLetter.State.WAITING,
            "first_failed_at": first_failed_at,
            "next_attempt_at": None if wait_s is None else now + timedelta(seconds=wait_s),
            "leased_until": None,
        }
        coordinates: dict[str, Any] = {
            "cluster": row.cluster if row else self.cluster,
            "group_id": row.group_id if row else self.group_id,
            "topic": alert.topic,
            "partition": alert.partition,
            "offset": alert.offset,
            "handler": handler,
        }
        coordinates["generation"] = row.generation if row else _generation(coordinates, alert.raw)
        self._write(coordinates, fields, alert)
        self._tell(alert, fields, wait_s, again=_was_given_up(row))
        return Outcome("failed" if wait_s is None else "retry")

    def _write(self, coordinates: dict[str, Any], fields: dict[str, Any], alert: Alert) -> None:
        try:
            with transaction.atomic():
                DeadLetter.objects.update_or_create(**coordinates, defaults=fields)
        except (db.DataError, ValueError, UnicodeError) as error:
            if judge(error) is not Meaning.FAILURE:
                raise
            minimal: dict[str, Any] = {
                "stream": self.stream,
                "error": f"(what else was known could not be stored: {type(error).__name__})",
            }
            kept = ("state", "attempts", "next_attempt_at", "leased_until", "first_failed_at")
            minimal |= {name: fields[name] for name in (*kept, "error_class", "fingerprint", "raw")}
            DeadLetter.objects.update_or_create(**coordinates, defaults=minimal)

    def _tell(self, alert: Alert, fields: dict[str, Any], wait_s: float | None, *, again: bool) -> None:
        level, what = logging.ERROR, "is now a dead letter"
        if wait_s is not None:
            level, what = logging.WARNING, f"is tried again in {wait_s:.0f} s"
        elif again:  # told before, and to whoever replays it
            level, what = logging.INFO, "is still a dead letter"
        logger.log(
            level,
            "%s %s %s: %s: %s",
            self.stream, alert.coordinates, what, fields["error_class"], str(fields["error"]).partition("\n")[0][:300],
            extra=where(alert),
        )  # fmt: skip


def _generation(coordinates: dict[str, Any], raw: bytes | None) -> int:
    """Which of the letters with these coordinates is this alert's: one that nobody has settled keeps the alert it is of."""
    last = DeadLetter.objects.filter(**coordinates).order_by("-generation")
    found = last.values_list("generation", "state", "raw").first()
    if found is None:
        return 0
    generation, state, kept = found
    same = (None if kept is None else bytes(kept)) == raw
    return int(generation) if same or state not in UNSETTLED else int(generation) + 1


def _was_given_up(row: DeadLetter | None) -> bool:
    """Whether the alert comes out of a dead letter that is replayed, not out of one that waited for its next try."""
    return row is not None and row.state == DeadLetter.State.OPEN


#: Kind of outcome → how it is counted.
_COUNTED_AS = {"done": "done", "rejected": "rejected", "failed": "dead", "retry": "waiting"}


def _next_wait(outcome: Outcome, retry: RetrySettings, attempts: int, age_s: float) -> float | None:
    """Seconds until the next try, or None to give the alert up."""
    if never_again(outcome.error):
        return None
    if outcome.kind == "retry" and outcome.give_up_after_s is not None:
        return outcome.delay_s if age_s + outcome.delay_s <= outcome.give_up_after_s else None
    if attempts >= retry.total:
        return None
    return outcome.delay_s if outcome.kind == "retry" else retry.wait_s(attempts)


def _storable(outcome: Outcome) -> Outcome:
    """The answer of a handler as the tables take it: a handler may have put anything into it."""
    if outcome.kind not in ("rejected", "retry"):
        return outcome
    delay_s = (
        outcome.delay_s if isinstance(outcome.delay_s, (int, float)) and isfinite(outcome.delay_s) else _LONGEST_DELAY_S
    )
    given = outcome.code, outcome.object_id, outcome.delay_s
    plain = type(outcome.code) is type(outcome.object_id) is str
    code = clean(str(outcome.code or "unspecified"), 32 if outcome.kind == "rejected" else _ERROR_LENGTH)
    object_id = clean("" if outcome.object_id is None else str(outcome.object_id), 100)
    delay_s = min(max(0.0, delay_s), _LONGEST_DELAY_S)
    if plain and (code, object_id, delay_s) == given:  # nearly always: most alerts of a survey are rejected by rules
        return outcome
    return replace(outcome, code=code, object_id=object_id, delay_s=delay_s)


def _class_name(error: Exception | None) -> str:
    return type(error).__qualname__[:255] if error is not None else "RetryLater"


def _message(error: Exception | None, outcome: Outcome) -> str:
    if error is None:
        return outcome.code or "the handler asked for a later try"
    if isinstance(error, AlertStreamError):
        return text_of(error)
    return text_of(error) or "(no message)"
