"""A step as a process of its own, without Django."""

from __future__ import annotations

import csv
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka import Consumer, TopicPartition

from apf_bridge.compat.core.config_keys import examine
from apf_bridge.step_config import named
from tests.brokers import ScriptedBroker
from tests.brokers.scripted import read
from tests.processes import wait_until

from .test_install import ROOT, python

STEP = """
from apf.core.step import GenericStep

class Doubles(GenericStep):
    def __init__(self, config, level=20, **step_args):
        super().__init__(config=config, level=level, **step_args)
        self.set_producer_key_field("id")

    def execute(self, messages):
        return [{"id": message["id"], "n": 2 * message["n"]} for message in messages]
"""


def written(folder: Path, config: dict[str, Any], step: str = STEP, **settings: Any) -> None:
    """A step's package and its settings.py."""
    (folder / "own").mkdir()
    (folder / "own" / "__init__.py").write_text("")
    (folder / "own" / "step.py").write_text(step)
    names = {"STEP_CONFIG": config, **settings}
    (folder / "settings.py").write_text("".join(f"{name} = {value!r}\n" for name, value in names.items()))


def run(folder: Path, config: dict[str, Any], *options: str, step: str = STEP, **settings: Any) -> Any:
    written(folder, config, step, **settings)
    return python("-m", "apf_bridge.run_step", "settings.py", *(options or ("--class", "own.step.Doubles")), cwd=folder)


@contextmanager
def running(folder: Path, step: str) -> Iterator[subprocess.Popen[bytes]]:
    """``apf-run-step`` in a folder that was :func:`written`; its output is in log.txt."""
    command = [sys.executable, "-m", "apf_bridge.run_step", "settings.py", "--class", f"own.step.{step}"]
    with (folder / "log.txt").open("ab") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, env={"PYTHONPATH": str(ROOT), "PATH": ""}
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def numbers(path: Path) -> list[int]:
    with path.open(newline="") as file:
        return [int(row["n"]) for row in csv.DictReader(file)]


def json_file(folder: Path, count: int, batch: int = 2) -> dict[str, Any]:
    (folder / "in.json").write_text(json.dumps([{"id": n, "n": n} for n in range(count)]))
    return {"CLASS": "apf.consumers.JSONConsumer", "FILE_PATH": "in.json", "NUM_MESSAGES": batch}


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


@pytest.mark.parametrize("key", ["CONSUMER_CONFIG", "PRODUCER_CONFIG", "METRICS_CONFIG"])
def test_a_missing_class_is_no_silent_nothing(tmp_path: Path, key: str) -> None:
    (tmp_path / "in.json").write_text("[]")
    config = {"CONSUMER_CONFIG": {"CLASS": "apf.consumers.JSONConsumer", "FILE_PATH": "in.json"}, key: {"PARAMS": {}}}
    done = run(tmp_path, config)
    assert done.returncode == 2
    assert f"{key} has no CLASS" in done.stderr


def test_a_step_whose_module_fails_as_it_is_imported(tmp_path: Path) -> None:
    done = run(tmp_path, {"COMMIT_ORDER": "first"}, step="import os\nos.environ['NO_SUCH_MODEL']\n")
    assert done.returncode == 2
    for text in (
        "'own.step.Doubles' cannot be imported: KeyError: 'NO_SUCH_MODEL'",
        "CONSUMER_CONFIG is missing",
        "COMMIT_ORDER",
    ):
        assert text in done.stderr


def test_no_settings(tmp_path: Path) -> None:
    done = run(tmp_path, {}, "--class", "own.step.Doubles")
    assert (done.returncode, "CONSUMER_CONFIG is missing" in done.stderr) == (2, True)


def test_a_name_that_is_nearly_one_of_ours() -> None:
    assert "is METRICS_CONFIG meant?" in str(examine({"CONSUMER_CONFIG": {"a": 1}, "METRIC_CONFIG": {}}))


def test_settings_in_yaml(tmp_path: Path) -> None:
    """Keys with dots, and STEP_CONFIG without a name around it."""
    written(tmp_path, {})
    reading = {**json_file(tmp_path, 5), "consume.messages": 5}
    config = {
        "CONSUMER_CONFIG": reading,
        "PRODUCER_CONFIG": {"CLASS": "apf.producers.CSVProducer", "FILE_PATH": "o.csv"},
    }
    for number, content in enumerate([config, {"STEP_CONFIG": config, "STEP_CLASS": "own.step.Doubles"}]):
        (tmp_path / "settings.yaml").write_text(yaml.safe_dump(content))
        options = () if number else ("--class", "own.step.Doubles")
        done = python("-m", "apf_bridge.run_step", "settings.yaml", *options, cwd=tmp_path)
        assert "5 messages in 1 batch (5 done, 0 failed, 5 results)" in done.stdout, done.stderr
    assert numbers(tmp_path / "o.csv") == [0, 2, 4, 6, 8] * 2


