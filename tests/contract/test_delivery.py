"""What delivery promises, on a broker: every alert has its effect exactly once, or a row that says why not."""

from __future__ import annotations

import asyncio
import functools
import threading
from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from tests import streams
from tests.brokers import ScriptedBroker
from tests.effects import handlers
from tests.marks import CORE_TABLES
from tests.secret import PASSWORD
from tests.streams import counts, effects, make, next_offset, publish, run_once
from tom_alertstreams.alerts import Alert
from tom_alertstreams.delivery.intake import Intake
from tom_alertstreams.delivery.source import Control
from tom_alertstreams.delivery.supervisor import StreamThread
from tom_alertstreams.exceptions import LookUpUnavailable
from tom_alertstreams.models import DeadLetter, StreamPartition, StreamRun

pytestmark = [
    CORE_TABLES,
    pytest.mark.both_databases,
    pytest.mark.usefixtures("fresh_handlers"),
]


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

        class Killed(KeyboardInterrupt):
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


class TestAfterTheCommit:
    @pytest.mark.parametrize("handler", ["one", "each", "many"])
    def test_what_fails_is_told_and_the_rest_is_done(
        self, broker: ScriptedBroker, topic: str, group_id: str, handler: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A mail that cannot be sent is no reason to lose the mails of the alerts beside it."""
        sent: list[int] = []

        def send_mail(alert: Alert) -> None:
            if alert.offset == 1:
                raise OSError(f"the mail server refuses {PASSWORD}")
            sent.append(alert.offset)

        handlers.trouble.append(lambda alert: transaction.on_commit(functools.partial(send_mail, alert)))
        publish(broker, topic, 5)
        run_once(make(broker.bootstrap_servers, group_id, {topic: handler}))
        assert sent == [0, 2, 3, 4]
        assert effects(topic) == handlers.calls == [0, 1, 2, 3, 4]
        assert counts() == {"done": 5}
        [told] = [record.message for record in caplog.records if "after the commit" in record.message]
        assert "the mail server refuses" in told
        assert PASSWORD not in told

    @pytest.mark.parametrize("error", [asyncio.CancelledError(), SystemExit(3)])
    def test_what_is_raised_and_is_no_exception_is_told_too(
        self, broker: ScriptedBroker, topic: str, group_id: str, error: BaseException, caplog: pytest.LogCaptureFixture
    ) -> None:
        """As the cancellation of a task that a time-out ends."""
        sent: list[int] = []

        def send_mail(alert: Alert) -> None:
            if alert.offset == 1:
                raise error
            sent.append(alert.offset)

        handlers.trouble.append(lambda alert: transaction.on_commit(functools.partial(send_mail, alert)))
        publish(broker, topic, 3)
        run_once(make(broker.bootstrap_servers, group_id, {topic: "each"}))
        assert sent == [0, 2]
        [told] = [record.message for record in caplog.records if "after the commit" in record.message]
        assert type(error).__name__ in told


@pytest.mark.parametrize(
    ("kept", "state", "letters"),
    [
        (b"another alert", "open", 2),
        (b"another alert", "waiting", 2),
        (b"another alert", "dismissed", 1),
        (None, "open", 1),
    ],
)
def test_a_letter_keeps_its_alert_when_the_offset_comes_again(
    broker: ScriptedBroker, topic: str, group_id: str, kept: bytes | None, state: str, letters: int
) -> None:
    """A topic that was made anew has its offsets again, for other alerts. None: it is the same alert."""

    def fail(alert: Alert) -> None:
        raise ValueError("no")

    handlers.trouble.append(fail)
    publish(broker, topic, 1)
    stream = make(broker.bootstrap_servers, group_id, {topic: "one"}, delivery={"RETRY": {"TOTAL": 1}})
    run_once(stream)
    first = DeadLetter.objects.get()
    came = bytes(first.raw or b"")
    DeadLetter.objects.update(raw=kept or came, state=state, next_attempt_at=timezone.now() + timedelta(days=1))
    for _ in range(2):
        StreamPartition.objects.update(next_offset=0)
        run_once(stream)
    found = list(DeadLetter.objects.order_by("pk"))
    assert len(found) == letters
    assert bytes(found[-1].raw or b"") == came
    if letters > 1:
        assert (found[0].pk, bytes(found[0].raw or b""), found[0].state) == (first.pk, kept, state)
    assert {letter.offset for letter in found} == {0}


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
        publish(broker, topic, 1)

        def leak(alert: Alert) -> None:
            raise ValueError(f"cannot log in with {PASSWORD}")

        handlers.trouble.append(leak)
        stream = make(broker.bootstrap_servers, group_id, {topic: "one"})
        run_once(stream)
        letter = DeadLetter.objects.get()
        texts = [letter.error, letter.traceback, caplog.text, repr(stream), repr(stream.settings)]
        texts += [str(row.__dict__) for row in StreamRun.objects.all()]
        assert not [text for text in texts if PASSWORD in text]
        assert "cannot log in with" in letter.error
        assert "cannot log in with" in caplog.text


def test_the_life_of_a_stream_is_recorded(broker: ScriptedBroker, topic: str, group_id: str) -> None:
    publish(broker, topic, 1)
    run_once(make(broker.bootstrap_servers, group_id, {topic: "one"}))
    run = StreamRun.objects.get()
    assert (run.stream, run.state, run.reason) == ("test", "stopped", "finished")
    assert run.ended is not None
    assert streams.KAFKA_STREAM not in run.settings_fingerprint
