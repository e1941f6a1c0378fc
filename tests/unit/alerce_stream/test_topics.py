"""Which topics a key stands for."""

from __future__ import annotations

import re

import pytest

from alerce_stream.topics import DailyTopicKeys, classifier_of
from tom_alertstreams.exceptions import ConfigurationError


@pytest.mark.parametrize(
    ("topic", "key"),
    [
        ("lc_classifier_20261101", "lc_classifier"),
        ("lc_classifier_ztf_20261101", "lc_classifier_ztf"),
        ("lc_classifier_balto_20261101", None),
        ("lc_classifier_2026110", None),
        ("lc_classifier_202611012", None),
        ("xlc_classifier_20261101", None),
        ("stamp_classifier_20261101", "stamp_classifier"),
        ("stamp_classifier_20261102", "stamp_classifier_20261102"),
        ("rubin_stamp_classifier", "rubin_stamp_classifier"),
        ("rubin_stamp_classifier_beta", None),
        ("atlas_20261101", "at*"),
        ("a.b_20261101", "a.b"),
        ("axb_20261101", None),
    ],
)
def test_topic_to_key(topic: str, key: str | None) -> None:
    keys = DailyTopicKeys(
        ["at*", "lc_classifier", "lc_classifier_ztf", "stamp_classifier", "stamp_classifier_20261102",
         "rubin_stamp_classifier", "a.b"]
    )  # fmt: skip
    assert keys.match(topic) == key
    subscribed = any(re.match(pattern, topic) for pattern in keys.subscription())
    assert subscribed == (key is not None)


def test_a_prefix_wins_over_a_glob() -> None:
    keys = DailyTopicKeys(["*", "lc_*", "lc_classifier"])
    assert keys.keys == ("*", "lc_*", "lc_classifier")
    assert keys.match("lc_classifier_20261101") == "lc_classifier"
    assert keys.match("lc_classifier_ztf_20261101") == "lc_*"
    assert keys.match("stamp_classifier_20261101") == "*"
    assert keys.match("__consumer_offsets") is None


def test_patterns_are_posix() -> None:
    assert DailyTopicKeys(["lc_classifier"]).subscription() == ["^lc_classifier(_[0-9]{8})?$"]


@pytest.mark.parametrize(
    ("key", "instead"),
    [
        (r"lc_classifier_\d{8}", "'lc_classifier'"),
        (r"^lc_classifier_\d+$", "'lc_classifier'"),
        (r"\d{8}", "one key for each classifier"),
        ("^lc_classifier_[0-9]{8}$", "'lc_classifier'"),
        ("lc_classifier_.*", "'lc_classifier'"),
        ("^lc_classifier", "'lc_classifier'"),
        ("lc_classifier_", "'lc_classifier'"),
        ("lc_classifier_%s", "'lc_classifier'"),
        ("^(lc|stamp)_classifier_[0-9]{8}$", "one key for each classifier"),
        ("stamp classifier", "one key for each classifier"),
        ("", "one key for each classifier"),
    ],
)
def test_a_regular_expression_is_refused_with_what_to_write(key: str, instead: str) -> None:
    r"""Brokers' regular expressions are POSIX: ``\d`` matches nothing there, and nobody would tell."""
    with pytest.raises(ConfigurationError, match="would match no topic") as caught:
        DailyTopicKeys(["stamp_classifier", key])
    assert instead in (caught.value.hint or "")


@pytest.mark.parametrize("key", ["lc_classifier", "lc_*", "*", "lc_classifier_2026110[1-3]", "[!_]*", "a.b", "a-b?"])
def test_prefixes_names_and_globs_are_keys(key: str) -> None:
    assert DailyTopicKeys([key]).keys == (key,)


@pytest.mark.parametrize("topic", ["lc_classifier_20261231", "lc_classifier_20270101", "lc_classifier_20280229"])
def test_no_date_is_computed(topic: str) -> None:
    assert DailyTopicKeys(["lc_classifier"]).match(topic) == "lc_classifier"


def test_the_newest_day_is_shown_first() -> None:
    topics = ["lc_classifier_20261231", "lc_classifier", "lc_classifier_20270102", "lc_classifier_20270101"]
    shown = ["lc_classifier_20270102", "lc_classifier_20270101", "lc_classifier_20261231", "lc_classifier"]
    assert DailyTopicKeys(["lc_classifier"]).in_order(topics) == shown


def test_classifier_of() -> None:
    assert classifier_of("lc_classifier_ztf_20261101") == "lc_classifier_ztf"
    assert classifier_of("rubin_stamp_classifier") == "rubin_stamp_classifier"
