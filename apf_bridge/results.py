"""Results of a step become Targets, through the rules of ingest. Needs the TOM Toolkit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from django.utils.module_loading import import_string

from tom_alertstreams.alerts import Alert, Outcome
from tom_alertstreams.exceptions import ConfigurationError, PermanentError, RejectAlert
from tom_alertstreams.handlers import build_options
from tom_alertstreams.ingest import write
from tom_alertstreams.ingest.options import IngestOptions
from tom_alertstreams.ingest.parsers import columns
from tom_alertstreams.ingest.reports import TargetReport

from .messages import records_of


class ResultOptions(Protocol):
    """What makes Targets of results."""

    @property
    def result_handler(self) -> str | None:
        """Dotted path of a function that makes TargetReports of a result."""

    @property
    def fields(self) -> Any:
        """In place of it, FIELDS of ingest."""

    @property
    def rules(self) -> Mapping[str, Any]:
        """Options of ingest_targets."""


def problems(options: ResultOptions) -> list[str]:
    """All that is wrong with them, found now rather than at the first alert."""
    found = []
    for part in (_rules, _imported_handler):
        try:
            part(options)
        except ValueError as error:
            found.append(str(error))
    return found


def write_results(results: Sequence[Any], alerts: Sequence[Alert], options: ResultOptions) -> list[Outcome]:
    """Make Targets of what a step returned for these alerts; one Outcome for each of them.

    An alert of which no result came is done: the step has dealt with it.
    """
    handler, rules = _handler(options), _rules(options)
    reports: list[list[TargetReport]] = [[] for _ in alerts]
    rejected: dict[int, Outcome] = {}
    places = _Places(alerts, len(results))
    for number, result in enumerate(results):
        try:
            for report in _reports(handler(result)):
                reports[places.of(number, report.alert_id, report.object_id)].append(report)
        except RejectAlert as rejection:
            outcome = Outcome.rejected(rejection.code, rejection.object_id, rejection.reason)
            rejected[places.of(number, rejection.object_id)] = outcome
    decided = [found or rejected.get(place) or Outcome.done() for place, found in enumerate(reports)]
    return write(decided, alerts, rules)


def _rules(options: ResultOptions) -> IngestOptions:
    given = dict(options.rules)
    if options.fields is not None:
        given["FIELDS"] = options.fields
    try:
        built: IngestOptions = build_options("RULES", IngestOptions, given)
    except ConfigurationError as error:
        raise ValueError(str(error)) from error
    return built


def _handler(options: ResultOptions) -> Callable[[Any], Any]:
    return _imported_handler(options) or partial(_by_fields, _rules(options))


def _imported_handler(options: ResultOptions) -> Callable[[Any], Any] | None:
    if options.result_handler is None:
        return None
    try:
        found = import_string(options.result_handler)
    except Exception as error:
        raise ValueError(
            f"RESULT_HANDLER {options.result_handler!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    if not callable(found):
        raise ValueError(f"RESULT_HANDLER {options.result_handler!r} is not a function.")
    return found  # type: ignore[no-any-return]


def _by_fields(rules: IngestOptions, result: Any) -> list[TargetReport]:
    return columns.parse(_NO_ALERT, result, rules)


def _reports(answer: Any) -> Iterable[TargetReport]:
    if answer is None:
        return ()
    found = (answer,) if isinstance(answer, TargetReport) else tuple(answer)
    if not all(isinstance(report, TargetReport) for report in found):
        raise PermanentError(
            "RESULT_HANDLER returned something else than TargetReports.",
            hint="It returns a TargetReport, a list of them, or None.",
        )
    return found


#: What FIELDS reads needs no more of an alert than the name of its stream.
_NO_ALERT = Alert("apf", "", 0, 0, None, (), None, None)


class _Places:
    """Which alert of a batch a report came of.

    :param results: how many results the step returned.
    """

    def __init__(self, alerts: Sequence[Alert], results: int) -> None:
        self._last = len(alerts) - 1
        self._naming: dict[str, list[int]] = {}
        places = []
        for place, alert in enumerate(alerts):
            records = records_of(alert.content) or ()
            places += [place] * len(records)
            for name in {
                str(value) for record in records for value in record.values() if isinstance(value, (str, int))
            }:
                self._naming.setdefault(name, []).append(place)
        #: Number of a result → place of an alert; empty where a step returned more or less than it got.
        self._by_number = places if len(places) == results else []

    def of(self, number: int, *ids: str) -> int:
        """The alert that names the first of these ids that any names: the one at the result's place, else the last.

        Where no alert names any: the one at the result's place, else the last of all.
        """
        same = self._by_number[number] if self._by_number else self._last
        for name in ids:
            if name and (naming := self._naming.get(name)):
                return same if same in naming else naming[-1]
        return same
