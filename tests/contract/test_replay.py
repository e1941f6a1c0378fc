"""Dead letters are tried again with today's handler, and each has its effect once, whoever replays it and how often."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, connections
from django.utils import timezone

from tests.brokers import ScriptedBroker
from tests.effects import handlers
from tests.effects.models import Effect
from tests.marks import CORE_TABLES
from tests.streams import counts, effects, make, run_once
from tom_alertstreams.alerts import Alert
from tom_alertstreams.alertstreams.alertstream import AlertStream
from tom_alertstreams.delivery.fuse import Fuse
from tom_alertstreams.delivery.ledger import Ledger, Tally
from tom_alertstreams.delivery.letters import LetterFilter
from tom_alertstreams.delivery.preparing import Preparer
from tom_alertstreams.delivery.replay import BUSY, ReplayReport, replay
from tom_alertstreams.delivery.runner import Runner
from tom_alertstreams.delivery.runs import Status
from tom_alertstreams.exceptions import ConfigurationError, LookUpUnavailable, RejectAlert, RetryLater
from tom_alertstreams.models import DeadLetter, Rejection

pytestmark = [
    CORE_TABLES,
    pytest.mark.both_databases,
    pytest.mark.usefixtures("fresh_handlers"),
]

AT_ONCE = {"RETRY": {"TOTAL": 1}, "BATCH_SECONDS": 60}
KINDS = pytest.mark.parametrize("handler", ["one", "each", "many"])


class NoOffsets:
    """Alerts from nowhere, so that most tests need no broker: a replay has none either."""

    def begin(self, alerts: Sequence[Alert]) -> None: ...
    def trim(self, alerts: Sequence[Alert], finished: int) -> None: ...
    def committed(self, finished: Sequence[Alert]) -> None: ...
    def previous(self, alert: Alert) -> None: ...


@pytest.fixture
def stream(topic: str, group_id: str) -> Callable[..., AlertStream]:
    """Makes the stream of this test, as settings may have it at some time."""

    def made(handler: str = "one", *, key: str = topic, delivery: dict[str, Any] | None = None) -> AlertStream:
        return make("127.0.0.1:1", group_id, {key: handler}, delivery={**AT_ONCE, **(delivery or {})})

    return made


@pytest.fixture
def bury(topic: str) -> Callable[..., None]:
    """Lets a stream fail at alerts, as its delivery loop would."""

    def buried(stream: Any, count: int = 3, error: Exception | None = None) -> None:
        message = {"topic": topic, "partition": 0, "key": b"key", "headers": (("name", b"\x00value"),)}
        alerts = [
            stream.restore_alert(**message, offset=n, raw=handlers.content(n=n), timestamp=timezone.now())
            for n in range(count)
        ]
        handlers.trouble.append(raiser(error or KeyError("candid")))
        ledger = Ledger("test", "cluster", stream.group_id, Tally())
        fuse, preparer = Fuse("test", stream.settings.delivery, half_open=False), Preparer("test")
        runner = Runner(stream, NoOffsets(), ledger, preparer, fuse, Status("test"), lambda: False)
        while alerts:  # a slow machine does not finish them in one go
            alerts = alerts[runner.handle(stream.bindings[topic], alerts) :]
        handlers.reset()
        assert DeadLetter.objects.count() == count

    return buried


def raiser(error: Exception) -> Callable[[Alert], None]:
    def fail(alert: Alert) -> None:
        raise error

    return fail


def replay_all(stream: AlertStream, **chosen: Any) -> ReplayReport:
    *_, report = replay(LetterFilter(**chosen).rows(), lambda label: stream)  # type: ignore[arg-type,return-value]
    return report


def states() -> list[str]:
    return list(DeadLetter.objects.order_by("pk").values_list("state", flat=True))


class TestOnce:
    @KINDS
    def test_the_mended_handler_gets_the_alerts_as_they_came(
        self, stream: Any, bury: Any, topic: str, handler: str
    ) -> None:
        bury(stream(handler))
        got: list[Alert] = []
        handlers.trouble.append(got.append)
        report = replay_all(stream(handler))
        assert effects(topic) == [0, 1, 2]
        assert states() == ["replayed"] * 3
        assert (report.total, report.became["done"], report.all_well) == (3, 3, True)
        assert counts() == {"dead": 3, "done": 3}
        alert = got[-1]
        assert (alert.key, alert.headers, alert.content) == (b"key", (("name", b"\x00value"),), {"n": alert.offset})

    @KINDS
    def test_replayed_twice_has_its_effect_once(self, stream: Any, bury: Any, topic: str, handler: str) -> None:
        bury(stream(handler))
        replay_all(stream(handler))
        assert replay_all(stream(handler)).total == 0
        every = tuple(DeadLetter.State.values)
        report = replay_all(stream(handler), states=every)  # as of a list that was made before the first replay
        assert (report.left[BUSY], report.all_well) == (3, True)
        assert effects(topic) == [0, 1, 2]

    @KINDS
    def test_overtaken_after_the_lease_ran_out_has_its_effect_once(
        self, stream: Any, bury: Any, topic: str, handler: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The process sleeps between the claim and its transaction, and another replays the same letters meanwhile."""
        bury(stream(handler))
        no_time = dict.fromkeys(("HANDLER_TIMEOUT_S", "PREPARE_TIMEOUT_S", "BATCH_SECONDS"), 1e-6)
        hasty = stream(handler, delivery=no_time)
        handle, overtaken = Runner.handle, list[ReplayReport]()

        def sleep_before(runner: Runner, *args: Any) -> int:
            if not overtaken:
                overtaken.append(ReplayReport(0))
                overtaken.append(replay_all(hasty))
            return handle(runner, *args)

        monkeypatch.setattr(Runner, "handle", sleep_before)
        report = replay_all(hasty)
        assert overtaken[-1].became["done"] == 3
        assert (report.became["done"], report.left[BUSY]) == (0, 3)
        assert effects(topic) == [0, 1, 2]

    def test_two_at_once_have_each_effect_once(self, stream: Any, bury: Any, topic: str) -> None:
        bury(stream(), count=40)
        together = threading.Barrier(2)
        reports: list[ReplayReport] = []

        def run() -> None:
            try:
                rows = LetterFilter().rows()
                steps = replay(rows, lambda label: stream(delivery={"BATCH_SIZE": 3}))
                next(steps)
                together.wait(20)
                *_, report = steps
                reports.append(report)
            finally:
                connections.close_all()

        threads = [threading.Thread(target=run, name=f"alertstream-replay-{n}") for n in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert effects(topic) == list(range(40))
        assert set(states()) == {"replayed"}
        assert sum(report.became["done"] for report in reports) == 40
        assert counts() == {"dead": 40, "done": 40}

    def test_a_handler_that_runs_outside_our_transaction(self, stream: Any, bury: Any, topic: str) -> None:
        bury(stream())
        replay_all(stream("durable"))
        assert effects(topic) == [0, 1, 2]
        assert states() == ["replayed"] * 3

    def test_letters_of_two_handlers_or_clusters_have_the_same_coordinates(
        self, stream: Any, bury: Any, topic: str
    ) -> None:
        bury(stream(), count=1)
        letter = DeadLetter.objects.get()
        letter.pk, letter.cluster = None, "another"
        letter.save()
        assert replay_all(stream()).became["done"] == 2
        assert states() == ["replayed"] * 2

    def test_who_stops_early_leaves_the_rest_as_it_was(self, stream: Any, bury: Any, topic: str) -> None:
        bury(stream(), count=4)
        steps = replay(LetterFilter().rows(), lambda label: stream(delivery={"BATCH_SIZE": 2}))
        next(steps)
        next(steps)
        steps.close()  # type: ignore[attr-defined]
        assert effects(topic) == [0, 1]
        assert states() == ["replayed", "replayed", "open", "open"]
        assert not DeadLetter.objects.exclude(leased_until=None).exists()
        replay_all(stream())
        assert effects(topic) == [0, 1, 2, 3]


class TestWhatBecomesOfIt:
    @pytest.mark.parametrize("handler", ["write_then_trouble", "each", "many"])
    def test_what_fails_again_stays_open(self, stream: Any, bury: Any, topic: str, handler: str) -> None:
        bury(stream(handler))
        before = DeadLetter.objects.get(offset=1)

        def still_wrong(alert: Alert) -> None:
            if alert.offset == 1:
                raise ValueError("jd")

        handlers.trouble.append(still_wrong)
        report = replay_all(stream(handler, delivery={"RETRY": {"TOTAL": 9}}))
        assert effects(topic) == [0, 2]
        assert states() == ["replayed", "open", "replayed"]
        after = DeadLetter.objects.get(offset=1)
        assert (after.error_class, after.error, after.attempts) == ("ValueError", "jd", 2)
        assert "still_wrong" in after.traceback
        assert after.fingerprint != before.fingerprint
        assert (after.first_failed_at, after.leased_until) == (before.first_failed_at, None)
        assert (report.became["done"], report.became["dead"], report.all_well) == (2, 1, False)
        assert counts() == {"dead": 3, "done": 2}

    def test_what_fails_again_stays_open_where_failures_are_only_counted(
        self, stream: Any, bury: Any, topic: str
    ) -> None:
        bury(stream(), count=1)
        handlers.trouble.append(raiser(ValueError("jd")))
        replay_all(stream({"HANDLER": "tests.effects.handlers.one", "ON_ERROR": "reject"}))
        assert states() == ["open"]
        assert counts() == {"dead": 1}

    @pytest.mark.parametrize("handler", ["write_then_trouble", "each", "many"])
    def test_what_is_rejected_is_counted_and_settled(self, stream: Any, bury: Any, topic: str, handler: str) -> None:
        bury(stream(handler))
        handlers.trouble.append(raiser(RejectAlert("class", "AT2026abc")))
        report = replay_all(stream(handler))
        assert effects(topic) == []
        assert states() == ["replayed"] * 3
        assert counts() == {"dead": 3, "rejected:class": 3}
        assert Rejection.objects.count() == 3
        assert (report.became["rejected"], report.all_well) == (3, True)

    @KINDS
    def test_what_asks_to_come_later_waits(self, stream: Any, bury: Any, topic: str, handler: str) -> None:
        bury(stream(handler), count=1)
        handlers.trouble.append(raiser(RetryLater(60, "not yet", give_up_after_s=600)))
        report = replay_all(stream(handler))
        assert (states(), report.became["waiting"], report.all_well) == (["waiting"], 1, True)
        assert DeadLetter.objects.get().next_attempt_at > timezone.now() + timedelta(seconds=50)  # type: ignore[operator]

    def test_and_is_taken_up_by_the_running_stream(self, broker: ScriptedBroker, topic: str, group_id: str) -> None:
        broker.create_topic(topic)
        broker.produce(topic, handlers.content(n=0))
        broker.flush()
        running = make(broker.bootstrap_servers, group_id, {topic: "one"}, delivery=AT_ONCE)
        handlers.trouble.append(raiser(KeyError("candid")))
        run_once(running)
        handlers.trouble[:] = [raiser(RetryLater(0.05, "not yet", give_up_after_s=600))]
        replay_all(running)
        assert states() == ["waiting"]
        handlers.reset()
        run_once(running)
        assert effects(topic) == [0]
        assert states() == []
        assert counts() == {"dead": 1, "waiting": 1, "done": 1}

    @KINDS
    def test_what_a_handler_needs_is_away(self, stream: Any, bury: Any, topic: str, handler: str) -> None:
        bury(stream(handler))
        handlers.trouble.append(raiser(LookUpUnavailable("the catalogue is down")))
        report = replay_all(stream(handler))
        [(reason, n)] = report.left.items()
        assert (n, report.finished, report.all_well) == (3, 3, False)
        assert "the catalogue is down" in reason
        assert set(DeadLetter.objects.values_list("state", "attempts", "leased_until")) == {("open", 1, None)}


class TestWhatCannotBeTried:
    def test_a_topic_without_a_handler(self, stream: Any, bury: Any, topic: str) -> None:
        bury(stream())
        report = replay_all(stream(key=f"{topic}-other"))
        [(reason, n)] = report.left.items()
        assert (n, report.all_well) == (3, False)
        assert topic in reason
        assert "Add a key for it to TOPIC_HANDLERS" in reason
        assert set(DeadLetter.objects.values_list("state", "attempts", "error_class")) == {("open", 1, "KeyError")}

    def test_a_stream_that_is_gone(self, stream: Any, bury: Any) -> None:
        bury(stream())

        def gone(label: str) -> Any:
            raise ConfigurationError(f"there is no stream {label}.")

        *_, report = replay(LetterFilter().rows(), gone)
        assert report.left == {"there is no stream test.": 3}
        assert states() == ["open"] * 3

    def test_an_alert_whose_coordinates_are_not_known(self, stream: Any, bury: Any, topic: str) -> None:
        """As of a stream that reads by its own listen()."""
        bury(stream(), count=2)
        for letter in DeadLetter.objects.all():
            DeadLetter.objects.filter(pk=letter.pk).update(cluster="", partition=-1)
        handlers.trouble.append(lambda alert: alert.offset == 1 and raiser(ValueError("jd"))(alert))
        replay_all(stream())
        assert list(Effect.objects.values_list("partition", "offset")) == [(-1, 0)]
        assert list(DeadLetter.objects.order_by("pk").values_list("cluster", "partition", "state", "attempts")) == [
            ("", -1, "replayed", 1),
            ("", -1, "open", 2),
        ]


class TestWaiting:
    @pytest.fixture
    def waiting(self, stream: Any, bury: Any) -> AlertStream:
        """A stream with an alert that waits for an hour."""
        made: AlertStream = stream()
        bury(made, count=1, error=RetryLater(3600, "not yet", give_up_after_s=86_400))
        assert states() == ["waiting"]
        return made

    def test_is_tried_now(self, waiting: AlertStream, topic: str) -> None:
        assert replay_all(waiting).became["done"] == 1
        assert effects(topic) == [0]
        assert states() == []  # as when the running stream tries it

    def test_is_left_to_the_running_stream_that_tries_it(self, waiting: AlertStream, topic: str) -> None:
        until = timezone.now() + timedelta(minutes=5)
        DeadLetter.objects.update(leased_until=until)
        report = replay_all(waiting)
        assert (report.left[BUSY], report.all_well) == (1, True)
        assert effects(topic) == []
        assert DeadLetter.objects.get().leased_until == until

    def test_a_lease_that_ran_out_holds_nobody_up(self, waiting: AlertStream, topic: str) -> None:
        DeadLetter.objects.update(leased_until=timezone.now() - timedelta(seconds=1))
        assert replay_all(waiting).became["done"] == 1


def test_nothing_is_held_while_nobody_replays(stream: Any, bury: Any) -> None:
    bury(stream(), count=2)
    steps = replay(LetterFilter().rows(), lambda label: stream())
    next(steps)
    assert not connection.in_atomic_block
    assert not DeadLetter.objects.exclude(leased_until=None).exists()
