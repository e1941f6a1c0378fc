"""A STEP_CONFIG is looked through before anything runs, and all that is wrong with it is told at once."""

from __future__ import annotations

from typing import Any

import pytest

from apf_bridge.compat.consumers import KafkaConsumer
from apf_bridge.compat.core.config_keys import examine, examine_on_a_stream

from .parts import Step1, Step2

PARAMS = {"bootstrap.servers": "x", "group.id": "g"}
CONSUMER = {"CLASS": "apf.consumers.KafkaConsumer", "PARAMS": PARAMS, "TOPICS": ["a"]}
PRODUCER = {"CLASS": "apf.producers.KafkaProducer", "PARAMS": PARAMS, "TOPIC": "b", "SCHEMA_PATH": "b.avsc"}
DAILY = "apf.core.topic_management.DailyTopicStrategy"


class Own(KafkaConsumer):
    """With keys of its own, and a constructor as it was."""


class OwnConstructor(KafkaConsumer):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__({**config, "TOPICS": ["a"]})


def problems(**config: Any) -> str:
    return "\n".join(examine({"CONSUMER_CONFIG": CONSUMER, **config}).problems)


def unknown(**config: Any) -> str:
    return "\n".join(examine({"CONSUMER_CONFIG": CONSUMER, **config}).unknown)


def test_nothing_is_wrong() -> None:
    metrics = {
        "CLASS": "apf.metrics.KafkaMetricsProducer",
        "PARAMS": {"PARAMS": PARAMS, "TOPIC": "m"},
        "EXTRA_METRICS": ["candid", {"key": "oid", "alias": "id", "format": str}],
    }
    config = {"CONSUMER_CONFIG": CONSUMER, "PRODUCER_CONFIG": PRODUCER, "METRICS_CONFIG": metrics, "MODEL": "own"}
    found = examine(config)
    assert (found.problems, found.unknown) == ((), {})


def test_all_of_it_at_once() -> None:
    found = str(
        examine(
            {
                "CONSUMER_CONFIG": {"CLASS": "apf.consumers.KafkaConsumer", "PARAMS": {}, "TOPIC": "a"},
                "PRODUCER_CONFIG": {"CLASS": "apf.producers.KafkaProducer", "PARAMS": {"acks": 1}, "TOPICS": ["b"]},
                "METRICS_CONFIG": {"CLASS": "no.such.Sender", "EXTRA": 1},
                "COMMIT_ORDER": "first",
                "CONTRACT": 3,
                "METRIC_CONFIG": {},
            }
        )
    )
    for line in (
        "CONSUMER_CONFIG has no PARAMS.",
        "CONSUMER_CONFIG has no TOPICS or TOPIC_STRATEGY.",
        "CONSUMER_CONFIG['TOPIC'] is read by nobody.",
        "PRODUCER_CONFIG has no SCHEMA or SCHEMA_PATH.",
        "PRODUCER_CONFIG has no TOPIC or TOPIC_STRATEGY (TOPIC is [] where the step sets it).",
        "PRODUCER_CONFIG has no bootstrap.servers in PARAMS.",
        "PRODUCER_CONFIG['TOPICS'] is read by nobody.",
        "METRICS_CONFIG has no PARAMS.",
        "METRICS_CONFIG: CLASS 'no.such.Sender' cannot be imported: ModuleNotFoundError: No module named 'no'",
        "METRICS_CONFIG['EXTRA'] is read by nobody.",
        "COMMIT_ORDER is 'first'; write 'after_produce' or 'legacy'.",
        'CONTRACT is 3; write "1", "2" or "6".',
        "METRIC_CONFIG (is METRICS_CONFIG meant?) is read by nobody.",
    ):
        assert f"- {line}" in found


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("consumers.AVROFileConsumer", "DIRECTORY_PATH"),
        ("consumers.AVROInfiniteConsumer", "DIRECTORY_PATH"),
        ("consumers.CSVConsumer", "FILE_PATH"),
        ("consumers.JSONConsumer", "FILE_PATH"),
        ("consumers.KafkaConsumer", "PARAMS"),
        ("consumers.KafkaJsonConsumer", "TOPICS or TOPIC_STRATEGY"),
        ("consumers.KafkaSchemalessConsumer", "SCHEMA_PATH"),
        ("consumers.KafkaSchemalessRegistryConsumer", "SCHEMA_PATH"),
        ("consumers.TestConsumer", "PARAMS"),
    ],
)
def test_what_a_consumer_cannot_do_without(path: str, key: str) -> None:
    assert f"CONSUMER_CONFIG has no {key}." in problems(CONSUMER_CONFIG={"CLASS": f"apf.{path}", "FILEPATH": "x"})
    assert "FILEPATH" in unknown(CONSUMER_CONFIG={"CLASS": f"apf.{path}", "FILEPATH": "x"})  # as APF's docs have it


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("CSVProducer", "FILE_PATH"),
        ("JSONProducer", "FILE_PATH"),
        ("KafkaProducer", "SCHEMA or SCHEMA_PATH"),
        ("KafkaSchemalessProducer", "TOPIC or TOPIC_STRATEGY (TOPIC is [] where the step sets it)"),
    ],
)
def test_what_a_producer_cannot_do_without(path: str, key: str) -> None:
    assert f"PRODUCER_CONFIG has no {key}." in problems(PRODUCER_CONFIG={"CLASS": f"apf.producers.{path}"})


