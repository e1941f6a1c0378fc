"""A step outside of any stream, with its results in the TOM."""

from __future__ import annotations

import csv
import hashlib
import inspect
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import fastavro
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from tom_targets.models import BaseTarget

from apf_bridge import runner, target_writer
from apf_bridge.compat.core.step import GenericStep
from tests.brokers import ScriptedBroker
from tests.processes import Tom
from tom_alertstreams.exceptions import RejectAlert
from tom_alertstreams.ingest.models import TargetAlert
from tom_alertstreams.ingest.reports import TargetReport

from .parts import ListConsumer

pytestmark = pytest.mark.django_db(transaction=True)

HERE = "tests.unit.apf_bridge.test_runapfstep"
ALWAYS = ["--rules", '{"CREATE": "always"}']
FLAT = ["--fields", '{"object_id": "oid", "ra": "ra", "dec": "dec"}', *ALWAYS]
#: At each commit: whether a transaction is open, and how many Targets there are.
AT_COMMIT: list[tuple[bool, int]] = []
FAILURES: list[BaseException] = []


class Places(GenericStep):
    """6.x: gives each object a place, and takes its name out of the message."""

    def execute(self, messages: Any) -> Any:
        return [{"oid": one.pop("oid"), "n": one["n"], "ra": 10.0 + one["n"], "dec": -5.0} for one in messages]


class Stops(Places):
    """Is told to stop in its first batch, and swallows what it can."""

    def execute(self, messages: Any) -> Any:
        with suppress(BaseException):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
        return super().execute(messages)


class Leaves(Places):
    def execute(self, messages: Any) -> Any:
        sys.exit(0)


class Old(Places):
    contract = "1"


class Looking(ListConsumer):
    """Looks into the database when it is to commit, and fails there where it shall."""

    def commit(self) -> None:
        AT_COMMIT.append((connection.in_atomic_block, BaseTarget.objects.count()))
        if FAILURES:
            raise FAILURES.pop()


def report_of(result: dict[str, Any]) -> TargetReport | None:
    if result["n"] == 1:
        raise RejectAlert("faint", result["oid"])
    return TargetReport(result["oid"], kind="survey", ra=result["ra"], dec=result["dec"]) if result["n"] else None


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What settings.py of a step leaves in the process."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "settings", raising=False)
    AT_COMMIT.clear()
    FAILURES.clear()
    yield
    sys.modules.pop("settings", None)


def messages(count: int) -> list[dict[str, Any]]:
    return [{"oid": f"ZTF{n}", "n": n} for n in range(count)]


def runapfstep(consumer: dict[str, Any], *options: str, step: str = "Places", **config: Any) -> str:
    given = {"CONSUMER_CONFIG": consumer, **config}
    Path("settings.py").write_text(f"STEP_CONFIG = {given!r}\n")
    out = StringIO()
    call_command("runapfstep", "settings.py", "--class", f"{HERE}.{step}", *options, stdout=out)
    return out.getvalue()


def json_file(count: int, batch: int = 2) -> dict[str, Any]:
    Path("in.json").write_text(json.dumps(messages(count)))
    return {"CLASS": "apf.consumers.JSONConsumer", "FILE_PATH": "in.json", "NUM_MESSAGES": batch}


def looking(count: int, batch: int = 2) -> dict[str, Any]:
    every = messages(count)
    return {"CLASS": f"{HERE}.Looking", "MESSAGES": [every[n : n + batch] for n in range(0, count, batch)]}


