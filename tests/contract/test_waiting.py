"""Alerts that wait for their next try: whose they are, and how many are tried at once."""

from __future__ import annotations

import pkgutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.brokers import ScriptedBroker
from tests.effects import handlers
from tests.marks import CORE_TABLES
from tests.streams import counts, effects, entry, make, publish, run_once
from tom_alertstreams.alerts import Alert, Outcome
from tom_alertstreams.delivery import replay, waiting
from tom_alertstreams.delivery.waiting import WaitingAlerts, unclaimed
from tom_alertstreams.handlers import alert_handler, batch_handler
from tom_alertstreams.models import DeadLetter

pytestmark = [
    CORE_TABLES,
    pytest.mark.both_databases,
    pytest.mark.usefixtures("fresh_handlers"),
]

NOT_AT_ONCE = "tests.contract.test_waiting.not_at_once"
LOOKED_UP = "tests.contract.test_waiting.not_at_once_looked_up"
EACH_NOT_AT_ONCE = "tests.contract.test_waiting.each_not_at_once"


#: How many alerts that had waited each transaction had.
tried_again: list[int] = []


@batch_handler
def not_at_once(alerts: list[Alert]) -> list[Outcome]:
    """Each alert has to wait once."""
    waited = set(
        DeadLetter.objects.filter(topic__in={alert.topic for alert in alerts}).values_list("offset", flat=True)
    )
    if again := [alert for alert in alerts if alert.offset in waited]:
        tried_again.append(len(again))
    for alert in again:
        handlers.write(alert)
    return [Outcome.done() if alert in again else Outcome.retry(0.0, "not yet") for alert in alerts]


@alert_handler
def each_not_at_once(alert: Alert) -> Outcome:
    """The same, one by one."""
    if not DeadLetter.objects.filter(topic=alert.topic, offset=alert.offset).exists():
        return Outcome.retry(0.0, "not yet")
    handlers.write(alert)
    handlers.calls.append(alert.offset)
    transaction.on_commit(_note_commit)
    return Outcome.done()


#: For each look-up whether another process may have the alert that it is for.
free_meanwhile: list[bool] = []


def look_up(alerts: list[Alert]) -> None:
    """Between the claim of an alert that has waited and its transaction."""
    free_meanwhile.append(DeadLetter.objects.filter(unclaimed(timezone.now()), topic=alerts[0].topic).exists())


@batch_handler(prepare=look_up)
def not_at_once_looked_up(alerts: list[Alert], _found: None) -> list[Outcome]:
    """As ``not_at_once``, with a look-up."""
    return not_at_once(alerts)


def _note_commit() -> None:
    tried_again.append(len(handlers.calls))
    handlers.calls.clear()


@pytest.fixture(autouse=True)
def _nothing_tried_yet() -> None:
    tried_again.clear()
    free_meanwhile.clear()


