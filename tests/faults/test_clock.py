"""The clock on the wall jumps: no wait of a running stream hangs by it, and a lease is no licence to write twice."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from django.utils import timezone

import alerce_stream
import tom_alertstreams
from tests.brokers import ScriptedBroker
from tests.effects import handlers
from tests.marks import CORE_TABLES
from tests.processes import wait_until
from tests.streams import counts, effects, make, next_offset
from tom_alertstreams.alerts import Alert
from tom_alertstreams.delivery.source import Control
from tom_alertstreams.delivery.supervisor import StreamThread
from tom_alertstreams.delivery.waiting import WaitingAlerts
from tom_alertstreams.exceptions import LookUpUnavailable, PartitionLost, RetryLater
from tom_alertstreams.models import DeadLetter

Jump = Callable[[timedelta], None]


@pytest.fixture
def jump(monkeypatch: pytest.MonkeyPatch) -> Jump:
    """Puts the clock on."""
    now, ahead = timezone.now, [timedelta()]

    def jumped() -> datetime:
        return now() + ahead[0]

    def put_on(by: timedelta) -> None:
        ahead[0] += by

    monkeypatch.setattr(timezone, "now", jumped)
    return put_on


@CORE_TABLES
@pytest.mark.both_databases
@pytest.mark.usefixtures("fresh_handlers")
@pytest.mark.parametrize("handler", ["one", "each", "many"])
def test_a_stream_does_not_mind(broker: ScriptedBroker, topic: str, group_id: str, handler: str, jump: Jump) -> None:
    """A day forwards or backwards before every alert: waits in the process are as long as ever, and no try is lost."""
    dice = random.Random(7)
    trouble: dict[int, list[Exception]] = {
        1: [ValueError("bad"), ValueError("bad again")],
        3: [RetryLater(0.02)],
        5: [LookUpUnavailable("the catalogue is down") for _ in range(4)],
    }

    def meet(alert: Alert) -> None:
        jump(timedelta(days=dice.choice((-1, 1))))
        if trouble.get(alert.offset):
            raise trouble[alert.offset].pop()

    handlers.trouble.append(meet)
    broker.create_topic(topic)
    for number in range(8):
        broker.produce(topic, handlers.content(n=number))
    broker.flush()
    thread = StreamThread(make(broker.bootstrap_servers, group_id, {topic: handler}), Control())  # type: ignore[arg-type]
    thread.start()
    try:
        wait_until(lambda: 7 in effects(topic), "the last alert")
        # What waits in the database does so by the clock on the wall.
        wait_until(lambda: len(effects(topic)) >= 8 or jump(timedelta(days=1)), "what waited")  # type: ignore[func-returns-value]
    finally:
        thread.control.stopping.set()
        thread.join(30)
    assert effects(topic) == list(range(8))
    assert not DeadLetter.objects.exists()
    assert not any(trouble.values())
    assert counts()["done"] == 8
    assert next_offset(group_id, topic) == 8


@CORE_TABLES
class TestLease:
    @pytest.fixture
    def ours_and_theirs(self, group_id: str) -> tuple[WaitingAlerts, WaitingAlerts]:
        """Two processes, and one alert that waits."""
        source = make("127.0.0.1:1", group_id, {"topic": "one"})
        row = {"group_id": group_id, "topic": "topic", "partition": 0, "offset": 7, "next_attempt_at": timezone.now()}
        DeadLetter.objects.create(cluster="cluster", state="waiting", **row)
        ours, theirs = (WaitingAlerts(source, "cluster", lease_s=60) for _ in range(2))  # type: ignore[arg-type]
        return ours, theirs

    def test_when_the_clock_is_put_on_only_one_can_write(
        self, ours_and_theirs: tuple[WaitingAlerts, WaitingAlerts], jump: Jump
    ) -> None:
        ours, theirs = ours_and_theirs
        claimed = ours.claim(10)
        jump(timedelta(hours=1))
        ours.begin(claimed)  # nobody else wants it
        taken = theirs.claim(10)
        assert [alert.offset for alert in taken] == [7]
        theirs.begin(taken)
        with pytest.raises(PartitionLost):
            ours.begin(claimed)

    def test_when_the_clock_is_put_back_the_lease_holds(
        self, ours_and_theirs: tuple[WaitingAlerts, WaitingAlerts], jump: Jump
    ) -> None:
        ours, theirs = ours_and_theirs
        claimed = ours.claim(10)
        jump(timedelta(hours=-1))
        assert theirs.claim(10) == []
        ours.begin(claimed)
        ours.release()
        jump(timedelta(hours=1))
        assert [alert.offset for alert in theirs.claim(10)] == [7]


def test_no_timer_reads_the_clock_on_the_wall() -> None:
    folders = [Path(module.__file__ or "").parent for module in (tom_alertstreams, alerce_stream)]
    sources = [path for folder in folders for path in folder.rglob("*.py")]
    assert len(sources) > 50
    assert not [str(path) for path in sources if re.search(r"\btime\.time\(|\bdatetime\.now\(\)", path.read_text())]
