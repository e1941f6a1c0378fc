"""``newapfstep``: the step that it writes runs as it is: its tests, on files, in a container, in a TOM."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastavro
import pytest
from django.utils.module_loading import import_string

from tests.brokers import ScriptedBroker
from tests.brokers.scripted import read
from tests.marks import CORE_AND_STEPS
from tests.processes import ROOT, wait_until
from tests.steps import consumed
from tests.streams import counts, run_once
from tom_alertstreams.alertstreams.alertstream import get_alert_streams

from .new_steps import NAMES, clean, new, run

ALERTS = [{"oid": "ZTF26aaaaaaa", "candid": 3105287465115010002, "mag": 18.9}]
FLUX = pytest.approx(100000)


def on_kafka(broker: ScriptedBroker, topic: str, group_id: str) -> dict[str, str]:
    """The environment of settings.py."""
    return {
        "CONSUMER_SERVER": broker.bootstrap_servers,
        "CONSUMER_TOPICS": topic,
        "CONSUMER_GROUP_ID": group_id,
        "PRODUCER_SERVER": broker.bootstrap_servers,
        "PRODUCER_TOPIC": f"{topic}-out",
        "CONSUME_TIMEOUT": "1",
    }


@pytest.fixture
def imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """What is imported meanwhile is forgotten."""
    before = set(sys.modules)
    yield monkeypatch
    for name in set(sys.modules) - before:
        if not name.startswith("apf"):
            del sys.modules[name]


class TestItRuns:
    @pytest.mark.parametrize("name", NAMES)
    def test_its_tests_pass_on_the_first_run(self, tmp_path: Path, name: str) -> None:
        """Whatever the project around it wants of pytest."""
        (tmp_path / "pytest.ini").write_text("[pytest]\nDJANGO_SETTINGS_MODULE = no.such.settings\n")
        new(name)
        folder = tmp_path / NAMES[name][0]
        for command, said in (
            (("pytest", "-q", "-W", "error"), r"[6-9] passed in"),
            (("unittest",), r"Ran [6-9] tests"),
        ):
            done = run(folder, "-m", *command)
            assert done.returncode == 0, done.stdout + done.stderr
            assert re.search(said, done.stdout + done.stderr)

    def test_they_fail_where_something_is_spoilt(self, tmp_path: Path) -> None:
        """They look at the hooks, the schema, the key and the settings."""
        new("my_step")
        for file, words, others in (
            ("my_step/step.py", "is not None", "is None"),
            ("my_step/step.py", "31.4", "25"),
            ("my_step/step.py", "return result", "return []"),
            ("my_step/step.py", '_field("oid")', '_field("candid")'),
            ("schema.avsc", '"flux"', '"mag"'),
            ("settings.py", '"TOPIC":', '"TOPICS":'),
        ):
            path = tmp_path / "my_step" / file
            sound = path.read_text()
            assert words in sound
            path.write_text(sound.replace(words, others))
            assert run(tmp_path / "my_step", "-m", "unittest").returncode == 1, (file, others)
            path.write_text(sound)

    def test_from_file_to_file(self, tmp_path: Path) -> None:
        said = new("my_step")
        command = re.search(r"^  apf-run-step (settings_files\.py --class \S+) ", said, re.MULTILINE)
        assert command, said
        done = run(tmp_path / "my_step", "-m", "apf_bridge.run_step", *command[1].split())
        assert done.returncode == 0, done.stderr
        assert "MyStep (contract 6.x): 3 messages in 1 batch" in done.stdout
        lines = (tmp_path / "my_step" / "results.csv").read_text().splitlines()
        assert lines[:2] == ["oid,candid,flux", "ZTF26aaaaaaa,3105287465115010002,100000.0"]

    def test_from_csv_to_json(self, tmp_path: Path) -> None:
        new("my_step")
        config = tmp_path / "my_step" / "settings_files.py"
        config.write_text(
            config.read_text().replace("JSONConsumer", "CSVConsumer").replace("CSVProducer", "JSONProducer")
        )
        (tmp_path / "in.csv").write_text("oid,candid,mag\nZTF26aaaaaaa,3105287465115010002,18.9\n")
        files = {"INPUT_FILE": str(tmp_path / "in.csv"), "OUTPUT_FILE": str(tmp_path / "out")}
        command = ("-m", "apf_bridge.run_step", "settings_files.py", "--class", "my_step.step.MyStep")
        done = run(tmp_path / "my_step", *command, **files)
        assert done.returncode == 0, done.stderr
        (result,) = json.loads((tmp_path / "out" / "producer_output0.json").read_text())
        assert result == {"oid": "ZTF26aaaaaaa", "candid": 3105287465115010002, "flux": FLUX}

    def test_all_variables_that_lack_are_named(self, tmp_path: Path) -> None:
        new("my_step")
        command = ("-m", "apf_bridge.run_step", "settings.py", "--class", "my_step.step.MyStep")
        done = run(tmp_path / "my_step", *command, CONSUMER_TOPICS="a")
        assert done.returncode == 2
        assert "lacks CONSUMER_SERVER, CONSUMER_GROUP_ID, PRODUCER_SERVER, PRODUCER_TOPIC." in done.stderr


def lines_of(dockerfile: Path) -> dict[str, list[str]]:
    """Instruction → its arguments, in their order."""
    found: dict[str, list[str]] = {}
    for line in dockerfile.read_text().splitlines():
        if line and not line.startswith("#"):
            word, _, rest = line.partition(" ")
            found.setdefault(word, []).append(rest)
    return found


class TestTheContainer:
    """No Docker is at hand: what would be in the image is put into a folder, and its entry point is started there."""

    def test_it_is_not_root_and_nothing_floats(self, tmp_path: Path) -> None:
        new("my_step")
        lines = lines_of(tmp_path / "my_step" / "Dockerfile")
        assert re.fullmatch(r"python:3\.\d+\.\d+-slim", lines["FROM"][0])
        assert int(lines["USER"][-1]) > 0
        assert "CMD" not in lines
        for source in (source for line in lines["COPY"] for source in line.split()[:-1]):
            assert (tmp_path / "my_step" / source).exists() or source == "wheels/", source

    def test_sigterm_comes_to_the_step(self, tmp_path: Path, broker: ScriptedBroker, topic: str, group_id: str) -> None:
        """From Kafka to Kafka, until it is told to stop; without Django's settings."""
        new("my_step")
        lines = lines_of(tmp_path / "my_step" / "Dockerfile")
        image = tmp_path / "image"
        image.mkdir()
        for source in (source for line in lines["COPY"] for source in line.split()[:-1] if source != "wheels/"):
            found = tmp_path / "my_step" / source
            for file in [found] if found.is_file() else found.iterdir():
                copy = image / file.relative_to(tmp_path / "my_step")
                copy.parent.mkdir(exist_ok=True)
                copy.write_bytes(file.read_bytes())
        for name in (topic, f"{topic}-out"):
            broker.create_topic(name)
        broker.produce(topic, container(ALERTS))
        broker.flush()
        program, *arguments = json.loads(lines["ENTRYPOINT"][0])
        assert program == "apf-run-step"
        # On the path of the package only: what is not in the image is not found.
        code = "import sys; from apf_bridge.run_step import main; sys.path.remove(''); sys.exit(main())"
        environment = clean(**on_kafka(broker, topic, group_id))
        with (tmp_path / "log").open("wb") as log:
            command = [sys.executable, "-c", code, *arguments]
            process = subprocess.Popen(command, cwd=image, env=environment, stdout=log, stderr=log)
        try:
            (message,) = read(broker.bootstrap_servers, f"{topic}-out", 1)
            wait_until(lambda: "Begin post production" in (tmp_path / "log").read_text(), "the batch")
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0, (tmp_path / "log").read_text()
        finally:
            process.kill()
            process.wait()
        (result,) = fastavro.reader(io.BytesIO(message.value() or b""))
        assert result == {"oid": "ZTF26aaaaaaa", "candid": 3105287465115010002, "flux": FLUX}
        assert "1 message in 1 batch" in (tmp_path / "log").read_text()