@contextmanager
def nothing_tried_again() -> Iterator[None]:
    """What waits in this block goes on waiting."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WaitingAlerts, "due_before", lambda *_: False)
        patch.setattr(WaitingAlerts, "claim", lambda *_: [])
        yield


class TestWhose:
    """Two entries of one broker, without a GROUP_ID, have one group."""

    @pytest.fixture
    def streams(self, group_id: str, settings: Any) -> dict[str, Any]:
        """ALERT_STREAMS, by label."""
        keys: dict[str, dict[str, Any]] = {"a": {"*": "one"}, "b": {"topic-b": "one"}, "c": {"other-*": "one"}}
        entries = {label: entry("127.0.0.1:1", group_id, given, label=label) for label, given in keys.items()}
        settings.ALERT_STREAMS = list(entries.values())
        return entries

    @pytest.fixture
    def wait(self, group_id: str) -> Callable[..., None]:
        """Let an alert of a stream wait."""

        def wait(stream: str, topic: str, offset: int = 7, **row: Any) -> None:
            row = {"cluster": "cluster", "group_id": group_id, "next_attempt_at": timezone.now(), **row}
            DeadLetter.objects.create(partition=0, state="waiting", stream=stream, topic=topic, offset=offset, **row)

        return wait

    @pytest.fixture
    def claimed(self, group_id: str) -> Callable[[str], list[str]]:
        """The topics of what a stream claims; it gives them back."""

        def claimed(label: str) -> list[str]:
            keys = {"a": "*", "b": "topic-b", "c": "other-*", "new": "topic-b"}
            source: Any = make("127.0.0.1:1", group_id, {keys[label]: "one"}, label=label)
            alerts = WaitingAlerts(source, "cluster", lease_s=60)
            topics = [alert.topic for alert in alerts.claim(10)]
            alerts.release()
            return topics

        return claimed

    def test_alerts_of_another_stream_are_left_to_it(self, broker: ScriptedBroker, topic: str, group_id: str) -> None:
        publish(broker, f"{topic}-a", 1)
        publish(broker, f"{topic}-b", 1)
        streams = {
            label: make(broker.bootstrap_servers, group_id, {f"{topic}-{label}": handler}, label=label)
            for label, handler in (("a", "one"), ("b", NOT_AT_ONCE))
        }
        with nothing_tried_again():
            run_once(streams["b"])
        assert DeadLetter.objects.get().stream == "b"
        run_once(streams["a"])
        letter = DeadLetter.objects.get()
        assert (letter.stream, letter.state, letter.attempts, letter.error_class) == ("b", "waiting", 1, "RetryLater")
        run_once(streams["b"])
        assert effects(f"{topic}-b") == [0]
        assert not DeadLetter.objects.exists()
        assert (counts("a"), counts("b")) == ({"done": 1}, {"done": 1, "waiting": 1})

    def test_not_even_a_key_for_everything_takes_them(
        self, streams: dict[str, Any], wait: Callable[..., None], claimed: Callable[[str], list[str]]
    ) -> None:
        wait("b", "topic-b")
        assert claimed("a") == []
        assert claimed("b") == ["topic-b"]

    @pytest.mark.parametrize("switched_off", [False, True])
    def test_those_of_a_label_that_is_gone_are_tried_by_who_reads_their_topic(
        self,
        streams: dict[str, Any],
        wait: Callable[..., None],
        claimed: Callable[[str], list[str]],
        settings: Any,
        switched_off: bool,
    ) -> None:
        """The entry has another LABEL now; its old one may be kept for the pages."""
        renamed = [{**streams["b"], "ACTIVE": False}] if switched_off else []
        settings.ALERT_STREAMS = [streams["c"], *renamed, {**streams["b"], "LABEL": "new"}]
        wait("b", "topic-b")
        wait("b", "nobodys")
        assert claimed("c") == []
        assert claimed("new") == ["topic-b"]

    def test_an_entry_that_cannot_be_read_keeps_its_alerts(
        self, streams: dict[str, Any], wait: Callable[..., None], claimed: Callable[[str], list[str]], settings: Any
    ) -> None:
        """It is mended sooner or later."""
        settings.ALERT_STREAMS = [streams["a"], {**streams["b"], "DELIVERY": {"BATCH_SIZE": "many"}}]
        wait("b", "topic-b")
        assert claimed("a") == []

    def test_those_of_its_own_before_it_had_this_group_or_broker_are_its_own(
        self, streams: dict[str, Any], wait: Callable[..., None], claimed: Callable[[str], list[str]]
    ) -> None:
        """A new USERNAME is a new group where no GROUP_ID is given."""
        wait("b", "topic-b", group_id="another")
        wait("b", "topic-b", offset=8, cluster="another")
        assert claimed("a") == []
        assert claimed("b") == ["topic-b"] * 2

    def test_those_of_a_label_that_is_gone_and_of_another_group_or_cluster_are_not_ours(
        self, streams: dict[str, Any], wait: Callable[..., None], claimed: Callable[[str], list[str]]
    ) -> None:
        wait("gone", "topic-b", group_id="another")
        wait("gone", "topic-b", offset=8, cluster="another")
        assert claimed("b") == []
        assert claimed("a") == []

    def test_a_new_group_strands_nothing(self, broker: ScriptedBroker, topic: str, group_id: str) -> None:
        publish(broker, topic, 3)
        with nothing_tried_again():
            run_once(make(broker.bootstrap_servers, group_id, {topic: NOT_AT_ONCE}))
        assert counts() == {"waiting": 3}
        latest = {"START": "latest"}
        run_once(make(broker.bootstrap_servers, f"{group_id}-new", {topic: NOT_AT_ONCE}, delivery=latest))
        assert effects(topic) == [0, 1, 2]
        assert not DeadLetter.objects.exists()

    def test_one_query_a_second_where_nothing_is_due(self, streams: dict[str, Any], wait: Callable[..., None]) -> None:
        wait("a", "topic-b")
        source: Any = make("127.0.0.1:1", streams["b"]["OPTIONS"]["GROUP_ID"], {"topic-b": "one"}, label="b")
        alerts = WaitingAlerts(source, "cluster", lease_s=60)
        alerts.claim(10)
        with CaptureQueriesContext(connection) as queries:
            for _ in range(5):
                assert alerts.claim(10) == []
        assert len(queries) == 5

    def test_labels_are_looked_at_again(self, streams: dict[str, Any], wait: Callable[..., None]) -> None:
        """A process of before the change may still let alerts wait under the old LABEL."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(waiting, "_LOOK_EVERY_S", 0.0)
            source: Any = make("127.0.0.1:1", streams["b"]["OPTIONS"]["GROUP_ID"], {"topic-b": "one"}, label="b")
            alerts = WaitingAlerts(source, "cluster", lease_s=60)
            assert alerts.claim(10) == []
            wait("old", "topic-b")
            assert [alert.topic for alert in alerts.claim(10)] == ["topic-b"]