class TestTargets:
    def test_of_flat_results(self) -> None:
        told = runapfstep(json_file(5), *FLAT)
        assert set(BaseTarget.objects.values_list("name", flat=True)) == {f"ZTF{n}" for n in range(5)}
        assert "Places (contract 2.x): 5 messages in 3 batches (5 done, 0 failed, 5 results) in" in told
        assert "Targets: 5 done. The consumer has no more." in told

    def test_of_a_result_handler(self) -> None:
        told = runapfstep(json_file(4), "--result-handler", f"{HERE}.report_of", *ALWAYS)
        assert set(BaseTarget.objects.values_list("name", flat=True)) == {"ZTF2", "ZTF3"}
        assert "1 rejected (faint)" in told

    def test_a_second_run_adds_nothing(self) -> None:
        runapfstep(json_file(5), *FLAT)
        runapfstep(json_file(5, batch=3), *FLAT)
        assert (BaseTarget.objects.count(), TargetAlert.objects.count()) == (5, 5)
        alert = TargetAlert.objects.get(object_id="ZTF3")
        assert (alert.stream, alert.topic, alert.offset) == ("runapfstep", "in.json", 3)

    def test_a_result_that_cannot_be_stored_ends_it_and_leaves_nothing_of_its_batch(self) -> None:
        given = looking(4)
        given["MESSAGES"][1][1]["oid"] = ""
        with pytest.raises(
            CommandError, match=r"4 messages in 1 batch \(2 done, 2 failed, 2 results\).*has no oid"
        ) as told:
            runapfstep(given, *FLAT)
        assert told.value.returncode == 1
        assert BaseTarget.objects.count() == 2

    def test_a_batch_that_fails_leaves_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whatever of it was written already."""
        write = target_writer.write_results

        def write_and_fail(*args: Any) -> None:
            write(*args)
            assert BaseTarget.objects.count() == 2
            raise ValueError("the disk is full")

        monkeypatch.setattr(target_writer, "write_results", write_and_fail)
        with pytest.raises(CommandError, match=r"0 done, 2 failed.*Failed in results: ValueError: the disk is full"):
            runapfstep(looking(4), *FLAT)
        assert (BaseTarget.objects.count(), AT_COMMIT) == (0, [])


class TestOrder:
    def test_the_offset_is_committed_after_the_rows(self) -> None:
        runapfstep(looking(4), *FLAT)
        assert AT_COMMIT == [(False, 2), (False, 4)]

    def test_what_comes_again_after_a_crash_adds_nothing(self) -> None:
        FAILURES.append(SystemExit(9))
        with pytest.raises(CommandError, match="Failed in post_produce: SystemExit: 9"):
            runapfstep(looking(4), *FLAT)
        assert BaseTarget.objects.count() == 2
        runapfstep(looking(4), *FLAT)
        assert (BaseTarget.objects.count(), TargetAlert.objects.count()) == (4, 4)

    def test_legacy_order_is_no_order_for_targets(self) -> None:
        with pytest.raises(CommandError, match="commits before Targets are written"):
            runapfstep(looking(4), *FLAT, COMMIT_ORDER="legacy")


class TestKafka:
    def test_messages_come_once_into_the_tom_and_their_offset_is_committed(
        self, broker: ScriptedBroker, topic: str, group_id: str
    ) -> None:
        sent = [json.dumps(one).encode() for one in messages(5)]
        consumer = self.reading(broker, topic, group_id, sent, "KafkaJsonConsumer")
        told = runapfstep(consumer, *FLAT)
        assert "5 messages in 3 batches" in told
        rows = TargetAlert.objects.order_by("offset").values_list("topic", "partition", "offset", "object_id")
        assert list(rows) == [(topic, 0, n, f"ZTF{n}") for n in range(5)]
        known_by = TargetAlert.objects.order_by("offset").values_list("alert_id", flat=True)
        assert list(known_by) == [hashlib.sha256(raw).hexdigest() for raw in sent]  # as in a stream
        assert "0 messages in 0 batches" in runapfstep(consumer, *FLAT)

    def test_each_record_of_a_container_is_an_alert(self, broker: ScriptedBroker, topic: str, group_id: str) -> None:
        """Also of one object, and also where they come in other batches the next time."""
        fields = [{"name": "oid", "type": "string"}, {"name": "n", "type": "int"}]
        written = BytesIO()
        records = [{"oid": "ZTF0", "n": 0}, {"oid": "ZTF0", "n": 1}, {"oid": "ZTF1", "n": 2}]
        fastavro.writer(written, {"type": "record", "name": "alert", "fields": fields}, records)
        consumer = self.reading(broker, topic, group_id, [written.getvalue()], "KafkaConsumer")
        runapfstep(consumer, *FLAT)
        assert sorted(TargetAlert.objects.values_list("object_id", flat=True)) == ["ZTF0", "ZTF0", "ZTF1"]
        consumer |= {"PARAMS": {**consumer["PARAMS"], "group.id": f"{group_id}-again"}, "NUM_MESSAGES": 1}
        assert "3 messages in 3 batches" in runapfstep(consumer, *FLAT)
        assert TargetAlert.objects.count() == 3

    def reading(
        self, broker: ScriptedBroker, topic: str, group_id: str, sent: list[bytes], consumer: str
    ) -> dict[str, Any]:
        broker.create_topic(topic)
        for raw in sent:
            broker.produce(topic, raw)
        broker.flush()
        params = {"bootstrap.servers": broker.bootstrap_servers, "group.id": group_id, **broker.CONSUMER_CONFIG}
        return {
            "CLASS": f"apf.consumers.{consumer}",
            "PARAMS": {**params, "auto.offset.reset": "earliest", "enable.partition.eof": True},
            "TOPICS": [topic],
            "NUM_MESSAGES": 2,
            "TIMEOUT": 1,
        }


class TestOutput:
    def test_into_a_csv_in_place_of_the_producer(self) -> None:
        runapfstep(json_file(3), "--to", "csv:out.csv", PRODUCER_CONFIG={"CLASS": "apf.producers.KafkaProducer"})
        with Path("out.csv").open(newline="") as file:
            assert [row["oid"] for row in csv.DictReader(file)] == ["ZTF0", "ZTF1", "ZTF2"]
        assert not BaseTarget.objects.exists()

    def test_into_json_files(self) -> None:
        runapfstep(json_file(150, batch=60), "--to", "json:out")
        found = [json.loads(path.read_text()) for path in sorted(Path("out").iterdir())]
        assert [len(one) for one in found] == [100, 50]

    def test_nowhere(self) -> None:
        told = runapfstep(json_file(3), "--to", "nowhere", PRODUCER_CONFIG={"CLASS": "apf.producers.KafkaProducer"})
        assert "3 done, 0 failed, 3 results" in told

    def test_the_contract_is_that_of_the_steps_own_producer(self) -> None:
        producer = {"CLASS": "apf.producers.KafkaProducer", "SCHEMA_PATH": "out.avsc"}
        assert "(contract 6.x)" in runapfstep(json_file(1), "--to", "nowhere", PRODUCER_CONFIG=producer)


class TestEnd:
    def test_limit(self) -> None:
        told = runapfstep(json_file(10), "--limit", "3")
        assert "4 messages in 2 batches" in told
        assert "Stopped." in told

    def test_a_signal_finishes_the_batch_in_hand_whatever_the_step_catches(self) -> None:
        before = signal.getsignal(signal.SIGTERM)
        told = runapfstep(looking(6), *FLAT, step="Stops")
        assert "2 messages in 1 batch (2 done" in told
        assert (AT_COMMIT, BaseTarget.objects.count()) == ([(False, 2)], 2)
        assert signal.getsignal(signal.SIGTERM) is before

    def test_sys_exit_in_a_step_is_a_failure(self) -> None:
        with pytest.raises(CommandError, match=r"0 done, 2 failed.*Failed in execute: SystemExit: 0") as told:
            runapfstep(looking(4), *FLAT, step="Leaves")
        assert (told.value.returncode, AT_COMMIT) == (1, [])

    def test_progress_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(runner, "EVERY_S", 0.0)
        assert [line.split(" (")[0] for line in runapfstep(json_file(4)).splitlines()[:2]] == [
            "2 messages in 1 batch",
            "4 messages in 2 batches",
        ]


class TestProblems:
    def test_all_are_listed_at_once(self) -> None:
        options = ["--result-handler", "no.such", "--rules", '{"CREAT": "x"}']
        with pytest.raises(CommandError) as told:
            runapfstep({"CLASS": "apf.consumers.JSONConsumer"}, *options, step="Absent", COMMIT_ORDER="first")
        assert told.value.returncode == 2
        for text in ("no FILE_PATH", "COMMIT_ORDER is 'first'", "has no Absent", "'no.such' cannot be", "option CREAT"):
            assert text in str(told.value)

    def test_rules_without_targets(self) -> None:
        with pytest.raises(CommandError, match="--rules are for Targets"):
            runapfstep(json_file(1), *ALWAYS)

    def test_a_step_of_1x_returns_nothing_to_make_targets_of(self) -> None:
        with pytest.raises(CommandError, match="Under contract 1 a step returns nothing"):
            runapfstep(json_file(1), *FLAT, step="Old")

    @pytest.mark.parametrize("options", [["--to", "csv"], ["--fields", "[]"], ["--fields", "{"], ["--limit", "0"]])
    def test_arguments(self, options: list[str]) -> None:
        with pytest.raises(CommandError):
            runapfstep(json_file(1), *options)

    def test_secrets_are_blanked(self) -> None:
        given = {"CLASS": f"{HERE}.Looking", "MESSAGES": 5, "PARAMS": {"sasl.password": "hunter22hunter"}}
        with pytest.raises(CommandError) as told:
            runapfstep(given, STEP="hunter22hunter", COMMIT_ORDER="hunter22hunter")
        assert "hunter22" not in str(told.value)


class TestProcess:
    """On the command line, in a project that is no TOM."""

    @pytest.mark.parametrize(
        ("step", "options", "code", "said"),
        [
            ("Places", [], 0, "5 messages in 3 batches (5 done, 0 failed, 5 results)"),
            ("Leaves", [], 1, "Failed in execute: SystemExit: 0"),
            ("Absent", FLAT, 2, "Targets need the TOM Toolkit, and tom_alertstreams.ingest in INSTALLED_APPS."),
            ("Places", ["--limit", "none"], 2, "'none' is no number above 0"),
        ],
    )
    def test_exit_code(self, tmp_path: Path, step: str, options: list[str], code: int, said: str) -> None:
        config = {"CONSUMER_CONFIG": json_file(5)}
        Path("settings.py").write_text(f"STEP_CONFIG = {config!r}\n")
        source = "from apf.core.step import GenericStep\n" + inspect.getsource(Places) + inspect.getsource(Leaves)
        Path("own_step.py").write_text("import sys\nfrom typing import Any\n" + source)
        command = ["-m", "django", "runapfstep", "settings.py", "--class", f"own_step.{step}", *options]
        done = subprocess.run(
            [sys.executable, *command], env=Tom(tmp_path).environment(), capture_output=True, text=True, timeout=60
        )
        assert done.returncode == code, done.stderr
        assert said in (done.stderr if code else done.stdout)
