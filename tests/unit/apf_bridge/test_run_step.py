"""A step as a process of its own, without Django."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from apf_bridge.compat.core.config_keys import examine
from tests.brokers import ScriptedBroker
from tests.brokers.scripted import read

from .test_install import python

STEP = """
from apf.core.step import GenericStep

class Doubles(GenericStep):
    def __init__(self, config, level=20, **step_args):
        super().__init__(config=config, level=level, **step_args)
        self.set_producer_key_field("id")

    def execute(self, messages):
        return [{"id": message["id"], "n": 2 * message["n"]} for message in messages]
"""


def run(folder: Path, config: dict[str, Any], *options: str, step: str = STEP) -> Any:
    (folder / "own").mkdir()
    (folder / "own" / "__init__.py").write_text("")
    (folder / "own" / "step.py").write_text(step)
    (folder / "settings.py").write_text(f"STEP_CONFIG = {config!r}\n")
    return python("-m", "apf_bridge.run_step", "settings.py", *(options or ("--class", "own.step.Doubles")), cwd=folder)


def test_from_kafka_to_kafka(broker: ScriptedBroker, topic: str, group_id: str, tmp_path: Path) -> None:
    out = f"{topic}-out"
    for name in (topic, out):
        broker.create_topic(name)
    for n in range(5):
        broker.produce(topic, json.dumps({"id": 2454460970015010006 + n, "n": n}))
    broker.flush()
    own = {"bootstrap.servers": broker.bootstrap_servers}
    fields = [{"name": "id", "type": "long"}, {"name": "n", "type": "long"}]
    reading = {**own, "group.id": group_id, **broker.CONSUMER_CONFIG}
    config = {
        "CONSUMER_CONFIG": {
            "CLASS": "apf.consumers.KafkaJsonConsumer",
            "PARAMS": {**reading, "auto.offset.reset": "earliest", "enable.partition.eof": True},
            "TOPICS": [topic],
            "NUM_MESSAGES": 2,
            "TIMEOUT": 1,
        },
        "PRODUCER_CONFIG": {
            "CLASS": "apf.producers.KafkaSchemalessProducer",
            "PARAMS": own,
            "TOPIC": out,
            "SCHEMA": {"type": "record", "name": "out", "fields": fields},
        },
    }
    done = run(tmp_path, config)
    assert done.returncode == 0, done.stderr
    assert "Doubles (contract 6.x): 5 messages in 3 batches" in done.stdout
    assert {message.key() for message in read(broker.bootstrap_servers, out, 5)} == {
        str(2454460970015010006 + n).encode() for n in range(5)
    }


def test_a_failure_names_the_stage(tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text('[{"id": 1}]')
    config = {"CONSUMER_CONFIG": {"CLASS": "apf.consumers.JSONConsumer", "FILE_PATH": "in.json"}}
    done = run(tmp_path, config)
    assert done.returncode == 1
    assert "Failed in execute: KeyError: 'n'" in done.stderr
    assert "comes again" in done.stderr


def test_all_that_is_wrong_is_listed_at_once(tmp_path: Path) -> None:
    config = {
        "CONSUMER_CONFIG": {"CLASS": "apf.consumers.KafkaConsumer", "TOPIC": "a"},
        "PRODUCER_CONFIG": {"CLASS": "apf.producers.NoSuch"},
        "COMMIT_ORDER": "first",
    }
    done = run(tmp_path, config, "--class", "own.step.Absent")
    assert done.returncode == 2
    for text in ("no PARAMS", "TOPICS or TOPIC_STRATEGY", "NoSuch", "COMMIT_ORDER", "has no Absent", "['TOPIC']"):
        assert text in done.stderr


@pytest.mark.parametrize("key", ["CONSUMER_CONFIG", "PRODUCER_CONFIG"])
def test_a_missing_class_is_no_silent_nothing(tmp_path: Path, key: str) -> None:
    (tmp_path / "in.json").write_text("[]")
    config = {"CONSUMER_CONFIG": {"CLASS": "apf.consumers.JSONConsumer", "FILE_PATH": "in.json"}, key: {"any": 1}}
    done = run(tmp_path, config)
    assert done.returncode == 2
    assert f"{key} has no CLASS" in done.stderr


def test_no_settings(tmp_path: Path) -> None:
    done = run(tmp_path, {}, "--class", "own.step.Doubles")
    assert (done.returncode, "CONSUMER_CONFIG is missing" in done.stderr) == (2, True)


def test_a_name_that_is_nearly_one_of_ours() -> None:
    assert "is METRICS_CONFIG meant?" in str(examine({"CONSUMER_CONFIG": {"a": 1}, "METRIC_CONFIG": {}}))
