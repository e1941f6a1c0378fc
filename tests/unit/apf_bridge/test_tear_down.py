"""``tear_down`` as ALeRCE's steps write it: it lets go of whatever consumer and producer it has, by their ``__del__``."""

from __future__ import annotations

import csv
import json
import logging
from pathlib import Path
from typing import Any, Final

import fastavro
import pytest

from apf_bridge.compat.consumers import KafkaConsumer
from apf_bridge.compat.core.parts import make_step
from apf_bridge.compat.core.step import GenericStep
from apf_bridge.step_host import StepHost

from .parts import config

OUTPUT: Final = [{"n": 1}, {"n": 2}]


class LetsGo(GenericStep):
    """Puts out what it has kept, and lets go then."""

    def __init__(self, config: Any, level: int = logging.INFO, **step_args: Any) -> None:
        super().__init__(config=config, level=level, **step_args)
        self.kept: list[Any] = []

    def execute(self, messages: Any) -> Any:
        self.kept += [{"n": int(message["n"]) + 1} for message in messages]
        return [{"n": int(message["n"])} for message in messages]

    def tear_down(self) -> None:
        for one in self.kept:
            self.producer.produce(one)
        if isinstance(self.consumer, KafkaConsumer):
            self.consumer.teardown()
        else:
            self.consumer.__del__()
        self.producer.__del__()


class TearsDown(LetsGo):
    """Knows no other consumer than Kafka's."""

    def tear_down(self) -> None:
        self.consumer.teardown()


@pytest.fixture
def consumers(tmp_path: Path) -> dict[str, dict[str, Any]]:
    """Of one message each."""
    (tmp_path / "in.json").write_text('[{"n": 1}]')
    (tmp_path / "in.csv").write_text("n\n1\n")
    with (tmp_path / "in.avro").open("wb") as file:
        schema = {"type": "record", "name": "alert", "fields": [{"name": "n", "type": "long"}]}
        fastavro.writer(file, schema, [{"n": 1}])
    return {
        "JSONConsumer": {"FILE_PATH": "in.json"},
        "CSVConsumer": {"FILE_PATH": "in.csv"},
        "AVROFileConsumer": {"DIRECTORY_PATH": "."},
        "TestConsumer": {"PARAMS": {"input_path": "in.json"}},
    }


def read_csv() -> list[Any]:
    with Path("out.csv").open(newline="") as file:
        return [{"n": int(row["n"])} for row in csv.DictReader(file)]


@pytest.mark.parametrize("consumer", ["JSONConsumer", "CSVConsumer", "AVROFileConsumer", "TestConsumer"])
@pytest.mark.parametrize("producer", ["producers.CSVProducer", "producers.JSONProducer", "core.step.DefaultProducer"])
def test_from_files_to_files(consumers: dict[str, dict[str, Any]], consumer: str, producer: str) -> None:
    given = {
        "CONSUMER_CONFIG": {"CLASS": f"apf.consumers.{consumer}", **consumers[consumer]},
        "PRODUCER_CONFIG": {
            "CLASS": f"apf.{producer}", "FILE_PATH": "out.csv" if "CSV" in producer else "out", "buffer_size": 9
        },
    }  # fmt: skip
    make_step(LetsGo, given).start()
    assert Path("__SUCCESS__").exists()
    if "CSV" in producer:
        assert read_csv() == OUTPUT
    elif "JSON" in producer:
        assert json.loads(Path("out/producer_output0.json").read_text()) == OUTPUT


def test_the_producer_for_tests() -> None:
    given = config([{"n": 1}], PRODUCER_CONFIG={"CLASS": "apf.producers.TestProducer"})
    step = make_step(LetsGo, given)
    step.start()
    assert step.producer.pre_produce_message == OUTPUT


@pytest.mark.parametrize("step_class", [LetsGo, TearsDown])
def test_on_a_stream(step_class: Any, caplog: pytest.LogCaptureFixture) -> None:
    given = config(PRODUCER_CONFIG={"CLASS": "apf.producers.TestProducer"}, METRICS_CONFIG={})
    host = StepHost(step_class, "own.Step", given, None, "stream")
    host.begin()
    host.close()
    assert "failed" not in caplog.text
