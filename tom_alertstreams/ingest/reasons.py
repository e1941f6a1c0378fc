"""Why an alert made no Target, in words: for people who try an alert out. Decides nothing, and nothing of it is stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from .class_rule import most_probable
from .options import RULES, IngestOptions
from .reports import ClassificationReport, RejectCode, TargetReport
from .rules import age_days

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
    "sky": "its object is outside of SKY",
    "age": "its object was first seen more than MAX_AGE_DAYS before",
    "unsupported": "it is of a format or kind that is not read",
}


#: With the code that no rule gives.
_WORDS: Final[Mapping[str, str]] = {
    **{str(code): meaning for code, meaning in MEANINGS.items()},
    "error": "its handler failed to the end, and ON_ERROR of its topic is reject",
}


def in_words(code: str) -> str:
    """What a code means; a handler of this TOM's own may have one of its own."""
    if not code:
        return "its handler gives no reason"
    return _WORDS.get(code, f"its handler says {code!r}")


def reason_of(code: str, report: TargetReport, content: object, options: IngestOptions) -> str:
    """What decided, with the values that did; empty where the code says it all.

    :param code: what the rules have decided of this report.
    :param content: of the alert, which FILTERS look into.
    """
    if code == "no_rule":
        return _no_rule(report, options)
    if code == "large_error":
        return f"its position error is {report.position_error_deg:g} degrees, and MAX_ERROR_DEG is {options.max_error_deg:g}"
    if code == "class":
        return _class(report, options)
    if code == "probability":
        return _probability(report, options)
    if code == "age":
        return _age(report, options)
    if code == "sky" and options.sky is not None:
        return str(options.sky.why_not(report.ra, report.dec))
    if code == "limit":
        return f"that many Targets were made within 24 hours: {options.max_new_per_day}"
    refusing = next((f for f in options.all_filters if f.code == code and not f.accepts(content)), None)
    return refusing.why_not(content) if refusing is not None else ""


def _no_rule(report: TargetReport, options: IngestOptions) -> str:
    if options.create_for(report.kind) == "never":
        return "CREATE is never: known Targets are updated and no new ones are made"
    return f"there is no rule: set {RULES}, or CREATE to always"


def _class(report: TargetReport, options: IngestOptions) -> str:
    rule, best = options.class_rule, options.class_rule.best(report.classifications)
    if best:
        found = f"its most probable class is {', '.join(map(_named, best))}"
        if not rule.named:
            return f"{found}, which makes a Target only if CLASSES names it"
        return f"{found}; {'CLASSES is' if options.classes else 'MIN_PROBABILITY names'} {', '.join(rule.named)}"
    others = [item.classifier for item in most_probable(report.classifications)]
    if others:
        return f"it is classified by {', '.join(others)}; CLASSIFIERS is {', '.join(rule.classifiers)}"
    return f"it has no class; {' and '.join(_asked(options))}"


def _asked(options: IngestOptions) -> Iterator[str]:
    """What is asked of classes."""
    for option in ("classes", "classifiers"):
        if names := getattr(options, option):
            yield f"{option.upper()} is {', '.join(names)}"
    least = options.min_probability
    if isinstance(least, Mapping):
        yield f"MIN_PROBABILITY names {', '.join(least)}"
    elif least is not None:
        yield f"MIN_PROBABILITY is {least:g}"


def _probability(report: TargetReport, options: IngestOptions) -> str:
    rule = options.class_rule
    unsure = [item for item in rule.best(report.classifications) if rule.is_wanted(item.class_name)]
    return "; ".join(
        f"{_in_words(item)}, and MIN_PROBABILITY asks for {rule.least(item.class_name):g} of {item.class_name}"
        for item in unsure
    )


def _age(report: TargetReport, options: IngestOptions) -> str:
    age = age_days(report)
    if age is None or report.first_seen is None:
        return ""
    first = f"{report.first_seen:%Y-%m-%d %H:%M} UTC"
    return (
        f"it was first seen on {first}, {age:.1f} days before this alert, and MAX_AGE_DAYS is {options.max_age_days:g}"
    )


def _named(item: ClassificationReport) -> str:
    probability = "without a probability" if item.probability is None else f"with probability {item.probability:g}"
    return f"{item.class_name} {probability} ({item.classifier})"


def _in_words(item: ClassificationReport) -> str:
    has = "no probability" if item.probability is None else f"{item.probability:g}"
    return f"{item.class_name} has {has} ({item.classifier})"
