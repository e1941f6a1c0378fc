"""Why an alert made no Target, in words: for people who try an alert out. Decides nothing, and nothing of it is stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .options import IngestOptions
from .reports import ClassificationReport, RejectCode, TargetReport
from .rules import most_probable

#: What each code means.
MEANINGS: Final[Mapping[RejectCode, str]] = {
    "limit": "it would make a Target beyond MAX_NEW_PER_DAY",
    "nonlocalised": "it is of a gravitational wave: a sky map and no position",
    "test": "it is a test, an injection, or about something planned",
    "retracted": "it is of an event that was withdrawn before",
    "no_position": "it has no position",
    "large_error": "its position error is above MAX_ERROR_DEG",
    "no_rule": "it is of an unknown object, and no rule makes a Target of it",
    "class": "it has no class that is wanted",
    "probability": "its probability is below MIN_PROBABILITY, or it has none",
    "filter": "it fails a filter, or MIN_RB",
    "sky": "(not used yet)",
    "age": "(not used yet)",
    "unsupported": "it is of a format or kind that is not read",
}


def reason_of(code: str, report: TargetReport, content: object, options: IngestOptions) -> str:
    """What decided, with the values that did; empty where the code says it all.

    :param code: what the rules have decided of this report.
    :param content: of the alert, which FILTERS look into.
    """
    if code == "no_rule":
        return _no_rule(report, options)
    if code == "large_error":
        return f"its position error is {report.position_error_deg:g} degrees, and MAX_ERROR_DEG is {options.max_error_deg:g}"
    if code in ("class", "probability"):
        return _classes(report, options)
    if code == "limit":
        return f"that many Targets were made within 24 hours: {options.max_new_per_day}"
    refusing = next((f for f in options.all_filters if f.code == code and not f.accepts(content)), None)
    return refusing.why_not(content) if refusing is not None else ""


def _no_rule(report: TargetReport, options: IngestOptions) -> str:
    if options.create_for(report.kind) == "never":
        return "CREATE is never: known Targets are updated and no new ones are made"
    return "there is no rule: set FILTERS, CLASSES, MIN_PROBABILITY or MIN_RB, or CREATE to always"


def _classes(report: TargetReport, options: IngestOptions) -> str:
    best = most_probable(report.classifications)
    wanted = []
    if options.classes:
        wanted.append(f"CLASSES is {', '.join(options.classes)}")
    if options.min_probability is not None:
        wanted.append(f"MIN_PROBABILITY is {options.min_probability:g}")
    found = f"its most probable class is {', '.join(map(_in_words, best))}" if best else "it has no class"
    return f"{found}; {' and '.join(wanted)}" if wanted else f"{found}, which makes a Target only if CLASSES names it"


def _in_words(item: ClassificationReport) -> str:
    probability = "without a probability" if item.probability is None else f"with probability {item.probability:g}"
    return f"{item.class_name} {probability} ({item.classifier})"
