"""Results of a step become Targets, through the rules of ingest. Needs the TOM Toolkit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from django.utils.module_loading import import_string

from tom_alertstreams.alerts import Alert, Outcome
from tom_alertstreams.exceptions import ConfigurationError, PermanentError
from tom_alertstreams.handlers import build_options
from tom_alertstreams.ingest import write
from tom_alertstreams.ingest.options import IngestOptions
from tom_alertstreams.ingest.parsers import columns
from tom_alertstreams.ingest.reports import TargetReport

if TYPE_CHECKING:
    from .options import StepOptions


def check(options: StepOptions) -> None:
    """Build what makes Targets now rather than at the first alert.

    :raises ValueError: RESULT_HANDLER cannot be imported, FIELDS or RULES do not fit.
    """
    _rules(options)
    _handler(options)


def write_results(results: Sequence[Any], alerts: Sequence[Alert], options: StepOptions) -> list[Outcome]:
    """Make Targets of what a step returned for these alerts; one Outcome for each of them.

    An alert of which no result came is done: the step has dealt with it.
    """
    handler, rules = _handler(options), _rules(options)
    reports: list[list[TargetReport]] = [[] for _ in alerts]
    places = _Places(alerts)
    for index, result in enumerate(results):
        for report in _reports(handler(result)):
            reports[places.of(report, index if len(results) == len(alerts) else None)].append(report)
    return write([found or Outcome.done() for found in reports], alerts, rules)


def _rules(options: StepOptions) -> IngestOptions:
    given = dict(options.rules)
    if options.fields is not None:
        given["FIELDS"] = options.fields
    try:
        built: IngestOptions = build_options("RULES", IngestOptions, given)
    except ConfigurationError as error:
        raise ValueError(str(error)) from error
    return built


def _handler(options: StepOptions) -> Callable[[Any], Any]:
    if options.result_handler is None:
        return partial(_by_fields, _rules(options))
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


@dataclass(frozen=True)
class _Places:
    """Which alert of a batch a report came of."""

    alerts: Sequence[Alert]

    def of(self, report: TargetReport, index: int | None) -> int:
        """By its place where the step returned as much as it got; else the last alert that names the object; else the last."""
        if index is not None:
            return index
        for place in range(len(self.alerts) - 1, -1, -1):
            content = self.alerts[place].content
            if isinstance(content, Mapping) and any(str(value) == report.object_id for value in _ids(content)):
                return place
        return len(self.alerts) - 1


def _ids(content: Mapping[str, Any]) -> Iterable[Any]:
    return (value for value in content.values() if isinstance(value, (str, int)))
