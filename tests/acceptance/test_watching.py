"""Those who watch ``readstreams`` from outside: Prometheus, Kubernetes, and whoever is told by alarms."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from tests.brokers import ScriptedBroker
from tests.effects import handlers
from tests.listeners import WebListener
from tests.processes import Tom, output, running, wait_until
from tests.streams import entry


@pytest.fixture
def port() -> int:
    """One that nobody uses."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def scrape(port: int) -> dict[str, float]:
    """Name with labels → value."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
    except OSError:
        return {}
    return {name: float(value) for name, value in re.findall(r"^([^#\s]\S*(?: .*})?) (\S+)$", text, re.MULTILINE)}


class TestMetrics:
    def test_of_a_running_process(self, tom: Tom, broker: ScriptedBroker, topic: str, group_id: str, port: int) -> None:
        broker.create_topic(topic, 1)
        # One alert that fails three times, one that a rule rejects, three that are well.
        for word in ("done", "rejected", "failed", "done", "done"):
            broker.produce(topic, handlers.content(say=word))
        broker.flush()
        tom.streams = [entry(broker.bootstrap_servers, group_id, {topic: "judge"})]

        def told(name: str, **labels: str) -> float | None:
            inner = ",".join(f'{key}="{value}"' for key, value in sorted({"stream": "test", **labels}.items()))
            return scrape(port).get(f"alertstreams_{name}{{{inner}}}")

        with running(tom, "readstreams", "--metrics-port", str(port)) as process:
            wait_until(lambda: told("dead_total") == 1 or process.poll() is not None, "the dead letter")
            assert told("received_total") == 5
            assert told("done_total") == 3
            assert told("rejected_total", code="sky") == 1
            assert told("retries_total") == 2
            assert told("state", state="running") == 1
            assert told("fuse_blown") == 0
            assert (told("batch_seconds_count") or 0) >= 3
            assert (told("handler_seconds_count", handler="tests.effects.handlers.judge") or 0) >= 3
            assert (told("alert_age_seconds_count") or 0) >= 2
            assert wait_until(lambda: told("lag", topic=topic, partition="0") is not None, "the lag", 15)
            assert (told("heartbeat_age_seconds") or 0) < 11
            process.send_signal(signal.SIGTERM)
            text = output(process)
        assert process.returncode == 0, text
        assert scrape(port) == {}

    def test_a_port_that_is_taken(self, tom: Tom) -> None:
        tom.streams = [entry("127.0.0.1:1", "group", {"t": "one"})]
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            port, alive = str(other.getsockname()[1]), tom.folder / "alive"
            done = tom.run("readstreams", "--metrics-port", port, "--liveness-file", str(alive))
        assert done.returncode == 1
        assert not alive.exists()
        assert "cannot be used: Address already in use" in done.stdout
        assert "Traceback" not in done.stdout

    @pytest.mark.django_db
    def test_without_the_extra(self, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        settings.ALERT_STREAMS = [entry("127.0.0.1:1", "group", {"t": "one"})]
        monkeypatch.setitem(sys.modules, "prometheus_client", None)
        monkeypatch.delitem(sys.modules, "tom_alertstreams.metrics", raising=False)
        with pytest.raises(CommandError, match=r"pip install 'tom-alertstreams\[metrics\]'"):
            call_command("readstreams", "--metrics-port", "9101")


class TestLiveness:
    def test_touched_until_the_end_though_the_broker_is_away(self, tom: Tom) -> None:
        tom.streams = [entry("127.0.0.1:1", "group", {"t": "one"})]
        alive = tom.folder / "alive"
        with running(tom, "readstreams", "--liveness-file", str(alive)) as process:
            wait_until(lambda: "waiting for the broker" in process.log.read_text(), "the broker to be missed")
            for _ in range(2):
                long_ago = time.time() - 1000
                os.utime(alive, (long_ago, long_ago))
                wait_until(lambda: alive.stat().st_mtime > time.time() - 100, "a touch", 10)
            process.send_signal(signal.SIGTERM)
            text = output(process)
        assert process.returncode == 0, text
        assert not alive.exists()

    def test_a_place_that_cannot_be_written(self, tom: Tom) -> None:
        tom.streams = [entry("127.0.0.1:1", "group", {"t": "one"})]
        done = tom.run("readstreams", "--liveness-file", str(tom.folder / "absent" / "alive"))
        assert done.returncode == 1
        assert "cannot be written: No such file or directory" in done.stdout
        assert "Traceback" not in done.stdout


class TestAlarms:
    @pytest.fixture
    def web(self, tom: Tom) -> Iterator[WebListener]:
        with WebListener() as listener:
            notifier = {"NAME": "tom_alertstreams.alarms.webhook.WebhookNotifier", "OPTIONS": {"URL": listener.url}}
            tom.alarms = {"NOTIFIERS": [notifier], "DOWN_MINUTES": 0}
            yield listener

    def test_a_fuse_that_ends_the_process_is_told_before(
        self, tom: Tom, web: WebListener, broker: ScriptedBroker, topic: str, group_id: str
    ) -> None:
        broker.create_topic(topic, 1)
        for _ in range(9):
            broker.produce(topic, handlers.content(say="failed"))
        broker.flush()
        fuse = {"MAX_CONSECUTIVE_FAILURES": 3}
        tom.streams = [entry(broker.bootstrap_servers, group_id, {topic: "judge"}, delivery=fuse)]
        done = tom.run("readstreams")
        assert done.returncode == 3, done.stdout
        [told] = web.heard
        assert told["text"].startswith("test: stopped by its fuse")
        assert web.url not in done.stdout
        assert tom.run("alertstreams", "--notify").returncode == 0
        assert len(web.heard) == 1

    def test_of_two_that_run_from_cron_at_once_one_tells(self, tom: Tom, web: WebListener) -> None:
        tom.streams = [entry("127.0.0.1:1", "group", {"t": "one"})]
        with running(tom, "alertstreams", "--notify") as one, running(tom, "alertstreams", "--notify") as other:
            texts = output(one), output(other)
        assert (one.returncode, other.returncode) == (0, 0), texts
        assert [told["alarms"][0]["words"] for told in web.heard] == ["never started"]

    def test_while_it_runs_and_when_it_is_over(
        self, tom: Tom, web: WebListener, broker: ScriptedBroker, topic: str, group_id: str
    ) -> None:
        broker.create_topic(topic, 1)
        tom.streams = [entry(broker.bootstrap_servers, group_id, {topic: "one"})]
        assert tom.run("alertstreams", "--notify").returncode == 0
        with running(tom, "readstreams") as process:
            wait_until(lambda: len(web.heard) == 2, "the end of the alarm")
            process.send_signal(signal.SIGTERM)
            text = output(process)
        assert process.returncode == 0, text
        assert [alarm["over"] for told in web.heard for alarm in told["alarms"]] == [False, True]
        assert "told: test: over, it is running" in text

    def test_a_notifier_that_hangs_delays_no_stop(
        self, tom: Tom, web: WebListener, broker: ScriptedBroker, topic: str, group_id: str
    ) -> None:
        broker.create_topic(topic, 1)
        tom.streams = [
            entry("127.0.0.1:1", "group", {"t": "one"}, label="away"),
            entry(broker.bootstrap_servers, group_id, {topic: "one"}),
        ]
        web.answers.clear()
        with running(tom, "readstreams") as process:
            wait_until(web.asked.is_set, "the notifier to be asked")
            broker.produce(topic, handlers.content(n=1))
            broker.flush()
            wait_until(tom.effects, "an alert meanwhile", 10)
            before = time.monotonic()
            process.send_signal(signal.SIGTERM)
            text = output(process)
        assert process.returncode == 0, text
        assert time.monotonic() - before < 8

    def test_without_settings_there_is_nobody_to_tell(self, tom: Tom) -> None:
        done = tom.run("alertstreams", "--notify")
        assert done.returncode == 1
        assert "ALERT_STREAMS_ALARMS is not set" in done.stdout