def container(alerts: list[dict[str, Any]]) -> bytes:
    kinds = {"oid": "string", "candid": "long", "mag": ["null", "double"]}
    schema = {"type": "record", "name": "alert", "fields": [{"name": k, "type": kinds[k]} for k in kinds]}
    out = io.BytesIO()
    fastavro.writer(out, schema, alerts)
    return out.getvalue()


@CORE_AND_STEPS
@pytest.mark.usefixtures("fresh_handlers")
@pytest.mark.parametrize("directory", [".", "steptom"])
def test_in_the_tom_with_the_entry_that_it_prints(
    tmp_path: Path, imports: pytest.MonkeyPatch, broker: ScriptedBroker, topic: str, group_id: str, directory: str
) -> None:
    """In the folder of manage.py, and in a package of the TOM."""
    imports.syspath_prepend(tmp_path)
    (tmp_path / "steptom").mkdir()
    (tmp_path / "steptom" / "__init__.py").touch()
    said = new("my_step", "--directory", directory)
    entry = re.search(r"^    \{\n.*?^    \},?\n", said, re.MULTILINE | re.DOTALL)
    assert entry, said
    assert entry[0] in (tmp_path / directory / "my_step" / "README.md").read_text()
    for name, value in on_kafka(broker, topic, group_id).items():
        imports.setenv(name, value)
    broker.create_topic(topic)
    for alert in (*ALERTS, {**ALERTS[0], "mag": None}):
        broker.produce(topic, json.dumps(alert))
    broker.flush()
    (settings_,) = ast.literal_eval(f"[{entry[0]}]")
    settings_["OPTIONS"]["CONFIG"] = dict(ScriptedBroker.CONSUMER_CONFIG)
    (stream,) = get_alert_streams([settings_])
    assert stream.settings.label == "my_step"
    run_once(stream)
    (message,) = consumed(broker, f"{topic}-out", 1)
    assert message.content == {"oid": "ZTF26aaaaaaa", "candid": 3105287465115010002, "flux": FLUX}
    assert message.key == b"ZTF26aaaaaaa"
    assert counts("my_step") == {"done": 2}


