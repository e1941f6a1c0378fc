"""The ready-made handler: alerts of surveys, notices and messages become Targets with light curves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, TypeVar

from tom_alertstreams.alerts import Alert, Outcome
from tom_alertstreams.exceptions import AlertStreamError, PermanentError, RejectAlert, TransientError
from tom_alertstreams.handlers import batch_handler
from tom_alertstreams.logs import get_logger, where

from .matching import has_match_manager
from .options import IngestOptions
from .parsers import parse, plain_content
from .plan import Entry, Plan, judged, make_plan
from .reasons import reason_of
from .reports import TargetReport
from .writer import carry_out, still_holds

logger = get_logger(__name__)

#: What a batch says: the reports of each alert, or what became of the alert before there were any.
Reports = Sequence[Sequence[TargetReport] | Outcome]

Report = TypeVar("Report")


@dataclass(frozen=True)
class Judged:
    """A batch that is ready to be written."""

    #: How many there are.
    alerts: int
    entries: list[Entry]
    #: Place in the batch → what became of an alert before there was anything to write.
    decided: dict[int, Outcome]


#: Plans for one batch. The second is made with the locks in hand, so that others can hardly spoil a third.
_PLANS: Final = 3


@batch_handler(options=IngestOptions, cutouts=False)
def ingest_targets(alerts: list[Alert], *, options: IngestOptions) -> list[Outcome]:
    """Make and update Targets from packets of surveys, GCN notices, Hermes messages, and what FIELDS describes."""
    parse_alert = partial(parse, options=options)
    return ingest_reports([read(alert, parse_alert) for alert in alerts], alerts, options)


def read(alert: Alert, parse: Callable[[Alert], Report]) -> Report | Outcome:
    """What ``parse`` makes of an alert, or why it makes nothing of it. One that cannot be read fails alone."""
    try:
        return parse(alert)
    except RejectAlert as rejection:
        return Outcome.rejected(rejection.code, rejection.object_id, rejection.reason)
    except PermanentError as error:
        return Outcome.failed(error)
    except AlertStreamError:
        raise  # something outside is away: the batch waits
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
        return _unreadable(error)


def _unreadable(error: Exception) -> Outcome:
    failure = PermanentError(f"The alert cannot be read: {type(error).__name__}: {error}")
    failure.__cause__ = error
    return Outcome.failed(failure)


def ingest_reports(reports: Reports, alerts: Sequence[Alert], options: IngestOptions) -> list[Outcome]:
    """Apply the rules to the reports of a batch, match them to Targets, and write what they say.

    For handlers of one's own: call it inside the transaction of a ``@batch_handler``; or :func:`judge` in its ``prepare``
    and :func:`write_judged` inside.

    :param reports: for each alert its reports, or its Outcome where it is decided already.
    :returns: one Outcome per alert. An alert with several reports is done when one of them is. A report that cannot be
        stored is left out with a warning in the log; the alert fails where no other is left.
    """
    return write_judged(judge(reports, alerts, options), options)


def judge(reports: Reports, alerts: Sequence[Alert], options: IngestOptions) -> Judged:
    """Make the reports of a batch fit for a database, and apply the rules that need no look-up. Touches no database."""
    decided: dict[int, Outcome] = {}
    entries: list[Entry] = []
    for index, (alert, item) in enumerate(zip(alerts, reports, strict=True)):
        if isinstance(item, Outcome):
            decided[index] = item
            continue
        judgements = [_judged(index, alert, report, options) for report in item]
        fit = [judgement for judgement in judgements if isinstance(judgement, Entry)]
        failures = [judgement for judgement in judgements if isinstance(judgement, Outcome)]
        if failures and not fit:
            decided[index] = failures[0]
            continue
        for failure in failures:
            logger.warning(
                "%s, %s partition %d offset %d: one object of several is left out. %s",
                alert.stream, alert.topic, alert.partition, alert.offset, failure.error, extra=where(alert),
            )  # fmt: skip
        entries += fit
    return Judged(len(alerts), entries, decided)


def write_judged(judged: Judged, options: IngestOptions) -> list[Outcome]:
    """Match the reports to Targets and write what they say, inside the transaction of a ``@batch_handler``.

    :returns: one Outcome per alert.
    """
    entries = judged.entries
    for part in _parts(entries, options):
        carry_out(part, options)
    per_alert: dict[int, list[Outcome]] = {}
    for entry in entries:
        per_alert.setdefault(entry.index, []).append(_explained(entry, options))
    return [judged.decided.get(n) or _joined(per_alert.get(n, [])) for n in range(judged.alerts)]


def _judged(index: int, alert: Alert, report: TargetReport, options: IngestOptions) -> Entry | Outcome:
    """The entry of a report, or why it cannot be stored."""
    try:
        return judged(index, alert, report, options, plain_content(alert, options))
    except PermanentError as error:
        return Outcome.failed(error)
    except RecursionError as error:  # what a report carries along may be nested deeper than Python goes
        return _unreadable(error)


def _parts(entries: list[Entry], options: IngestOptions) -> Iterator[Plan]:
    """The plans of a batch, each made when the one before is carried out: one, or one for each report."""
    if not entries:
        return
    plan = _plan(entries, options)
    if len(plan.new) < 2 or not has_match_manager():
        yield plan
        return
    for entry in entries:  # the manager knows only what is in the database: one new name may be another one's spelling
        yield _plan([entry], options)


def _plan(entries: list[Entry], options: IngestOptions) -> Plan:
    """A plan that holds: made anew where others have come in between."""
    for _ in range(_PLANS):
        plan = make_plan(entries, options)
        if still_holds(plan, options):
            return plan
    raise TransientError("the Targets of these alerts are changed by others all the time", hint="They are tried again.")


def _explained(entry: Entry, options: IngestOptions) -> Outcome:
    """The outcome of one report, a rejection with what decided."""
    if entry.rejected is None:
        return entry.outcome
    content = plain_content(entry.alert, options)
    return replace(entry.outcome, reason=reason_of(entry.rejected, entry.report, content, options))


def _joined(outcomes: list[Outcome]) -> Outcome:
    """Of several reports of one alert: done if any is, else the first reason."""
    if not outcomes:
        return Outcome.rejected("unsupported")
    return next((outcome for outcome in outcomes if outcome.kind == "done"), outcomes[0])