@pytest.mark.parametrize("section", ["CONSUMER_CONFIG", "PRODUCER_CONFIG", "METRICS_CONFIG"])
def test_a_section_that_is_no_dict(section: str) -> None:
    assert f"{section} is list; it is a dict." in problems(**{section: ["x"]})


@pytest.mark.parametrize("size", [0, "0", -1, "many", None, 1.5])
@pytest.mark.parametrize("key", ["consume.messages", "NUM_MESSAGES"])
def test_a_size_of_batches_that_is_none(key: str, size: Any) -> None:
    assert f"CONSUMER_CONFIG['{key}'] is {size!r}; it is a number above 0." in problems(
        CONSUMER_CONFIG={**CONSUMER, key: size}
    )
    assert problems(CONSUMER_CONFIG={**CONSUMER, key: "5"}) == ""


def test_a_topic_strategy() -> None:
    def told(strategy: Any) -> str:
        return problems(CONSUMER_CONFIG={**CONSUMER, "TOPICS": [], "TOPIC_STRATEGY": strategy})

    assert told({"CLASS": DAILY, "PARAMS": {"topic_format": "a_%s"}}) == ""
    assert "TOPIC_STRATEGY'] has no CLASS." in told({"PARAMS": {}})
    assert "TOPIC_STRATEGY'] is str; it is a dict." in told("daily")
    assert "unexpected keyword argument 'format'" in told({"CLASS": DAILY, "PARAMS": {"format": "a_%s"}})
    assert "cannot be imported" in told({"CLASS": "apf.core.topic_management.Weekly"})


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (7, "must be str or dict, not int: 7"),
        ({"alias": "a"}, "'key' in parameteres not found"),
        ({"key": "a", "format": "str"}, "'format' parameter must be a calleable"),  # as out of a YAML
        ({"key": "a", "alias": 1}, "'alias' parameter must be a string"),
    ],
)
def test_extra_metrics_that_cannot_be_read(item: Any, said: str) -> None:
    own = {"CLASS": "apf.metrics.LogfileMetricsProducer", "PARAMS": {}, "EXTRA_METRICS": ["candid", item]}
    assert f"METRICS_CONFIG['EXTRA_METRICS']: {said}" in problems(METRICS_CONFIG=own).replace(
        "An item of EXTRA_METRICS ", ""
    )


def test_a_class_whose_module_fails_as_it_is_imported(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_sender.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    assert "'broken_sender.Sender' cannot be imported: ZeroDivisionError" in problems(
        METRICS_CONFIG={"CLASS": "broken_sender.Sender", "PARAMS": {}}
    )


def test_a_step_that_sets_the_topic_itself() -> None:
    assert problems(PRODUCER_CONFIG={**PRODUCER, "TOPIC": []}) == ""
    assert "no TOPIC or TOPIC_STRATEGY" in problems(PRODUCER_CONFIG={**PRODUCER, "TOPIC": None})


def test_a_class_of_ones_own_may_have_keys_of_its_own() -> None:
    here = "tests.unit.apf_bridge.test_config_keys"
    own = {"CLASS": f"{here}.Own", "SURVEY": "LSST"}
    assert unknown(CONSUMER_CONFIG=own) == ""
    assert "has no PARAMS" in problems(CONSUMER_CONFIG=own)
    assert problems(CONSUMER_CONFIG={"CLASS": f"{here}.OwnConstructor"}) == ""


def test_a_step_of_1x_reads_from_kafka_where_no_class_is_named() -> None:
    config: dict[str, Any] = {"CONSUMER_CONFIG": {"TOPIC": "a"}, "METRICS_CONFIG": {"PARAMS": {"TOPICS": "m"}}}
    found = str(examine(config, Step1))
    for line in (
        "CONSUMER_CONFIG has no PARAMS.",
        "CONSUMER_CONFIG has no TOPICS or TOPIC_STRATEGY.",
        "CONSUMER_CONFIG['TOPIC'] is read by nobody.",
        "METRICS_CONFIG['PARAMS'] has no TOPIC or TOPIC_STRATEGY.",
    ):
        assert f"- {line}" in found
    assert examine(config, Step2).problems == ()
    assert "CONTRACT is 4" in str(examine({**config, "CONTRACT": 4}, Step1))
    assert examine({"CONSUMER_CONFIG": {}}, Step1).problems == ("CONSUMER_CONFIG is missing.",)


def test_on_a_stream_the_consumer_may_lack_what_it_needs_to_read() -> None:
    reading = {"CLASS": "apf.consumers.KafkaConsumer", "TOPIC": "a", "NUM_MESSAGES": 0}
    found = examine_on_a_stream(
        {"CONSUMER_CONFIG": reading, "PRODUCER_CONFIG": {**PRODUCER, "TOPIC": None}, "COMMIT_ORDER": "first"}
    )
    assert [problem.split(" is ")[0] for problem in found.problems[:2]] == [
        "COMMIT_ORDER",
        "CONSUMER_CONFIG['NUM_MESSAGES']",
    ]
    assert found.problems[2].startswith("PRODUCER_CONFIG has no TOPIC or TOPIC_STRATEGY")
    assert list(found.unknown) == ["CONSUMER_CONFIG['TOPIC']"]
    assert examine_on_a_stream({"CONSUMER_CONFIG": {"CLASS": "no.such.Consumer"}}).problems == ()
