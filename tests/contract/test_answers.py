"""What becomes of an alert that fails, or whose handler answers something else than done."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from tests.brokers import ScriptedBroker
from tests.effects import handlers
from tests.effects.models import Effect
from tests.marks import CORE_TABLES
from tests.streams import counts, effects, make, publish, run_once
from tom_alertstreams.alerts import Alert
from tom_alertstreams.delivery import hourly, loop
from tom_alertstreams.delivery.preparing import Preparer
from tom_alertstreams.delivery.source import Control
from tom_alertstreams.delivery.waiting import WaitingAlerts
from tom_alertstreams.exceptions import LookUpUnavailable, PartitionLost, RejectAlert, RetryLater
from tom_alertstreams.models import DeadLetter, Rejection
from tom_alertstreams.signals import housekeeping

pytestmark = [
    CORE_TABLES,
    pytest.mark.both_databases,
    pytest.mark.usefixtures("fresh_handlers"),
]


def publish_up_to_last(broker: ScriptedBroker, topic: str, count: int) -> None:
    """Alerts of which the last one says so."""
    broker.create_topic(topic)
    for number in range(count):
        broker.produce(topic, handlers.content(n=number, last=number == count - 1))
    broker.flush()


class TestBadAlerts:
    def test_what_cannot_be_decoded_becomes_a_dead_letter_with_its_bytes(
        self, broker: ScriptedBroker, topic: str, group_id: str
    ) -> None:
        bad: list[bytes | None] = [b"\xff\xfe\x00", b"", None, b'{"n": ', b"Obj\x01cut", b"\x00\x00\x00\x03\x84rest"]
        broker.create_topic(topic)
        for value in bad:
            broker.produce(topic, value, key=b"key", headers=[("one", b"\x00\x01"), ("one", b"two")])
        broker.produce(topic, handlers.content(n=1))
        broker.flush()
        for name in ("each", "many"):
            run_once(make(broker.bootstrap_servers, f"{group_id}-{name}", {topic: name}))
            letters = DeadLetter.objects.filter(group_id=f"{group_id}-{name}").order_by("offset")
            assert [None if x.raw is None else bytes(x.raw) for x in letters] == [
                v or None if v is None else v for v in bad
            ]
            assert {(x.error_class, x.attempts, x.state) for x in letters} == {("DecodeError", 1, "open")}
            assert {bytes(x.key or b"") for x in letters} == {b"key"}
            assert letters[0].headers == [["one", "AAE="], ["one", "dHdv"]]
        assert effects(topic) == [6, 6]

    def test_a_topic_without_a_handler(self, broker: ScriptedBroker, topic: str, group_id: str) -> None:
        """A waiting alert whose key has gone from the settings meanwhile."""
        publish(broker, topic, 1)
        handlers.trouble.append(lambda alert: (_ for _ in ()).throw(RetryLater(0.0, give_up_after_s=3600)))
        stream = {"delivery": {"RETRY": {"MAX_WAIT_S": 0.001}}}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "_WAITING_EVERY_S", 3600.0)
            run_once(make(broker.bootstrap_servers, group_id, {topic: "one"}, **stream), Control(max_alerts=1))
        assert DeadLetter.objects.get().state == "waiting"
        run_once(make(broker.bootstrap_servers, group_id, {f"{topic}-other": "one"}))
        letter = DeadLetter.objects.get()
        assert (letter.state, letter.error_class) == ("open", "NoHandler")

    def test_a_group_with_one_bad_alert_loses_only_that_one(
        self, broker: ScriptedBroker, topic: str, group_id: str
    ) -> None:
        def fail(alert: Alert) -> None:
            if alert.offset in (7, 13):
                raise KeyError("candid")

        publish(broker, topic, 30)
        handlers.trouble.append(fail)
        for name in ("each", "many"):
            Effect.objects.all().delete()
            DeadLetter.objects.all().delete()
            run_once(make(broker.bootstrap_servers, f"{group_id}-{name}", {topic: name}, label=name))
            assert effects(topic) == [offset for offset in range(30) if offset not in (7, 13)]
            assert list(DeadLetter.objects.order_by("offset").values_list("offset", flat=True)) == [7, 13]
            assert counts(name) == {"done": 28, "waiting": 4, "dead": 2}
            assert len(set(DeadLetter.objects.values_list("fingerprint", flat=True))) == 1

    def test_a_second_try_sees_the_alert_as_it_came(self, broker: ScriptedBroker, topic: str, group_id: str) -> None:
        def spoil(alert: Alert) -> None:
            spoilt = alert.content.pop("n")
            if spoilt == 3 and handlers.calls.count(3) < 2:
                raise ValueError("after it was changed")

        publish(broker, topic, 5)
        handlers.trouble.append(spoil)
        run_once(make(broker.bootstrap_servers, group_id, {topic: "each"}))
        assert Effect.objects.get(topic=topic, offset=3).note == "{'n': 3}"
        assert counts() == {"done": 5}
        assert effects(topic) == [0, 1, 2, 3, 4]

    def test_what_a_group_could_not_finish_is_seen_as_it_came(
        self, broker: ScriptedBroker, topic: str, group_id: str
    ) -> None:
        """A call that was rolled back has changed the alert; its time was over before its second try."""

        def spoil(alert: Alert) -> None:
            alert.content["n"] += 100
            if handlers.calls == [0, 1, 2]:
                raise ValueError("once")
            if handlers.calls == [0, 1, 2, 0]:
                time.sleep(0.6)  # the time of the group is over, with 1 and 2 changed by the first try

        publish(broker, topic, 5)
        handlers.trouble.append(spoil)
        run_once(make(broker.bootstrap_servers, group_id, {topic: "each"}, delivery={"BATCH_SECONDS": 0.5}))
        assert handlers.calls[:5] == [0, 1, 2, 0, 1]
        notes = Effect.objects.filter(topic=topic).order_by("offset").values_list("note", flat=True)
        assert list(notes) == [str({"n": n}) for n in range(5)]

    def test_on_error_reject_counts_instead_of_keeping(self, broker: ScriptedBroker, topic: str, group_id: str) -> None:
        broker.create_topic(topic)
        broker.produce(topic, b"\xff")
        broker.flush()
        topic_entry = {"HANDLER": "tests.effects.handlers.each", "ON_ERROR": "reject"}
        run_once(make(broker.bootstrap_servers, group_id, {topic: topic_entry}))
        assert counts() == {"rejected:error": 1}
        assert not DeadLetter.objects.exists()


class TestAnswers:
    def test_a_batch_handler_answers_for_each_alert(self, broker: ScriptedBroker, topic: str, group_id: str) -> None:
        broker.create_topic(topic)
        for word in ("done", "rejected", "bad", "done"):
            broker.produce(topic, handlers.content(say=word))
        broker.flush()
        run_once(make(broker.bootstrap_servers, group_id, {topic: "judge"}))
        assert effects(topic) == [0, 3]
        assert counts() == {"done": 2, "rejected:sky": 1, "waiting": 2, "dead": 1}
        rejection = Rejection.objects.get()
        assert (rejection.object_id, rejection.code, rejection.offset) == ("ZTF26aaaaaaa", "sky", 1)

    @pytest.mark.parametrize("handler", ["write_then_trouble", "each"])
    def test_reject_alert_undoes_what_was_written(
        self, broker: ScriptedBroker, topic: str, group_id: str, handler: str
    ) -> None:
        def reject_even(alert: Alert) -> None:
            if alert.offset % 2 == 0:
                raise RejectAlert("class", "AT2026abc")

        publish(broker, topic, 6)
        handlers.trouble.append(reject_even)
        run_once(make(broker.bootstrap_servers, group_id, {topic: handler}))
        assert effects(topic) == [1, 3, 5]
        assert counts() == {"done": 3, "rejected:class": 3}
        assert not DeadLetter.objects.exists()

    @pytest.mark.parametrize("handler", ["one", "each", "many"])
    def test_retry_later_waits_in_the_database_and_lets_the_rest_go_on(
        self, broker: ScriptedBroker, topic: str, group_id: str, handler: str
    ) -> None:
        def not_yet(alert: Alert) -> None:
            if alert.offset == 1 and (len(set(handlers.calls)) < 4 or handlers.calls.count(1) < 5):
                raise RetryLater(0.05, "the others first, and longer than RETRY would wait", give_up_after_s=60)

        publish(broker, topic, 4)
        handlers.trouble.append(not_yet)
        run_once(make(broker.bootstrap_servers, group_id, {topic: handler}))
        assert effects(topic) == [0, 1, 2, 3]
        assert not DeadLetter.objects.exists()

    @pytest.mark.parametrize("handler", ["one", "each", "many"])
    def test_retry_later_is_given_up_when_its_time_is_over(
        self, broker: ScriptedBroker, topic: str, group_id: str, handler: str
    ) -> None:
        def never(alert: Alert) -> None:
            if alert.offset == 1 and handlers.calls.count(1) < 50:
                raise RetryLater(0.05, "no position yet", give_up_after_s=0.3)

        publish(broker, topic, 3)
        handlers.trouble.append(never)
        run_once(make(broker.bootstrap_servers, group_id, {topic: handler}), Control(once=True, max_alerts=100))
        letter = DeadLetter.objects.get()
        assert (letter.offset, letter.state) == (1, "open")
        assert "no position yet" in str(letter.error)
        assert handlers.calls.count(1) > 1
        assert effects(topic) == [0, 2]
        assert (counts()["done"], counts()["dead"]) == (2, 1)

    def test_options_are_built_from_settings(self, broker: ScriptedBroker, topic: str, group_id: str) -> None:
        broker.create_topic(topic)
        for rb in (0.5, 0.7):
            broker.produce(topic, handlers.content(rb=rb))
        broker.flush()
        topic_entry = {"HANDLER": "tests.effects.handlers.above", "OPTIONS": {"MIN_RB": 0.6}}
        run_once(make(broker.bootstrap_servers, group_id, {topic: topic_entry}))
        assert effects(topic) == [1]
        assert counts() == {"done": 1, "rejected:filter": 1}

    def test_what_prepare_finds_before_the_transaction_reaches_the_handler(
        self, broker: ScriptedBroker, topic: str, group_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        prepare, in_transaction = Preparer.prepare, set[bool]()

        def prepare_and_note(preparer: Preparer, *arguments: Any) -> Any:
            in_transaction.add(connection.in_atomic_block)
            return prepare(preparer, *arguments)

        monkeypatch.setattr(Preparer, "prepare", prepare_and_note)
        publish(broker, topic, 3)
        run_once(make(broker.bootstrap_servers, group_id, {topic: "prepared"}))
        assert list(Effect.objects.values_list("note", flat=True)) == [str(len(handlers.content(n=0)))] * 3
        assert in_transaction == {False}

    def test_the_next_group_is_prepared_while_one_is_handled(
        self, broker: ScriptedBroker, topic: str, group_id: str
    ) -> None:
        """The handler waits for it before it ends."""
        publish_up_to_last(broker, topic, 40)
        run_once(make(broker.bootstrap_servers, group_id, {topic: "ahead"}, delivery={"BATCH_SIZE": 10}))
        assert effects(topic) == list(range(40))
        assert any(handlers.ahead_of[:-1])
        assert handlers.calls == list(range(40))

    def test_what_fails_is_prepared_anew(self, broker: ScriptedBroker, topic: str, group_id: str) -> None:
        def fail(alert: Alert) -> None:
            if alert.offset in (3, 17):
                raise KeyError("candid")

        publish_up_to_last(broker, topic, 20)
        handlers.trouble.append(fail)
        run_once(make(broker.bootstrap_servers, group_id, {topic: "ahead"}, delivery={"BATCH_SIZE": 10}))
        assert effects(topic) == [offset for offset in range(20) if offset not in (3, 17)]

    def test_what_was_prepared_before_a_pause_is_prepared_anew(
        self, broker: ScriptedBroker, topic: str, group_id: str
    ) -> None:
        """A call that was rolled back may have changed the content of its alerts, so they are fresh ones."""
        away = [LookUpUnavailable("the catalogue is away")]
        publish_up_to_last(broker, topic, 20)
        handlers.trouble.append(lambda alert: away and (_ for _ in ()).throw(away.pop()))
        run_once(make(broker.bootstrap_servers, group_id, {topic: "ahead"}, delivery={"BATCH_SIZE": 10}))
        assert effects(topic) == list(range(20))
        assert handlers.calls == [0, *range(20)]

    @pytest.mark.parametrize(("days", "offsets"), [(7, [0, 1]), (0, [])])
    def test_rejections_are_kept_for_some_days(
        self, broker: ScriptedBroker, topic: str, group_id: str, days: int, offsets: list[int]
    ) -> None:
        for age in (6, 8):
            time_of_it = timezone.now() - timedelta(days=age)
            Rejection.objects.create(stream="test", topic="old", partition=0, offset=age, time=time_of_it)
        publish(broker, topic, 2, say="rejected")
        run_once(make(broker.bootstrap_servers, group_id, {topic: "judge"}, delivery={"REJECTIONS_DAYS": days}))
        assert (
            list(Rejection.objects.filter(topic=topic).order_by("offset").values_list("offset", flat=True)) == offsets
        )
        assert counts() == {"rejected:sky": 2}
        assert list(Rejection.objects.filter(topic="old").values_list("offset", flat=True)) == ([6] if days else [])

    def test_housekeeping_comes_before_the_first_alerts_and_outside_of_transactions(
        self, broker: ScriptedBroker, topic: str, group_id: str
    ) -> None:
        seen: list[tuple[int, bool, list[str]]] = []

        def look(source: Any, **_more: Any) -> None:
            seen.append((Effect.objects.count(), connection.in_atomic_block, list(source.bindings)))

        publish(broker, topic, 3)
        housekeeping.connect(look)
        try:
            run_once(make(broker.bootstrap_servers, group_id, {topic: "one"}))
        finally:
            housekeeping.disconnect(look)
        assert seen == [(0, False, [topic])]

    def test_old_rejections_are_forgotten_little_by_little(
        self, broker: ScriptedBroker, topic: str, group_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Alerts do not wait for a million rows; with --once all are gone in the end."""
        monkeypatch.setattr(hourly, "_AT_ONCE", 3)
        monkeypatch.setattr(hourly, "_AT_A_TURN_S", 0.0)
        monkeypatch.setattr(hourly, "_AT_MOST_S", 0.0)
        left: list[int] = []
        old = timezone.now() - timedelta(days=8)
        Rejection.objects.bulk_create(
            Rejection(stream=stream, topic="old", partition=0, offset=offset, time=old)
            for offset in range(60)
            for stream in ("test", "other")
        )
        handlers.trouble.append(lambda alert: left.append(Rejection.objects.filter(stream="test").count()))
        publish(broker, topic, 2)
        run_once(make(broker.bootstrap_servers, group_id, {topic: "one"}, delivery={"BATCH_SIZE": 1}))
        assert left[0] - left[1] == 3
        assert left[1] > 0
        assert set(Rejection.objects.values_list("stream", flat=True)) == {"other"}
        assert Rejection.objects.count() == 60

    def test_housekeeping_that_fails_stops_neither_the_alerts_nor_others(
        self, broker: ScriptedBroker, topic: str, group_id: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        called: list[str] = []

        def fails(**_more: Any) -> None:
            called.append("fails")
            raise ZeroDivisionError("a bug")

        def follows(**_more: Any) -> None:
            called.append("follows")

        publish(broker, topic, 3)
        for receiver in (fails, follows):
            housekeeping.connect(receiver)
        try:
            status = run_once(make(broker.bootstrap_servers, group_id, {topic: "one"}))
        finally:
            for receiver in (fails, follows):
                housekeeping.disconnect(receiver)
        assert effects(topic) == [0, 1, 2]
        assert called == ["fails", "follows"]
        assert "fails has failed" in status.last_error
        assert "ZeroDivisionError: a bug" in caplog.text

    def test_the_call_announced_for_2_0(self, broker: ScriptedBroker, topic: str, group_id: str) -> None:
        publish(broker, topic, 1)
        run_once(make(broker.bootstrap_servers, group_id, {topic: "new_style"}))
        assert Effect.objects.get().note == f"test {topic} ['metadata']"


class TestWaiting:
    def test_a_lease_keeps_other_processes_away_until_it_runs_out(self, group_id: str) -> None:
        source: Any = make("127.0.0.1:1", group_id, {"topic": "one"})
        ours, theirs = (WaitingAlerts(source, "cluster", lease_s=60) for _ in range(2))
        row = {"group_id": group_id, "topic": "topic", "partition": 0, "offset": 7, "next_attempt_at": timezone.now()}
        DeadLetter.objects.create(cluster="cluster", state="waiting", **row)
        claimed = ours.claim(10)
        assert [alert.offset for alert in claimed] == [7]
        assert theirs.claim(10) == []
        ours.begin(claimed)
        DeadLetter.objects.update(leased_until=timezone.now())
        assert [alert.offset for alert in theirs.claim(10)] == [7]
        with pytest.raises(PartitionLost):
            ours.begin(claimed)
        theirs.release()
        assert [alert.offset for alert in ours.claim(10)] == [7]
