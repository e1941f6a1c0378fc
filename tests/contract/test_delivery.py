"""What delivery promises, on a broker: every alert has its effect exactly once, or a row that says why not."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from confluent_kafka import KafkaError, TopicPartition
from django.db import connection, transaction
from django.utils import timezone

from tests import streams
from tests.brokers import ScriptedBroker
from tests.effects import handlers
from tests.effects.models import Effect
from tests.streams import counts, effects, make, next_offset, run_once
from tom_alertstreams.alerts import Alert
from tom_alertstreams.delivery import loop
from tom_alertstreams.delivery.intake import Intake
from tom_alertstreams.delivery.preparing import Preparer
from tom_alertstreams.delivery.source import Control
from tom_alertstreams.delivery.supervisor import StreamThread
from tom_alertstreams.delivery.waiting import WaitingAlerts
from tom_alertstreams.exceptions import LookUpUnavailable, PartitionLost, RejectAlert, RetryLater
from tom_alertstreams.models import DeadLetter, Rejection, StreamPartition, StreamRun

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@pytest.fixture(autouse=True)
def fresh_handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    handlers.reset()
    monkeypatch.setattr(loop, "_WAITING_EVERY_S", 0.02)
    monkeypatch.setattr(loop, "_FIRST_PAUSE_S", 0.02)
    yield
    handlers.reset()


def publish(broker: ScriptedBroker, topic: str, count: int, partition: int = 0, **content: Any) -> None:
    broker.create_topic(topic)
    for number in range(count):
        broker.produce(topic, handlers.content(n=number, **content), partition=partition)
    broker.flush()


class TestOncePerAlert:
    @pytest.mark.timeout(30, func_only=True)  # what does not end when it should is found out
    @pytest.mark.parametrize("handler", ["one", "each", "many"])
    def test_every_alert_has_its_effect(self, broker: ScriptedBroker, topic: str, group_id: str, handler: str) -> None:
        publish(broker, topic, 50)
        run_once(make(broker.bootstrap_servers, group_id, {topic: handler}))
        assert effects(topic) == list(range(50))
        assert counts() == {"done": 50}
        assert next_offset(group_id, topic) == 50

    @pytest.mark.parametrize("handler", ["one", "each", "many"])
    def test_database_offset_wins_when_kafka_never_heard(
        self, broker: ScriptedBroker, topic: str, group_id: str, handler: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A crash after the commit in the database and before the commit in Kafka."""
        publish(broker, topic, 10)
        monkeypatch.setattr(Intake, "mirror", lambda *args, **kwargs: None)
        run_once(make(broker.bootstrap_servers, group_id, {topic: handler}))
        run_once(make(broker.bootstrap_servers, group_id, {topic: handler}))
        assert effects(topic) == list(range(10))

    @pytest.mark.parametrize("handler", ["write_then_trouble", "each", "many"])
    def test_effect_and_offset_are_one(
        self, broker: ScriptedBroker, topic: str, group_id: str, handler: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The process dies between the handler's write and the commit."""

        class Killed(BaseException):
            pass

        def die(alert: Alert) -> None:
            if alert.offset == 5:
                raise Killed

        publish(broker, topic, 10)
        handlers.trouble.append(die)
        with pytest.raises(Killed):
            run_once(make(broker.bootstrap_servers, group_id, {topic: handler}))
        assert next_offset(group_id, topic) == len(effects(topic))
        handlers.trouble.clear()
        run_once(make(broker.bootstrap_servers, group_id, {topic: handler}))
        assert effects(topic) == list(range(10))

    @pytest.mark.parametrize("handler", ["one", "each", "many"])
    def test_compare_and_set_stops_a_consumer_that_lost_the_partition(
        self, broker: ScriptedBroker, topic: str, group_id: str, handler: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another process has handled alerts 0 to 3 after this one was given the partition."""
        publish(broker, topic, 10)
        place = Intake.place

        def place_and_lose(intake: Intake) -> bool:
            first = not intake.assigned
            placed = place(intake)
            if placed and first:
                StreamPartition.objects.filter(topic=topic).update(next_offset=4)
            return placed

        monkeypatch.setattr(Intake, "place", place_and_lose)
        run_once(make(broker.bootstrap_servers, group_id, {topic: handler}))
        assert effects(topic) == list(range(4, 10))
        assert next_offset(group_id, topic) == 10

    def test_a_handler_of_1x_is_called_once_for_each_alert_when_one_of_500_raises(
        self, broker: ScriptedBroker, topic: str, group_id: str
    ) -> None:
        def fail(alert: Alert) -> None:
            if alert.offset == 250:
                raise ValueError("this one")

        publish(broker, topic, 500)
        handlers.trouble.append(fail)
        run_once(make(broker.bootstrap_servers, group_id, {topic: "write_then_trouble"}))
        others = [offset for offset in range(500) if offset != 250]
        assert effects(topic) == others
        assert sorted(offset for offset in handlers.calls if offset != 250) == others
        letter = DeadLetter.objects.get()
        assert (letter.offset, letter.attempts, letter.state) == (250, 3, "open")
        assert handlers.calls.count(250) == 3

    def test_two_clusters_with_one_topic_and_one_group(
        self, broker: ScriptedBroker, own_broker: ScriptedBroker, topic: str, group_id: str
    ) -> None:
        publish(broker, topic, 3)
        publish(own_broker, topic, 5)
        run_once(make(broker.bootstrap_servers, group_id, {topic: "one"}, label="first"))
        run_once(make(own_broker.bootstrap_servers, group_id, {topic: "one"}, label="second"))
        assert len(effects(topic)) == 8
        assert counts("first") == {"done": 3}
        assert counts("second") == {"done": 5}


class TestWhereReadingBegins:
    def test_latest_applies_to_what_exists_and_not_to_what_is_born_later(
        self, own_broker: ScriptedBroker, topic: str, group_id: str
    ) -> None:
        servers, pattern = own_broker.bootstrap_servers, f"{topic}*"
        publish(own_broker, f"{topic}-old", 5)
        stream = {"handlers": {pattern: "one"}, "delivery": {"START": "latest"}}
        run_once(make(servers, group_id, **stream))
        assert effects(f"{topic}-old") == []
        publish(own_broker, f"{topic}-new", 3)
        own_broker.produce(f"{topic}-old", handlers.content(n=5))
        own_broker.flush()
        run_once(make(servers, group_id, **stream))
        assert effects(f"{topic}-new") == [0, 1, 2]
        assert effects(f"{topic}-old") == [5]

    def test_the_offset_of_kafka_counts_where_the_database_has_none(
        self, broker: ScriptedBroker, topic: str, group_id: str
    ) -> None:
        """As after an upgrade from 1.x, which committed to Kafka only."""
        publish(broker, topic, 6)
        run_once(make(broker.bootstrap_servers, group_id, {topic: "one"}), Control(once=True, max_alerts=4))
        for table in (StreamPartition, Effect):
            table.objects.all().delete()
        run_once(make(broker.bootstrap_servers, group_id, {topic: "one"}))
        assert effects(topic) == [4, 5]

    def test_a_topic_that_is_absent_disturbs_nobody(self, broker: ScriptedBroker, topic: str, group_id: str) -> None:
        publish(broker, topic, 3)
        run_once(make(broker.bootstrap_servers, group_id, {f"{topic}-absent": "one", topic: "one"}))
        assert effects(topic) == [0, 1, 2]

    def test_a_rebalance_is_not_the_end(
        self, broker: ScriptedBroker, topic: str, group_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The partition is taken away as soon as it was given, and given again a little later."""
        publish(broker, topic, 5)
        place, poll, polls = Intake.place, Intake.poll, list[int]()
        partitions = [TopicPartition(topic, 0)]

        def place_and_revoke(intake: Intake) -> bool:
            placed = place(intake)
            if placed and not polls:
                intake._on_revoke(intake.consumer, partitions)
                polls.append(0)
            return placed

        def poll_and_assign(intake: Intake, timeout_s: float, *, fetch: bool) -> None:
            poll(intake, timeout_s / 10, fetch=fetch)
            if polls:
                polls.append(0)
            if len(polls) == 5:
                intake._on_assign(intake.consumer, partitions)

        monkeypatch.setattr(Intake, "place", place_and_revoke)
        monkeypatch.setattr(Intake, "poll", poll_and_assign)
        run_once(make(broker.bootstrap_servers, group_id, {topic: "one"}))
        assert effects(topic) == [0, 1, 2, 3, 4]

    def test_no_topic_at_all_is_the_end(self, broker: ScriptedBroker, topic: str, group_id: str) -> None:
        status = run_once(make(broker.bootstrap_servers, group_id, {f"{topic}*": "one"}))
        assert status.tally["received"] == 0

    def test_alerts_deleted_by_the_broker_are_told(self, own_broker: ScriptedBroker, topic: str, group_id: str) -> None:
        publish(own_broker, topic, 10)
        stream = (own_broker.bootstrap_servers, group_id, {topic: "one"})
        run_once(make(*stream), Control(once=True, max_alerts=2))
        own_broker.delete_records(topic, 0, 6)
        status = run_once(make(*stream))
        assert effects(topic) == [0, 1, 6, 7, 8, 9]
        assert "offset 2 is not on the broker any more" in status.last_error


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


class TestHandlersThatCannotRunInside:
    @pytest.mark.parametrize("handler", ["swallow", "durable"])
    def test_runs_outside_from_then_on_and_loses_nothing(
        self, broker: ScriptedBroker, topic: str, group_id: str, handler: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        publish(broker, topic, 5)
        run_once(make(broker.bootstrap_servers, group_id, {topic: handler}))
        assert effects(topic) == [0, 1, 2, 3, 4]
        assert not DeadLetter.objects.exists()
        warnings = [record for record in caplog.records if "cannot run inside our transaction" in record.message]
        assert len(warnings) == 1

    def test_atomic_false_asks_for_it(self, broker: ScriptedBroker, topic: str, group_id: str) -> None:
        publish(broker, topic, 2)
        topic_entry = {"HANDLER": "tests.effects.handlers.durable", "ATOMIC": False}
        run_once(make(broker.bootstrap_servers, group_id, {topic: topic_entry}))
        assert effects(topic) == [0, 1]
        assert handlers.calls == [0, 1]


class TestSomethingIsAway:
    @pytest.mark.parametrize("handler", ["one", "each", "many"])
    def test_waits_without_spending_an_attempt(
        self, broker: ScriptedBroker, topic: str, group_id: str, handler: str
    ) -> None:
        def away(alert: Alert) -> None:
            if alert.offset == 2 and handlers.calls.count(2) <= 5:
                raise LookUpUnavailable("the catalogue is down")

        publish(broker, topic, 4)
        handlers.trouble.append(away)
        status = run_once(make(broker.bootstrap_servers, group_id, {topic: handler}))
        assert effects(topic) == [0, 1, 2, 3]
        assert not DeadLetter.objects.exists()
        assert counts() == {"done": 4}
        assert "the catalogue is down" in status.last_error

    def test_a_broker_that_comes_back_is_read_on(self, own_broker: ScriptedBroker, topic: str, group_id: str) -> None:
        publish(own_broker, topic, 3)
        control = Control()
        thread = StreamThread(make(own_broker.bootstrap_servers, group_id, {topic: "one"}), control)
        waiting_for = threading.Event()
        handlers.trouble.append(lambda alert: alert.offset == 2 and waiting_for.set())
        thread.start()
        try:
            assert waiting_for.wait(20)
            own_broker.broker_down()
            waiting_for.clear()
            handlers.trouble[:] = [lambda alert: alert.offset == 3 and waiting_for.set()]
            own_broker.broker_up()
            own_broker.produce(topic, handlers.content(n=3))
            own_broker.flush()
            assert waiting_for.wait(30)
        finally:
            control.stopping.set()
            thread.join(20)
        assert effects(topic) == [0, 1, 2, 3]


class TestSecrets:
    def test_a_password_in_an_error_is_blanked_everywhere(
        self, broker: ScriptedBroker, topic: str, group_id: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        password = "correct-horse-battery"
        publish(broker, topic, 1)

        def leak(alert: Alert) -> None:
            raise ValueError(f"cannot log in with {password}")

        handlers.trouble.append(leak)
        stream = make(broker.bootstrap_servers, group_id, {topic: "one"}, CONFIG={"sasl.password": password})
        run_once(stream)
        letter = DeadLetter.objects.get()
        texts = [letter.error, letter.traceback, caplog.text, repr(stream), repr(stream.settings)]
        texts += [str(row.__dict__) for row in StreamRun.objects.all()]
        assert not [text for text in texts if password in text]
        assert "cannot log in with" in letter.error


class TestLimits:
    def test_max_alerts_counts_all_streams_together(self, broker: ScriptedBroker, topic: str, group_id: str) -> None:
        publish(broker, f"{topic}-a", 10)
        publish(broker, f"{topic}-b", 10)
        control = Control(once=True, max_alerts=7)
        for name in ("a", "b"):
            run_once(make(broker.bootstrap_servers, f"{group_id}-{name}", {f"{topic}-{name}": "each"}), control)
        assert len(effects(f"{topic}-a")) + len(effects(f"{topic}-b")) == 7

    def test_order_is_kept_within_a_partition(self, broker: ScriptedBroker, topic: str, group_id: str) -> None:
        broker.create_topic(topic, 2)
        for number in range(40):
            broker.produce(topic, handlers.content(n=number), partition=number % 2)
        broker.flush()
        run_once(make(broker.bootstrap_servers, group_id, {topic: "one"}, delivery={"BATCH_SIZE": 7}))
        for partition in (0, 1):
            written = Effect.objects.filter(partition=partition).order_by("pk").values_list("offset", flat=True)
            assert list(written) == list(range(20))

    @pytest.mark.parametrize("handler", ["one", "each"])
    def test_while_handlers_take_their_time_our_place_in_the_group_is_kept(
        self, broker: ScriptedBroker, topic: str, group_id: str, handler: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Handling ends after BATCH_SECONDS, what is finished commits, and Kafka is polled but nothing fetched."""
        poll = Intake.poll
        polled: set[int] = set()
        held = [0]
        committed: dict[int, int] = {}

        def poll_and_note(intake: Intake, timeout_s: float, *, fetch: bool) -> None:
            poll(intake, timeout_s, fetch=fetch)
            polled.add(len(handlers.calls))
            held.append(sum(map(len, intake.held.values())))

        def work(alert: Alert) -> None:
            transaction.on_commit(lambda: committed.setdefault(alert.offset, len(handlers.calls)))
            time.sleep(0.06)

        monkeypatch.setattr(Intake, "poll", poll_and_note)
        publish(broker, topic, 12)
        handlers.trouble.append(work)
        delivery = {"BATCH_SECONDS": 0.1, "BATCH_SIZE": 6}
        run_once(make(broker.bootstrap_servers, group_id, {topic: handler}, delivery=delivery))
        assert handlers.calls == effects(topic) == list(range(12))
        assert committed[0] <= 2
        assert len(polled - {0, 12}) >= 5
        assert max(held) <= 6

    @pytest.mark.parametrize("limit", [{"BATCH_SIZE": 4}, {"BATCH_BYTES": 4 * len(handlers.content(n=0))}])
    def test_a_group_is_no_larger_than_settings_say(
        self, broker: ScriptedBroker, topic: str, group_id: str, limit: dict[str, int]
    ) -> None:
        committed: set[int] = {0}
        handlers.trouble.append(lambda alert: transaction.on_commit(lambda: committed.add(len(handlers.calls))))
        publish(broker, topic, 10)
        topic_entry = {"HANDLER": "tests.effects.handlers.each", **limit}
        run_once(make(broker.bootstrap_servers, group_id, {topic: topic_entry}))
        ends = sorted(committed)
        assert ends[-1] == 10
        assert max(end - begin for begin, end in pairwise(ends)) <= 4

    def test_kafkas_offsets_are_only_a_mirror(self, own_broker: ScriptedBroker, topic: str, group_id: str) -> None:
        """A commit that Kafka refuses costs nothing."""
        publish(own_broker, topic, 3)
        own_broker.push_errors(own_broker.OFFSET_COMMIT, *[KafkaError.TOPIC_AUTHORIZATION_FAILED] * 20)
        for _ in range(2):
            run_once(make(own_broker.bootstrap_servers, group_id, {topic: "one"}))
        assert effects(topic) == [0, 1, 2]

    def test_a_request_to_stop_finishes_the_alert_in_hand(
        self, broker: ScriptedBroker, topic: str, group_id: str
    ) -> None:
        control = Control()
        publish(broker, topic, 20)
        handlers.trouble.append(lambda alert: alert.offset == 4 and control.stopping.set())
        run_once(make(broker.bootstrap_servers, group_id, {topic: "each"}), control)
        assert effects(topic) == [0, 1, 2, 3, 4]
        assert next_offset(group_id, topic) == 5


def test_the_life_of_a_stream_is_recorded(broker: ScriptedBroker, topic: str, group_id: str) -> None:
    publish(broker, topic, 1)
    run_once(make(broker.bootstrap_servers, group_id, {topic: "one"}))
    run = StreamRun.objects.get()
    assert (run.stream, run.state, run.reason) == ("test", "stopped", "finished")
    assert run.ended is not None
    assert streams.KAFKA_STREAM not in run.settings_fingerprint
