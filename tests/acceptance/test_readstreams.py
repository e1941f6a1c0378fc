"""``manage.py readstreams`` as a process: how it starts, how it stops, what its exit code says."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.brokers import ScriptedBroker
from tests.effects import handlers
from tests.processes import Process, Tom, output, running, wait_until
from tests.streams import entry


@pytest.fixture
def stream(tom: Tom, broker: ScriptedBroker, topic: str, group_id: str) -> ScriptedBroker:
    """One stream on ``topic`` whose handler can be held up."""
    broker.create_topic(topic)
    tom.streams = [entry(broker.bootstrap_servers, group_id, {topic: "gated"})]
    return broker


def at_work(tom: Tom, process: Process) -> None:
    wait_until(lambda: (tom.folder / "at-work").exists() or process.poll() is not None, "the handler")
    assert process.poll() is None, output(process)


class TestStopping:
    def test_asked_to_stop_while_idle(self, tom: Tom, stream: ScriptedBroker, topic: str) -> None:
        stream.produce(topic, handlers.content(n=1))
        stream.flush()
        with running(tom, "readstreams") as process:
            wait_until(lambda: len(tom.effects()) == 1, "the first effect")
            process.send_signal(signal.SIGTERM)
            text = output(process)
        assert process.returncode == 0, text
        assert "received 1, done 1, rejected 0, retried 0, dead 0" in text

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_finishes_the_alert_in_hand(
        self, tom: Tom, stream: ScriptedBroker, topic: str, number: signal.Signals
    ) -> None:
        for slow in (False, True, False):
            stream.produce(topic, handlers.content(slow=slow))
        stream.flush()
        with running(tom, "readstreams") as process:
            at_work(tom, process)
            process.send_signal(number)
            wait_until(lambda: "stopping: the alerts in hand" in process.log.read_text(), "the signal to be heard")
            (tom.folder / "go-on").touch()
            text = output(process)
        assert process.returncode == 0, text
        assert tom.effects() == [(topic, 0, 0), (topic, 0, 1)]

    def test_a_handler_that_hangs_is_rolled_back(self, tom: Tom, stream: ScriptedBroker, topic: str) -> None:
        tom.defaults = {"SHUTDOWN_S": 0.5}
        stream.produce(topic, handlers.content(slow=False))
        stream.produce(topic, handlers.content(slow=True))
        stream.flush()
        with running(tom, "readstreams") as process:
            at_work(tom, process)
            process.send_signal(signal.SIGTERM)
            text = output(process)
        assert process.returncode == 1, text
        assert "did not stop within" in text
        assert tom.effects() == [(topic, 0, 0)]

    def test_a_second_signal_ends_it_at_once(self, tom: Tom, stream: ScriptedBroker, topic: str) -> None:
        stream.produce(topic, handlers.content(slow=True))
        stream.flush()
        with running(tom, "readstreams") as process:
            at_work(tom, process)
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: process.poll() is not None or process.send_signal(signal.SIGTERM), "the end", 10)
        assert process.returncode == 128 + signal.SIGTERM
        assert tom.effects() == []

    def test_max_runtime(self, tom: Tom, stream: ScriptedBroker) -> None:
        done = tom.run("readstreams", "--max-runtime", "2")
        assert done.returncode == 0, done.stdout

    def test_max_runtime_and_a_broker_that_never_answered(self, tom: Tom) -> None:
        tom.streams = [entry("127.0.0.1:1", "group", {"t": "one"})]
        done = tom.run("readstreams", "--max-runtime", "1")
        assert done.returncode == 1, done.stdout
        assert "waiting for the broker" in done.stdout

    def test_max_alerts(self, tom: Tom, stream: ScriptedBroker, topic: str) -> None:
        for number in range(9):
            stream.produce(topic, handlers.content(n=number))
        stream.flush()
        done = tom.run("readstreams", "--max-alerts", "4")
        assert done.returncode == 0, done.stdout
        assert len(tom.effects()) == 4

    def test_once_twice_handles_nothing_twice(self, tom: Tom, stream: ScriptedBroker, topic: str) -> None:
        for number in range(9):
            stream.produce(topic, handlers.content(n=number))
        stream.flush()
        for _ in range(2):
            done = tom.run("readstreams", "--once")
            assert done.returncode == 0, done.stdout
        assert len(tom.effects()) == 9


class TestStarting:
    def test_tables_that_are_not_there(self, tmp_path: Path) -> None:
        tom = Tom(tmp_path)
        tom.streams = [entry("127.0.0.1:1", "group", {"t": "one"})]
        done = tom.run("readstreams", "--once")
        assert done.returncode == 1
        assert "manage.py migrate" in done.stdout
        assert "Traceback" not in done.stdout

    def test_everything_wrong_is_told_at_once_and_sound_streams_run(
        self, tom: Tom, stream: ScriptedBroker, topic: str
    ) -> None:
        stream.produce(topic, handlers.content(n=1))
        stream.flush()
        sound = tom.streams[0]
        wrong = [
            entry("127.0.0.1:1", "group", {"t": "tests.effects.handlers.absent"}, label="stale handler"),
            {"NAME": "no.such.Stream", "LABEL": "no class", "OPTIONS": {}},
            {"NAME": sound["NAME"], "LABEL": "no servers", "OPTIONS": {"TOPIC_HANDLERS": {"t": "x.y"}}},
            entry("127.0.0.1:1", "group", {"t": "one"}, label="no number", delivery={"BATCH_SIZE": "many"}),
        ]
        tom.streams = [*wrong, sound]
        done = tom.run("readstreams", "--once")
        assert done.returncode == 0, done.stdout
        for label in ("stale handler", "no class", "no servers", "no number"):
            assert f"{label}: " in done.stdout
        assert "Traceback" not in done.stdout
        assert len(tom.effects()) == 1
        tom.streams = wrong
        done = tom.run("readstreams", "--once")
        assert done.returncode == 1
        assert "no stream can be read" in done.stdout
        assert "Traceback" not in done.stdout

    def test_one_stream_by_its_label(self, tom: Tom, stream: ScriptedBroker, topic: str) -> None:
        stream.produce(topic, handlers.content(n=1))
        stream.flush()
        other = entry("127.0.0.1:1", "group", {"t": "one"}, label="away")
        tom.streams = [other, *tom.streams]
        done = tom.run("readstreams", "--once", "--stream", "test")
        assert done.returncode == 0, done.stdout
        assert len(tom.effects()) == 1
        done = tom.run("readstreams", "--stream", "tset")
        assert done.returncode == 1
        assert "no stream tset. There is away, test." in done.stdout

    def test_a_stream_whose_broker_is_away_does_not_hold_up_the_others(
        self, tom: Tom, stream: ScriptedBroker, topic: str
    ) -> None:
        stream.produce(topic, handlers.content(n=1))
        stream.flush()
        tom.streams = [entry("127.0.0.1:1", "group", {"t": "one"}, label="away"), *tom.streams]
        with running(tom, "readstreams") as process:
            wait_until(lambda: tom.effects(), "the effect of the sound stream")
            process.send_signal(signal.SIGTERM)
            text = output(process)
        assert process.returncode == 0, text
        assert "away: waiting for the broker" in text


def test_checkstreams_shows_the_way_of_calling(tom: Tom, stream: ScriptedBroker, topic: str) -> None:
    done = tom.run("checkstreams")
    assert done.returncode == 0, done.stdout
    assert f"{topic} → tests.effects.handlers.gated (1.x, once per alert)" in done.stdout