@CORE_AND_STEPS
@pytest.mark.usefixtures("fresh_handlers")
def test_a_second_module_is_found_alone_and_in_the_tom(tmp_path: Path, imports: pytest.MonkeyPatch) -> None:
    """Imported as step.py says."""
    imports.syspath_prepend(tmp_path)
    said = new("my_step")
    step = tmp_path / "my_step" / "my_step" / "step.py"
    code, function = step.read_text().split("\n\n\ndef flux_of", 1)
    (line,) = re.findall(r"`(from \.flux import) …`", code)
    (step.parent / "flux.py").write_text(f"def flux_of{function}")
    step.write_text(code.replace("import GenericStep\n", f"import GenericStep\n\n{line} flux_of\n", 1) + "\n")
    assert run(tmp_path / "my_step", "-m", "unittest").returncode == 0
    (name,) = re.findall(r'"STEP": "(.*)"', said)
    assert import_string(name).__module__ == "my_step.my_step.step"


def test_the_readme_names_what_there_is(tmp_path: Path) -> None:
    new("my_step")
    text = (tmp_path / "my_step" / "README.md").read_text()
    for row in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE):
        for name in re.findall(r"`([^`]+)`", row):
            assert (tmp_path / "my_step" / name).exists(), name
    code = (tmp_path / "my_step" / "settings.py").read_text()
    variables = set(re.findall(r'"((?:CONSUMER?|PRODUCER|KAFKA)_[A-Z_]+)"', code)) - {
        "CONSUMER_CONFIG",
        "PRODUCER_CONFIG",
    }
    assert len(variables) == 12
    assert {name for name in variables if name not in text} == set()


def test_the_templates_are_in_the_wheel(tmp_path: Path) -> None:
    """Of both commands that write code."""
    pytest.importorskip("setuptools")
    built = tmp_path / "built"
    command = ("egg_info", "--egg-base", str(tmp_path), "build_py", "--build-lib", str(built))
    done = run(ROOT, "-W", "ignore", "setup.py", "-q", *command, HOME=os.environ.get("HOME", ""))
    assert done.returncode == 0, done.stdout + done.stderr
    for package in ("apf_bridge", "tom_alertstreams"):
        source = ROOT / package / "management" / "templates"
        names = {file.name for file in source.iterdir()}
        assert names
        assert {file.name for file in (built / package / "management" / "templates").iterdir()} == names