@pytest.mark.parametrize("by", ["stream", "replay"])
def test_nobody_else_has_it_while_it_is_looked_up(broker: ScriptedBroker, topic: str, group_id: str, by: str) -> None:
    """A look-up may take longer than handlers do: or one of two processes would always take it from the other."""
    publish(broker, topic, 1)
    stream: Any = make(broker.bootstrap_servers, group_id, {topic: LOOKED_UP}, delivery={"HANDLER_TIMEOUT_S": 1e-6})
    with nothing_tried_again():
        run_once(stream)
    free_meanwhile.clear()
    if by == "replay":
        list(replay.replay(DeadLetter.objects.all(), lambda _label: stream))
    else:
        run_once(stream)
    assert free_meanwhile == [False]
    assert effects(topic) == [0]


@pytest.mark.parametrize(
    "where",
    [
        "loop.begin_keys",
        "intake.Intake.place",
        *(f"waiting.WaitingAlerts.{c}" for c in ("claim", "release", "due_before")),
    ],
)
def test_rows_of_ours_that_are_locked_are_waited_for(
    broker: ScriptedBroker, topic: str, group_id: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the lock is free again when we look: the life of the stream goes on."""
    publish(broker, topic, 2)
    whole = f"tom_alertstreams.delivery.{where}"
    really, locked = pkgutil.resolve_name(whole), ["database is locked"]

    def once_locked(*args: Any) -> Any:
        if locked:
            raise OperationalError(locked[0]) from sqlite3.OperationalError(locked.pop())
        return really(*args)

    monkeypatch.setattr(whole, once_locked)
    status = run_once(make(broker.bootstrap_servers, group_id, {topic: NOT_AT_ONCE}))
    assert not locked
    assert "database is locked" in status.last_error
    assert effects(topic) == [0, 1]
    assert not DeadLetter.objects.exists()
    assert counts() == {"waiting": 2, "done": 2}


class TestHowMany:
    SIZE = len(handlers.content(n=0))

    @pytest.mark.parametrize("limit", [{"BATCH_SIZE": 2}, {"BATCH_BYTES": 2 * SIZE}])
    @pytest.mark.parametrize("whose", ["stream", "topic"])
    @pytest.mark.parametrize("handler", [NOT_AT_ONCE, EACH_NOT_AT_ONCE])
    def test_a_group_is_no_larger_than_at_the_first_try(
        self, broker: ScriptedBroker, topic: str, group_id: str, limit: dict[str, int], whose: str, handler: str
    ) -> None:
        publish(broker, topic, 9)
        of_topic, of_stream = (limit, {}) if whose == "topic" else ({}, limit)
        stream: Any = (broker.bootstrap_servers, group_id, {topic: {"HANDLER": handler, **of_topic}})
        with nothing_tried_again():
            run_once(make(*stream, delivery=of_stream))
        run_once(make(*stream, delivery=of_stream))
        assert effects(topic) == list(range(9))
        assert not DeadLetter.objects.exists()
        assert (sum(tried_again), max(tried_again)) == (9, 2)

    def test_no_more_bytes_are_read_than_fit(self, group_id: str) -> None:
        """What a stream has in memory is BATCH_BYTES, however much waits."""
        for offset, size in enumerate([400, 400, 400, 5000, 100]):
            when = timezone.now() - timedelta(seconds=60 - offset)
            DeadLetter.objects.create(
                cluster="cluster", group_id=group_id, stream="test", topic="topic", partition=0, offset=offset,
                state="waiting", next_attempt_at=when, raw=bytes(size),
            )  # fmt: skip
        source: Any = make("127.0.0.1:1", group_id, {"topic": "one"}, delivery={"BATCH_BYTES": 1000})
        processes = [WaitingAlerts(source, "cluster", lease_s=60) for _ in range(5)]
        claimed = [[alert.offset for alert in process.claim(10)] for process in processes]
        assert claimed == [[0, 1], [2], [3], [4], []]

    def test_nor_by_a_replay(self, broker: ScriptedBroker, topic: str, group_id: str) -> None:
        publish(broker, topic, 9)
        stream = make(broker.bootstrap_servers, group_id, {topic: NOT_AT_ONCE}, delivery={"BATCH_BYTES": 2 * self.SIZE})
        with nothing_tried_again():
            run_once(stream)
        *_, report = replay.replay(DeadLetter.objects.all(), lambda _label: stream)  # type: ignore[arg-type,return-value]
        assert (report.became["done"], report.left) == (9, {})
        assert effects(topic) == list(range(9))
        assert max(tried_again) == 2
