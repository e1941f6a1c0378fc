"""What makes a Target: the rules that each report is held against, one by one."""

from __future__ import annotations

from typing import Final

from .options import IngestOptions
from .reports import RejectCode, TargetReport

#: Nothing speaks against a Target.
SELECTED: Final = None
_SECONDS_A_DAY: Final = 86_400.0


def verdict(report: TargetReport, content: object, options: IngestOptions) -> str | None:
    """Why this report may not make a Target, or None where it may.

    :param content: of the alert, which FILTERS look into.
    :returns: a RejectCode, or the code of the first filter that refuses it.
    """
    if (code := verdict_of_alert(report, content, options)) is not None:
        return code
    return position_verdict(report, options) or _age_verdict(report, options) or _sky_verdict(report, options)


def verdict_of_alert(report: TargetReport, content: object, options: IngestOptions) -> str | None:
    """The same by the rules that need no more than every alert brings: neither position nor age of the object.

    They come first: where those have to be looked up, that is done for the survivors only.
    """
    create = options.create_for(report.kind)
    if create == "never" or (create == "rules" and not options.has_rules):
        return "no_rule"
    for condition in options.all_filters:
        if not condition.accepts(content):
            return condition.code
    return options.class_rule.verdict(report.classifications)


def position_verdict(report: TargetReport, options: IngestOptions) -> RejectCode | None:
    """Why a telescope could not be pointed with this report, or None."""
    if report.moving:
        return SELECTED if report.elements is not None else "unsupported"
    if not report.has_position:
        return "no_position"
    if report.position_error_deg is not None and report.position_error_deg > options.max_error_deg:
        return "large_error"
    return SELECTED


def age_days(report: TargetReport) -> float | None:
    """Days from the first detection of the object to this alert; None where one of them is not known."""
    if report.first_seen is None or report.time is None:
        return None
    return (report.time - report.first_seen).total_seconds() / _SECONDS_A_DAY


def _age_verdict(report: TargetReport, options: IngestOptions) -> RejectCode | None:
    if options.max_age_days is None:
        return SELECTED
    age = age_days(report)
    return "age" if age is not None and age > options.max_age_days else SELECTED


def _sky_verdict(report: TargetReport, options: IngestOptions) -> RejectCode | None:
    return SELECTED if options.sky is None or options.sky.accepts(report.ra, report.dec) else "sky"
