"""Topic names and the keys of TOPIC_HANDLERS."""

from __future__ import annotations

import re

import pytest

from tom_alertstreams.topics import TopicKeys


@pytest.mark.parametrize(
    ("topic", "key"),
    [
        ("igwn.gwalert", "igwn.gwalert"),
        ("hermes.test", "hermes.*"),
        ("hermes.discovery", "hermes.*"),
        ("hermes.exact", "hermes.exact"),
        ("hermesX", "*"),
        ("sys.heartbeat", "*"),
        ("__consumer_offsets", None),
    ],
)
def test_exact_then_globs_in_order_then_everything(topic: str, key: str | None) -> None:
    assert TopicKeys(["*", "hermes.*", "herm*.test", "igwn.gwalert", "hermes.exact"]).match(topic) == key


def test_without_a_star_other_topics_belong_to_no_key() -> None:
    assert TopicKeys(["a.*", "b"]).match("c") is None


@pytest.mark.parametrize(
    ("key", "topic", "takes"),
    [
        ("hermes.*", "hermesX", True),
        ("gcn.classic.text.LVC*", "gcn.classic.text.LVC_INITIAL", True),
        ("gcn.classic.text.LVC*", "gcn.classic.text.LVEX", True),
        ("*.text", "gcn.text", True),
    ],
)
def test_as_1x_read_them(key: str, topic: str, takes: bool) -> None:
    keys = TopicKeys([key], prefix_regex=True)
    assert (keys.match(topic) == key) is takes


def test_glob_agrees() -> None:
    assert TopicKeys.glob_agrees("hermes.*", "hermes.test")
    assert not TopicKeys.glob_agrees("hermes.*", "hermesX")


@pytest.mark.parametrize("prefix_regex", [False, True])
@pytest.mark.parametrize(
    "keys", [["a.b"], ["a.*"], ["a?c"], ["lc_[0-9]*"], ["a.b", "x*"], ["*"], ["*", "a.*"], ["a(b)*"], ["a+*"]]
)
def test_what_is_subscribed_is_what_matches(keys: list[str], prefix_regex: bool) -> None:
    matcher = TopicKeys(keys, prefix_regex=prefix_regex)
    names = ["a.b", "aXb", "a.b.c", "abc", "lc_7", "lc_x", "x", "xy", "_a", "__a", "a(b)c", "a+c", "aac", "bac", "ab"]
    subscription = matcher.subscription()
    for name in names:
        subscribed = any(re.match(s, name) if s.startswith("^") else s == name for s in subscription)
        assert subscribed == (matcher.match(name) is not None), name


@pytest.mark.parametrize(
    ("key", "takes", "leaves"),
    [
        ("ztf_[!p]*", ["ztf_2026", "ztf_!"], ["ztf_public", "ztf_"]),
        ("ztf_[^p]*", ["ztf_2026"], ["ztf_public"]),
        ("a[0-9]", ["a1"], ["ab", "a[0-9]x"]),
        ("[]a]b", ["]b", "ab"], ["bb"]),
        ("[!]a]b", ["xb"], ["]b", "ab"]),
        # No class: what it is, it is literally.
        ("a[", ["a["], ["a"]),
        ("a[*", ["a[", "a[b"], ["ab"]),
        ("a[z-a]?", ["a[z-a]x"], ["az"]),
        ("a[!]", ["a[!]"], ["ab"]),
    ],
)
def test_classes_of_globs(key: str, takes: list[str], leaves: list[str]) -> None:
    keys = TopicKeys([key])
    assert [topic for topic in (*takes, *leaves) if keys.match(topic)] == takes
    [pattern] = keys.subscription()
    assert [topic for topic in (*takes, *leaves) if re.match(pattern, topic)] == takes


def test_patterns_are_posix() -> None:
    """librdkafka's ``\\d`` matches nothing."""
    for pattern in TopicKeys([r"lc_\d*", r"a\.b.*"], prefix_regex=True).subscription():
        assert "\\" not in pattern
