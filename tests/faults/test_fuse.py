"""After a bad deploy every alert fails: the stream stops before it has buried them, and comes back carefully."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.brokers import ScriptedBroker
from tests.effects import handlers
from tests.marks import CORE_TABLES
from tests.processes import wait_until
from tests.streams import counts, effects, make, next_offset, publish, run_once, send
from tom_alertstreams.alerts import Alert
from tom_alertstreams.conf import DeliverySettings, StreamSettings
from tom_alertstreams.delivery import supervisor as supervisor_module
from tom_alertstreams.delivery.runs import Status
from tom_alertstreams.delivery.source import Control
from tom_alertstreams.delivery.supervisor import NEEDS_YOU, StreamThread, Supervisor
from tom_alertstreams.exceptions import FuseBlown, RejectAlert, RetryLater
from tom_alertstreams.models import DeadLetter, StreamPartition, StreamRun

pytestmark = [CORE_TABLES, pytest.mark.usefixtures("fresh_handlers")]

STYLES = ["write_then_trouble", "each", "many"]
#: Failed alerts wait for longer than a test lasts.
SLOW_RETRY = {"TOTAL": 3, "MIN_WAIT_S": 300, "MAX_WAIT_S": 300}


def fail(alert: Alert) -> None:
    raise ValueError("the new version cannot do this")


def fused(broker: ScriptedBroker, group_id: str, topic: str, handler: Any, **settings: Any) -> Any:
    return make(broker.bootstrap_servers, group_id, {topic: handler}, delivery={"RETRY": SLOW_RETRY, **settings})


@pytest.mark.both_databases
@pytest.mark.timeout(40)  # a fuse that does not blow lets the stream go on for ever
@pytest.mark.parametrize("handler", STYLES)
class TestBlows:
    def test_when_too_many_in_a_row_fail(self, broker: ScriptedBroker, topic: str, group_id: str, handler: str) -> None:
        publish(broker, topic, 100)
        handlers.trouble.append(lambda alert: alert.offset >= 10 and fail(alert))
        stream = fused(broker, group_id, topic, handler, MAX_CONSECUTIVE_FAILURES=5)
        with pytest.raises(FuseBlown, match=r"5 alerts in a row.*ValueError.*the new version cannot do this"):
            run_once(stream)
        # What blew it is rolled back: of a group all of it.
        reached = next_offset(group_id, topic)
        assert reached == {"write_then_trouble": 14, "each": 0}.get(handler, reached) < 15
        assert effects(topic) == list(range(min(10, reached)))
        assert counts() == ({"done": 10, "waiting": reached - 10} if reached else {})
        assert not DeadLetter.objects.exclude(state="waiting").exists()
        run = StreamRun.objects.get()
        assert (run.state, run.fuse_blown) == ("fuse", True)
        assert "5 alerts in a row failed (MAX_CONSECUTIVE_FAILURES). The last error was ValueError." in run.reason
        assert "the new version" not in run.reason
        assert "the new version cannot do this" in run.last_error

    def test_when_too_large_a_share_fails(
        self, broker: ScriptedBroker, topic: str, group_id: str, handler: str
    ) -> None:
        publish(broker, topic, 40)
        handlers.trouble.append(lambda alert: alert.offset >= 10 and alert.offset % 2 and fail(alert))
        stream = fused(broker, group_id, topic, handler, MAX_FAILURE_SHARE=0.3, FAILURE_WINDOW=10)
        with pytest.raises(FuseBlown, match=r"\d of the last 10 alerts failed"):
            run_once(stream)
        assert next_offset(group_id, topic) <= 17
        assert effects(topic) == [n for n in range(next_offset(group_id, topic)) if n < 10 or n % 2 == 0]

    def test_not_for_a_few_bad_ones(self, broker: ScriptedBroker, topic: str, group_id: str, handler: str) -> None:
        """Neither rejections nor alerts that ask for a later try are failures."""
        answers = [ValueError("bad"), RejectAlert("sky"), RetryLater(300), None]
        publish(broker, topic, 40)

        def answer(alert: Alert) -> None:
            if error := answers[alert.offset % 4]:
                raise error

        handlers.trouble.append(answer)
        if handler == "many":
            pytest.skip("answers for all of its alerts at once")
        stream = fused(
            broker, group_id, topic, handler, MAX_CONSECUTIVE_FAILURES=2, MAX_FAILURE_SHARE=0.35, FAILURE_WINDOW=9
        )
        run_once(stream, Control(max_alerts=40))
        assert counts() == {"done": 10, "waiting": 20, "rejected:sky": 10}


@pytest.fixture
def blown(broker: ScriptedBroker, topic: str, group_id: str) -> Any:
    """A stream whose fuse has blown at alert 3; alerts 1 and 2 wait and are due."""
    publish(broker, topic, 30)
    handlers.trouble.append(lambda alert: alert.offset >= 1 and fail(alert))
    with pytest.raises(FuseBlown):
        run_once(fused(broker, group_id, topic, "write_then_trouble", MAX_CONSECUTIVE_FAILURES=3))
    assert next_offset(group_id, topic) == 3
    DeadLetter.objects.update(next_attempt_at="2000-01-01T00:00:00Z", attempts=2)
    return fused(broker, group_id, topic, "write_then_trouble", MAX_CONSECUTIVE_FAILURES=3)


@pytest.mark.both_databases
class TestHalfOpen:
    def test_still_broken(self, blown: Any, topic: str, group_id: str) -> None:
        """However often it is started: no dead letter, and nothing is passed over."""
        for _ in range(3):
            handlers.calls.clear()
            with pytest.raises(FuseBlown, match="first alert after the restart failed too"):
                run_once(blown)
            assert set(handlers.calls) == {3}
        assert next_offset(group_id, topic) == 3
        assert list(DeadLetter.objects.order_by("offset").values_list("offset", "state", "attempts")) == [
            (1, "waiting", 2),
            (2, "waiting", 2),
        ]

    def test_mended(self, blown: Any, topic: str) -> None:
        handlers.trouble.clear()
        run_once(blown)
        assert effects(topic) == list(range(30))
        assert StreamRun.objects.latest("pk").fuse_blown is False
        run_once(blown)
        assert not DeadLetter.objects.exists()

    @pytest.mark.timeout(40)  # nothing would ever end it
    def test_once_ends_where_nothing_new_comes(self, blown: Any, topic: str, caplog: pytest.LogCaptureFixture) -> None:
        """What waits is not tried, so it is not waited for."""
        handlers.trouble.clear()
        StreamPartition.objects.update(next_offset=30)  # as seekstream does
        with caplog.at_level("INFO"):
            run_once(blown)
        run = StreamRun.objects.latest("pk")
        assert (run.state, run.fuse_blown) == ("stopped", True)
        assert "nothing that waits was tried" in run.reason
        assert run.reason in caplog.text
        assert DeadLetter.objects.filter(state="waiting").count() == 2

    def test_closed_by_the_first_success(self, blown: Any, topic: str, group_id: str) -> None:
        """From then on it counts again as ever."""
        handlers.trouble[:] = [lambda alert: alert.offset >= 4 and fail(alert)]
        with pytest.raises(FuseBlown, match="3 alerts in a row"):
            run_once(blown)
        assert next_offset(group_id, topic) == 6

    def test_without_limits_it_is_over(self, blown: Any, topic: str) -> None:
        """Where the alerts are wrong and not the handler: they become dead letters."""
        delivery = {"MAX_CONSECUTIVE_FAILURES": 0, "MAX_FAILURE_SHARE": 0, "RETRY": {"TOTAL": 1}}
        options = blown.settings.options
        servers, group_id = options["BOOTSTRAP_SERVERS"], options["GROUP_ID"]
        run_once(make(servers, group_id, {topic: "each"}, delivery=delivery))
        assert effects(topic) == [0]
        assert StreamRun.objects.latest("pk").fuse_blown is False
        assert DeadLetter.objects.filter(state="open").count() == 29


class TestProcess:
    def test_the_others_run_on(self, broker: ScriptedBroker, topic: str, group_id: str) -> None:
        publish(broker, topic, 10)
        broker.create_topic(f"{topic}-sound")
        handlers.trouble.append(lambda alert: alert.topic == topic and fail(alert))
        bad = fused(broker, group_id, topic, "each", MAX_CONSECUTIVE_FAILURES=2)
        sound = make(broker.bootstrap_servers, group_id, {f"{topic}-sound": "each"}, label="sound")
        supervisor = Supervisor([bad, sound], Control(), shutdown_s=30)
        with ThreadPoolExecutor(1) as thread:
            exit_code = thread.submit(supervisor.run)
            try:
                wait_until(StreamRun.objects.filter(stream="test", state="fuse").exists, "the fuse to blow")
                send(broker, f"{topic}-sound", range(10))
                wait_until(lambda: len(effects(f"{topic}-sound")) == 10, "the alerts of the other stream")
            finally:
                supervisor.control.stopping.set()
        assert exit_code.result() == 0
        assert effects(f"{topic}-sound") == list(range(10))

    def test_a_blown_stream_is_not_started_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        control, lives = Control(), []

        class Blowing:
            stops_when_asked = True
            settings = StreamSettings("test", "", {}, DeliverySettings(), ())

            def deliver(self, control: Control, status: Status) -> None:
                lives.append(status)
                if len(lives) == 2:
                    control.stopping.set()
                raise FuseBlown

        monkeypatch.setattr(supervisor_module, "_FIRST_RESTART_S", 0.01)
        StreamThread(Blowing(), control).run()
        assert len(lives) == 1

    def test_nothing_left_running_is_a_failure(self, broker: ScriptedBroker, topic: str, group_id: str) -> None:
        publish(broker, topic, 10)
        handlers.trouble.append(fail)
        stream = fused(broker, group_id, topic, "each", MAX_CONSECUTIVE_FAILURES=2)
        assert Supervisor([stream], Control(), shutdown_s=30).run() == NEEDS_YOU
