"""Rejections in words."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any, get_args

import pytest

from tom_alertstreams.ingest.options import IngestOptions
from tom_alertstreams.ingest.reasons import MEANINGS, reason_of
from tom_alertstreams.ingest.reports import ClassificationReport, RejectCode, TargetReport

SN = ClassificationReport("stamp", "SN", 0.6)
BOGUS = ClassificationReport("stamp", "bogus", 0.8)


def test_every_code_has_a_meaning() -> None:
    assert set(MEANINGS) == set(get_args(RejectCode))


@pytest.mark.parametrize(
    ("code", "classes", "options", "words"),
    [
        ("probability", [SN], {"min_probability": 0.8}, "SN has 0.6 (stamp), and MIN_PROBABILITY asks for 0.8 of SN"),
        (
            "probability",
            [SN, ClassificationReport("lc", "AGN"), ClassificationReport("other", "VS", 0.9)],
            {"min_probability": {"SN": 0.7, "AGN": 0.9}},
            "SN has 0.6 (stamp), and MIN_PROBABILITY asks for 0.7 of SN; "
            "AGN has no probability (lc), and MIN_PROBABILITY asks for 0.9 of AGN",
        ),
        ("class", [BOGUS], {"min_probability": 0.1}, "which makes a Target only if CLASSES names it"),
        ("class", [SN], {"min_probability": {"AGN": 0.9}}, "0.6 (stamp); MIN_PROBABILITY names AGN"),
        (
            "class",
            [],
            {"classifiers": ["a*"], "min_probability": {"SN": 0.5, "AGN": 0.9}},
            "no class; CLASSIFIERS is a* and MIN_PROBABILITY names SN, AGN",
        ),
        ("class", [SN], {"classifiers": ["lc*", "x"]}, "it is classified by stamp; CLASSIFIERS is lc*, x"),
        ("class", [SN], {"classes": ["AGN"]}, "SN with probability 0.6 (stamp); CLASSES is AGN"),
        ("class", [BOGUS], {"create": "always"}, "which makes a Target only if CLASSES names it"),
        (
            "class",
            [],
            {"classes": ["SN"], "min_probability": 0.5},
            "no class; CLASSES is SN and MIN_PROBABILITY is 0.5",
        ),
    ],
)
def test_classes(code: RejectCode, classes: list[ClassificationReport], options: dict[str, Any], words: str) -> None:
    report = TargetReport("ZTF26aaaaaaa", "survey", ra=1.0, dec=2.0, classifications=tuple(classes))
    assert words in reason_of(code, report, {}, IngestOptions(**options))


def test_the_first_filter_that_fails_is_told_and_long_values_are_cut() -> None:
    filters = [{"field": "a", "op": "==", "value": 1}, {"field": "b", "op": "==", "value": 1}]
    report = TargetReport("ZTF26aaaaaaa", "survey", ra=1.0, dec=2.0)
    words = reason_of("filter", report, {"a": 1, "b": "x" * 1000}, IngestOptions(filters=filters))
    assert words.startswith("b is 'xxx")
    assert words.endswith("…, and a filter asks for b == 1")


def test_a_filter_with_a_code_of_its_own_is_told() -> None:
    filters = [{"field": "a", "op": "==", "value": 1}, {"field": "b", "op": ">", "value": 1, "code": "faint"}]
    report = TargetReport("ZTF26aaaaaaa", "survey", ra=1.0, dec=2.0)
    words = reason_of("faint", report, {"a": 1, "b": 0.5}, IngestOptions(filters=filters))
    assert words == "b is 0.5, and a filter asks for b > 1"


def test_large_error() -> None:
    report = TargetReport("GRB", "notice", ra=1.0, dec=2.0, position_error_deg=11.19)
    assert "11.19 degrees, and MAX_ERROR_DEG is 1" in reason_of("large_error", report, {}, IngestOptions())


def test_age() -> None:
    first = datetime(2026, 10, 1, 6, 30, tzinfo=timezone.utc)
    report = TargetReport("x", "survey", ra=1.0, dec=2.0, time=first + timedelta(days=31.25), first_seen=first)
    words = reason_of("age", report, {}, IngestOptions(max_age_days=10))
    assert words == "it was first seen on 2026-10-01 06:30 UTC, 31.2 days before this alert, and MAX_AGE_DAYS is 10"


def test_sky() -> None:
    report = TargetReport("x", "survey", ra=1.0, dec=2.0)
    words = reason_of("sky", report, {}, IngestOptions(sky={"dec": [10, 20]}))
    assert words == "its declination is 2 degrees, and SKY asks for 10 to 20"


def test_codes_that_say_it_all() -> None:
    assert reason_of("no_position", TargetReport("x", "survey"), {}, IngestOptions()) == ""
