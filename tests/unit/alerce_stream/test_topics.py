"""Which topics a key stands for."""

from __future__ import annotations

import re

import pytest

from alerce_stream.topics import DailyTopicKeys, classifier_of


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


def test_classifier_of() -> None:
    assert classifier_of("lc_classifier_ztf_20261101") == "lc_classifier_ztf"
    assert classifier_of("rubin_stamp_classifier") == "rubin_stamp_classifier"