def test_yaml_that_cannot_be_used(tmp_path: Path) -> None:
    for text, said in {"a: [": "ParserError", "- 1": "It has no STEP_CONFIG, a dict"}.items():
        (tmp_path / "settings.yml").write_text(text)
        done = python("-m", "apf_bridge.run_step", "settings.yml", "--class", "x.Y", cwd=tmp_path)
        assert done.returncode == 2
        assert said in done.stderr


def test_librdkafkas_other_name_for_the_servers() -> None:
    params = {"metadata.broker.list": "x:9", "group.id": "g"}
    reading = {"CLASS": "apf.consumers.KafkaConsumer", "PARAMS": params, "TOPICS": ["b"]}
    assert str(examine({"CONSUMER_CONFIG": reading})) == ""


def test_a_step_that_cannot_be_made(tmp_path: Path) -> None:
    written(tmp_path, {"CONSUMER_CONFIG": json_file(tmp_path, 1)})
    (tmp_path / "own" / "step.py").write_text(STEP.replace("super()", "open('model.pkl'); super()"))
    done = python("-m", "apf_bridge.run_step", "settings.py", "--class", "own.step.Doubles", cwd=tmp_path)
    assert done.returncode == 2
    assert "'own.step.Doubles' cannot be made of it: FileNotFoundError" in done.stderr


@pytest.mark.parametrize("code", ["0", "3", "'bye'"])
def test_sys_exit_in_a_step_is_a_failure_of_its_batch(tmp_path: Path, code: str) -> None:
    """Also sys.exit(0): whoever started it would take its batch for done."""
    exits = STEP.replace(
        "    def execute(self, messages):\n", f"    def execute(self, messages):\n        exit({code})\n"
    )
    done = run(tmp_path, {"CONSUMER_CONFIG": json_file(tmp_path, 4)}, step=exits)
    assert done.returncode == 1
    assert "2 messages in 0 batches (0 done, 2 failed, 0 results)" in done.stderr
    assert "Failed in execute: SystemExit" in done.stderr


SLOW = """
import time
from pathlib import Path
from apf.core.step import GenericStep

class Slow(GenericStep):
    def execute(self, messages):
        for message in messages:
            try:
                Path("begun").touch()
                time.sleep(0.3)
            except BaseException:
                pass
        return messages
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_batch_in_hand_be_finished(tmp_path: Path, number: signal.Signals) -> None:
    """The step swallows every exception: it cannot swallow the stop."""
    output = {"CLASS": "apf.producers.CSVProducer", "FILE_PATH": "out.csv"}
    written(tmp_path, {"CONSUMER_CONFIG": json_file(tmp_path, 40, 4), "PRODUCER_CONFIG": output}, SLOW)
    with running(tmp_path, "Slow") as process:
        wait_until(lambda: (tmp_path / "begun").exists(), "the first batch")
        process.send_signal(number)
        assert process.wait(20) == 0
    assert numbers(tmp_path / "out.csv") == [0, 1, 2, 3]
    assert "(4 done, 0 failed, 4 results)" in (tmp_path / "log.txt").read_text()
    assert "Stopped." in (tmp_path / "log.txt").read_text()


def test_a_process_that_is_killed_loses_nothing(
    broker: ScriptedBroker, topic: str, group_id: str, tmp_path: Path
) -> None:
    """kill -9 at any moment: every message's output is on the topic, some of it twice."""
    out = f"{topic}-out"
    for name in (topic, out):
        broker.create_topic(name)
    for n in range(60):
        broker.produce(topic, json.dumps({"id": n, "n": n}))
    broker.flush()
    own = {"bootstrap.servers": broker.bootstrap_servers}
    reading = {**own, "group.id": group_id, **broker.CONSUMER_CONFIG, "auto.offset.reset": "earliest"}
    fields = [{"name": "id", "type": "long"}, {"name": "n", "type": "long"}]
    config = {
        "CONSUMER_CONFIG": {
            "CLASS": "apf.consumers.KafkaJsonConsumer",
            "PARAMS": {**reading, "enable.partition.eof": True},
            "TOPICS": [topic],
            "NUM_MESSAGES": 5,
            "TIMEOUT": 1,
        },
        "PRODUCER_CONFIG": {
            "CLASS": "apf.producers.KafkaSchemalessProducer",
            "PARAMS": own,
            "TOPIC": out,
            "SCHEMA": {"type": "record", "name": "out", "fields": fields},
        },
    }
    slow = STEP.replace("    def execute(self, messages):\n", "    def execute(self, messages):\n        beat()\n")
    beat = "import time\ndef beat():\n    open('beats', 'a').write('.')\n    time.sleep(0.1)\n"
    written(tmp_path, config, beat + slow)
    beats = tmp_path / "beats"
    beats.touch()
    for wanted in (3, 6):
        before = beats.stat().st_size
        with running(tmp_path, "Doubles") as process:
            wait_until(lambda: beats.stat().st_size >= before + wanted, "some batches")  # noqa: B023
            process.kill()
    with running(tmp_path, "Doubles") as process:
        assert process.wait(40) == 0, (tmp_path / "log.txt").read_text()
    made = {message.key() for message in read(broker.bootstrap_servers, out, size_of(broker, out))}
    assert made == {str(n).encode() for n in range(60)}
    assert beats.stat().st_size < 12 + 3 + 6  # it went on where it was, and not from the beginning


