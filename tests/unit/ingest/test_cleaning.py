"""What is clean is not copied; what is not is found wherever it is."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tom_alertstreams.ingest.cleaning import clean_json, cleaned
from tom_alertstreams.ingest.reports import ClassificationReport, TargetReport

FEATURES = {"W1-W2": 0.5, "Power_rate_1/2": None, "hierarchical": {"top": {"SN": 0.5, "AGN": 0.5}, "children": {}}}


@pytest.mark.parametrize(
    ("value", "clean"),
    [
        ({"a": math.nan, "b": 1.0}, {"a": None, "b": 1.0}),
        ({"a": math.inf, "b": -math.inf}, {"a": None, "b": None}),
        ({"a": 1e308, "b": 1e308}, {"a": 1e308, "b": 1e308}),
        ({"a": {"b": {"c": math.nan}}}, {"a": {"b": {"c": None}}}),
        ({"a\x00": 1.0}, {"a": 1.0}),
        ({"a": {"b\ud800": 1.0}}, {"a": {"b?": 1.0}}),
        ({1: 1.0}, {"1": 1.0}),
        ({"a": b"bytes", "b": "x\x00", "c": True, "d": (1, 2.0)}, {"a": None, "b": "x", "c": True, "d": [1, 2.0]}),
    ],
)  # fmt: skip
def test_what_no_database_stores_is_replaced(value: Any, clean: Any) -> None:
    assert clean_json(value) == clean


def test_a_clean_report_is_not_copied() -> None:
    items = tuple(
        ClassificationReport("lc", name, 0.5, features=FEATURES if name == "SN" else {}) for name in ("SN", "AGN")
    )
    report = TargetReport("ZTF26aaaaaaa", "survey", 10.0, 20.0, classifications=items)
    assert cleaned(report) is report


@pytest.mark.parametrize(
    ("item", "clean"),
    [
        (ClassificationReport("lc\x00", "SN"), ClassificationReport("lc", "SN")),
        (ClassificationReport("lc", "S" * 101), ClassificationReport("lc", "S" * 100)),
        (ClassificationReport("lc", "SN", version="1" * 51), ClassificationReport("lc", "SN", version="1" * 50)),
        (ClassificationReport("lc", "SN\ud800"), ClassificationReport("lc", "SN?")),
        (ClassificationReport("lc", "SN", math.nan), ClassificationReport("lc", "SN", None)),
        (ClassificationReport("lc", "SN", features={"a": math.nan}), ClassificationReport("lc", "SN", features={"a": None})),
    ],
)  # fmt: skip
def test_a_classification_is_made_fit(item: ClassificationReport, clean: ClassificationReport) -> None:
    other = ClassificationReport("lc", "AGN", 0.5)
    report = cleaned(TargetReport("ZTF26aaaaaaa", "survey", 10.0, 20.0, classifications=(item, other)))
    assert report.classifications == (clean, other)


def test_a_whole_number_for_a_probability_becomes_a_float() -> None:
    report = TargetReport("ZTF26aaaaaaa", "survey", 10.0, 20.0, classifications=(ClassificationReport("lc", "SN", 1),))
    assert type(cleaned(report).classifications[0].probability) is float
