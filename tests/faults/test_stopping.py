"""``readstreams`` is asked to stop while it waits, or in the middle of a batch: what is finished is kept, nothing is double."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from tests.brokers import ScriptedBroker
from tests.effects import handlers
from tests.faults.gated import AT_WORK, GO_ON, SERVICE
from tests.processes import Process, Tom, output, running, wait_until
from tests.streams import entry

GATED = "tests.faults.gated"


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database to copy."""
    tom = Tom(tmp_path_factory.mktemp("migrated"))
    tom.migrate()
    return tom.folder / "tom.sqlite3"


@pytest.fixture
def tom(migrated: Path, tmp_path: Path) -> Tom:
    (tmp_path / "tom.sqlite3").write_bytes(migrated.read_bytes())
    made = Tom(tmp_path)
    made.defaults = {"SHUTDOWN_S": 15}
    return made


def publish(broker: ScriptedBroker, topic: str, count: int, asks: int | None = None) -> None:
    """:param asks: the number of the alert that needs the service."""
    for number in range(count):
        broker.produce(topic, handlers.content(n=number, asks=number == asks))
    broker.flush()


@pytest.fixture(autouse=True)
def _made(request: pytest.FixtureRequest, topic: str) -> None:
    """The topic is there, with one partition."""
    name = "own_broker" if "own_broker" in request.fixturenames else "broker"
    request.getfixturevalue(name).create_topic(topic)


def says(process: Process, text: str) -> None:
    wait_until(lambda: text in process.log.read_text() or process.poll() is not None, f"{text!r} in its log")
    assert process.poll() is None, process.log.read_text()


def stop(process: Process) -> None:
    process.send_signal(signal.SIGTERM)
    text = output(process)
    assert process.returncode == 0, text


def offsets(tom: Tom) -> list[int]:
    return [offset for _topic, _partition, offset in tom.effects()]


def end(tom: Tom, count: int) -> None:
    """The next process finds all that is not finished, and nothing else."""
    done = tom.run("readstreams", "--once")
    assert done.returncode == 0, done.stdout
    assert offsets(tom) == list(range(count))
    assert tom.query("SELECT outcome, sum(n) FROM tom_alertstreams_outcomecount GROUP BY outcome") == [("done", count)]
    assert tom.query("SELECT count(*) FROM tom_alertstreams_deadletter") == [(0,)]


class TestWhileItWaits:
    @pytest.mark.parametrize(("handler", "kept"), [("asking_one", [0, 1]), ("asking_many", [])])
    def test_for_a_service(
        self, tom: Tom, broker: ScriptedBroker, topic: str, group_id: str, handler: str, kept: list[int]
    ) -> None:
        """Of a group that met it nothing is finished."""
        publish(broker, topic, 5, asks=2)
        tom.streams = [entry(broker.bootstrap_servers, group_id, {topic: f"{GATED}.{handler}"})]
        with running(tom, "readstreams") as process:
            says(process, "the catalogue is down")
            stop(process)
        assert offsets(tom) == kept
        (tom.folder / SERVICE).touch()
        end(tom, 5)

    def test_for_a_look_up_that_hangs(self, tom: Tom, broker: ScriptedBroker, topic: str, group_id: str) -> None:
        """The next try goes through, and no thread that hangs keeps the process."""
        publish(broker, topic, 3)
        handler, delivery = {topic: f"{GATED}.hanging"}, {"PREPARE_TIMEOUT_S": 0.2}
        tom.streams = [entry(broker.bootstrap_servers, group_id, handler, delivery=delivery)]
        with running(tom, "readstreams") as process:
            says(process, "took longer than 0.2 s")
            wait_until(lambda: len(tom.effects()) == 3, "the next try")
            stop(process)
        end(tom, 3)

    def test_for_a_broker_that_never_answered(
        self, tom: Tom, own_broker: ScriptedBroker, topic: str, group_id: str
    ) -> None:
        publish(own_broker, topic, 3)
        own_broker.broker_down()
        tom.streams = [entry(own_broker.bootstrap_servers, group_id, {topic: "gated"})]
        with running(tom, "readstreams") as process:
            says(process, "waiting for the broker")
            stop(process)
        assert offsets(tom) == []
        own_broker.broker_up()
        end(tom, 3)

    def test_for_a_broker_that_went_away(self, tom: Tom, own_broker: ScriptedBroker, topic: str, group_id: str) -> None:
        publish(own_broker, topic, 3)
        tom.streams = [entry(own_broker.bootstrap_servers, group_id, {topic: "gated"})]
        with running(tom, "readstreams") as process:
            wait_until(lambda: len(tom.effects()) == 3, "the first alerts")
            own_broker.broker_down()
            says(process, "no broker answers")
            stop(process)
        assert offsets(tom) == [0, 1, 2]
        own_broker.broker_up()
        publish(own_broker, topic, 2)
        end(tom, 5)

    @pytest.mark.parametrize("trouble", ["away", "away, not noticed yet", "silent"])
    def test_for_no_session_to_end(
        self, tom: Tom, own_broker: ScriptedBroker, topic: str, group_id: str, trouble: str
    ) -> None:
        """A broker does not take the last offsets: the client would wait for as long as a session."""
        publish(own_broker, topic, 3)
        config = {"session.timeout.ms": 45_000}  # as by default, and three times what it has to stop
        tom.streams = [entry(own_broker.bootstrap_servers, group_id, {topic: "gated"}, CONFIG=config)]
        with running(tom, "readstreams") as process:
            wait_until(lambda: len(tom.effects()) == 3, "the first alerts")
            if trouble == "silent":
                own_broker.rtt(60_000)
            else:
                own_broker.broker_down()
            if trouble == "away":
                says(process, "no broker answers")
            stop(process)
        assert offsets(tom) == [0, 1, 2]


class TestInABatch:
    @pytest.fixture
    def process_at_work(self, tom: Tom, broker: ScriptedBroker, topic: str, group_id: str) -> Any:
        """Six alerts in batches of four, the first of which is half written."""
        publish(broker, topic, 6)
        handler = {"HANDLER": f"{GATED}.held_up", "BATCH_SIZE": 4}
        tom.streams = [entry(broker.bootstrap_servers, group_id, {topic: handler})]
        with running(tom, "readstreams") as process:
            wait_until(lambda: (tom.folder / AT_WORK).exists() or process.poll() is not None, "the handler")
            assert process.poll() is None, output(process)
            yield process

    def test_the_batch_in_hand_is_finished_and_no_other_begun(self, tom: Tom, process_at_work: Process) -> None:
        process_at_work.send_signal(signal.SIGTERM)
        says(process_at_work, "the alerts in hand are finished first")
        (tom.folder / GO_ON).touch()
        text = output(process_at_work)
        assert process_at_work.returncode == 0, text
        assert offsets(tom) == [0, 1, 2, 3]
        end(tom, 6)

    def test_after_a_second_signal_it_comes_again(self, tom: Tom, process_at_work: Process) -> None:
        process_at_work.send_signal(signal.SIGTERM)
        wait_until(
            lambda: process_at_work.poll() is not None or process_at_work.send_signal(signal.SIGTERM), "the end", 10
        )
        assert process_at_work.returncode == 128 + signal.SIGTERM
        assert offsets(tom) == []
        (tom.folder / GO_ON).touch()
        end(tom, 6)