def size_of(broker: ScriptedBroker, topic: str) -> int:
    """Messages of a topic of one partition."""
    consumer = Consumer({"bootstrap.servers": broker.bootstrap_servers, "group.id": "any"})
    try:
        size: int = consumer.get_watermark_offsets(TopicPartition(topic, 0), 10)[1]
        return size
    finally:
        consumer.close()


PEAK = """
import sys, tracemalloc
from apf_bridge.run_step import main
# Not ru_maxrss: on Linux a process inherits it from the one that started it.
tracemalloc.start()
code = main(["settings.py", "--class", "own.step.Counts"])
print("peak", tracemalloc.get_traced_memory()[1] // 1024)
sys.exit(code)
"""
COUNTS = """
from apf.core.step import GenericStep

class Counts(GenericStep):
    def execute(self, messages):
        return []
"""


def test_a_large_csv_is_read_in_the_memory_of_a_small_one(tmp_path: Path) -> None:
    peaks = []
    for rows in (100, 60_000):
        folder = tmp_path / str(rows)
        folder.mkdir()
        with (folder / "in.csv").open("w") as file:
            file.write("candid,text\n")
            file.writelines(f"{2454460970015010006 + n},{'x' * 1000}\n" for n in range(rows))
        reading = {"CLASS": "apf.consumers.CSVConsumer", "FILE_PATH": "in.csv", "NUM_MESSAGES": 100}
        written(folder, {"CONSUMER_CONFIG": reading}, COUNTS)
        done = python("-c", PEAK, cwd=folder)
        assert done.returncode == 0, done.stderr
        assert f"{rows} messages in {rows // 100} batch" in done.stdout
        peaks.append(int(done.stdout.split()[-1]))
        (folder / "in.csv").unlink()
    assert peaks[1] < peaks[0] + 10_000, peaks  # kB, of a file of 60 MB


SCRAPED = (
    STEP
    + """
    def tear_down(self):
        from urllib.request import urlopen
        print(urlopen("http://localhost:PORT/metrics").read().decode())
"""
)


@pytest.mark.parametrize("inside", [False, True])
def test_prometheus_finds_the_steps_summaries(tmp_path: Path, inside: bool) -> None:
    """APF served the port and left the summaries out. Some steps say it in their STEP_CONFIG."""
    port = free_port()
    reading = {"CONSUMER_CONFIG": json_file(tmp_path, 5)}
    wanted = {"PROMETHEUS": True, "PROMETHEUS_PORT": port}
    config, settings = ({**reading, **wanted}, {}) if inside else (reading, wanted)
    done = run(tmp_path, config, step=SCRAPED.replace("PORT", str(port)), **settings)
    assert done.returncode == 0, done.stderr
    for line in ("consumed_messages_sum 5.0", "processed_messages_count 3.0", "execution_time_count 3.0"):
        assert f"\n{line}\n" in done.stdout


@pytest.mark.parametrize("inside", [False, True])
def test_logging_debug(tmp_path: Path, inside: bool) -> None:
    """Of the step, and of the modules that it uses."""
    reading = {"CONSUMER_CONFIG": json_file(tmp_path, 1)}
    wanted = {"LOGGING_DEBUG": True}
    config, settings = ({**reading, **wanted}, {}) if inside else (reading, wanted)
    told = (
        "        self.logger.debug('seen')\n        import logging\n        logging.getLogger('own').debug('heard')\n"
    )
    done = run(tmp_path, config, step=f"{STEP}\n    def tear_down(self):\n{told}", **settings)
    assert "DEBUG alerce.Doubles: seen" in done.stderr
    assert "DEBUG own: heard" in done.stderr


def test_what_is_beside_step_config_goes_before_what_is_in_it() -> None:
    settings = {"STEP_CONFIG": {"PROMETHEUS": True, "PROMETHEUS_PORT": 9}, "PROMETHEUS": False}
    assert [named(settings, name, 7) for name in ("PROMETHEUS", "PROMETHEUS_PORT", "OTHER")] == [False, 9, 7]


def test_another_apf_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "apf").mkdir()
    done = run(tmp_path, {"CONSUMER_CONFIG": json_file(tmp_path, 1)})
    assert done.returncode == 2
    assert done.stderr.startswith(f"There is another apf at {tmp_path / 'apf'}")
    assert done.stderr.count("\n") == 1


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run(tmp_path, {"CONSUMER_CONFIG": json_file(tmp_path, 1)}, PROMETHEUS=True, PROMETHEUS_PORT=port)
    assert done.returncode == 2
    assert "- PROMETHEUS: [Errno" in done.stderr


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("", 0))
        port: int = free.getsockname()[1]
        return port
