"""What makes a Target: the rules that need no look-up."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from .options import UNWANTED_CLASSES, IngestOptions
from .reports import ClassificationReport, RejectCode, TargetReport

#: Nothing speaks against a Target.
SELECTED: Final = None


def verdict(report: TargetReport, content: object, options: IngestOptions) -> str | None:
    """Why this report may not make a Target, or None where it may.

    :param content: of the alert, which FILTERS look into.
    :returns: a RejectCode, or the code of the first filter that refuses it.
    """
    create = options.create_for(report.kind)
    if create == "never" or (create == "rules" and not options.has_rules):
        return "no_rule"
    if (code := position_verdict(report, options)) is not None:
        return code
    for condition in options.all_filters:
        if not condition.accepts(content):
            return condition.code
    return _class_verdict(report.classifications, options)


def position_verdict(report: TargetReport, options: IngestOptions) -> RejectCode | None:
    """Why a telescope could not be pointed with this report, or None."""
    if report.moving:
        return SELECTED if report.elements is not None else "unsupported"
    if not report.has_position:
        return "no_position"
    if report.position_error_deg is not None and report.position_error_deg > options.max_error_deg:
        return "large_error"
    return SELECTED


def _class_verdict(classifications: Iterable[ClassificationReport], options: IngestOptions) -> RejectCode | None:
    """Each classifier speaks through its most probable class; one that is wanted is enough."""
    best = most_probable(classifications)
    if not best:
        return "class" if options.classes or options.min_probability is not None else SELECTED
    wanted = [item for item in best if _is_wanted(item.class_name, options)]
    if not wanted:
        return "class"
    least = options.min_probability
    if least is not None and not any((item.probability or 0.0) >= least for item in wanted):
        return "probability"
    return SELECTED


def _is_wanted(class_name: str, options: IngestOptions) -> bool:
    return class_name in options.classes if options.classes else class_name.lower() not in UNWANTED_CLASSES


def most_probable(classifications: Iterable[ClassificationReport]) -> list[ClassificationReport]:
    """The first-ranked class of each classifier; by probability where there is no ranking."""
    best: dict[tuple[str, str], ClassificationReport] = {}
    for item in classifications:
        key = (item.classifier, item.version)
        if key not in best or _rank(item) < _rank(best[key]):
            best[key] = item
    return list(best.values())


def _rank(item: ClassificationReport) -> tuple[float, float]:
    return (item.ranking if item.ranking is not None else float("inf"), -(item.probability or 0.0))
