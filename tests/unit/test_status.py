"""One answer to how each stream is, from what ``readstreams`` has left in the database."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from tom_alertstreams.models import DeadLetter, StreamPartition, StreamRun
from tom_alertstreams.status import ADVICE, SOUND, StreamStatus, stream_statuses

State = StreamRun.State
STREAM = {
    "NAME": "tom_alertstreams.alertstreams.kafka.KafkaAlertStream",
    "LABEL": "ztf",
    "OPTIONS": {"BOOTSTRAP_SERVERS": "broker:9092", "TOPIC_HANDLERS": {}},
}


@pytest.fixture(autouse=True)
def _stream(settings: Any, db: None) -> None:
    settings.ALERT_STREAMS = [STREAM]


def run(*, heard_s: float = 1, began_s: float = 3600, **fields: Any) -> StreamRun:
    """A run of the stream that was heard of so many seconds ago."""
    now = timezone.now()
    given: dict[str, Any] = {"stream": "ztf", "group_id": "tom", "host": "reader", "pid": 7, "version": "1"}
    times = {"heartbeat": now - timedelta(seconds=heard_s), "started": now - timedelta(seconds=began_s)}
    return StreamRun.objects.create(**{**given, **times, "state": State.RUNNING, **fields})


def status() -> StreamStatus:
    [found] = stream_statuses()
    return found


def test_every_state_has_its_words() -> None:
    assert set(State.values) < set(ADVICE)
    assert {state for state in State.values if State(state).needs_you} == {State.FUSE, State.TAKEN, State.GAP}
    assert {state for state, (_, advice) in ADVICE.items() if not advice} < SOUND


def test_a_stream_that_was_never_started() -> None:
    found = status()
    assert (found.state, found.is_sound, found.needs_you) == ("never", False, True)
    assert found.lag is found.rate is found.heartbeat is None


def test_a_running_stream_with_its_topics() -> None:
    topics = {"a": {"handler": "my.on_a", "lag": 2}, "b": {"handler": "", "lag": None}}
    run(lag=2, rate=4.5, topics=topics)
    at = timezone.now()
    StreamPartition.objects.create(cluster="c", group_id="tom", topic="a", partition=0, next_offset=9, last_alert_at=at)
    found = status()
    assert (found.state, found.words, found.reason, found.is_sound) == ("running", "running", "", True)
    assert (found.lag, found.rate, found.last_alert_at) == (2, 4.5, at)
    assert [(t.topic, t.handler, t.lag, t.last_alert_at) for t in found.topics] == [
        ("a", "my.on_a", 2, at),
        ("b", "", None, None),
    ]


def test_streams_of_two_brokers_with_one_group_have_their_own_last_alerts(settings: Any) -> None:
    settings.ALERT_STREAMS = [STREAM, {**STREAM, "LABEL": "fink"}]
    now = timezone.now()
    for days, stream, topic in ((0, "ztf", "a"), (3, "fink", "b")):
        run(stream=stream, topics={topic: {"handler": "h", "lag": 0}})
        StreamPartition.objects.create(
            cluster=stream, group_id="tom", topic=topic, partition=0, next_offset=9, last_alert_at=now - timedelta(days)
        )
    assert [found.last_alert_at for found in stream_statuses()] == [now, now - timedelta(days=3)]


@pytest.mark.parametrize("topics", [{"gcn.heartbeat", "a"}, set()])
def test_heartbeats_of_the_provider_are_no_last_alert(topics: set[str]) -> None:
    run(topics={topic: {"handler": "h", "lag": 0} for topic in topics})
    now = timezone.now()
    for topic, at in (("gcn.heartbeat", now), ("a", now - timedelta(days=3))):
        StreamPartition.objects.create(
            cluster="c", group_id="tom", topic=topic, partition=0, next_offset=9, last_alert_at=at
        )
    assert status().last_alert_at == now - timedelta(days=3)
    assert {found.topic: found.last_alert_at for found in status().topics}.get("gcn.heartbeat", now) == now


@pytest.mark.parametrize(
    ("lag", "rate", "state"),
    [(1000, 1.0, "running"), (1001, None, "catching_up"), (20_000, 3000.0, "running"), (31_000, 3000.0, "catching_up")],
)
def test_behind_is_catching_up(lag: int, rate: float | None, state: str) -> None:
    run(lag=lag, rate=rate)
    assert status().state == state
    assert status().is_sound


def test_a_heartbeat_that_has_stopped() -> None:
    run(heard_s=301)
    found = status()
    assert (found.state, found.needs_you) == ("gone", True)
    assert "reader, process 7" in found.where
    assert "reader" not in found.reason


@pytest.mark.parametrize(("ended_min", "state"), [(9, "down"), (11, "gone")])
def test_a_process_that_ended_during_the_pause_before_a_restart(ended_min: float, state: str) -> None:
    ended = timezone.now() - timedelta(minutes=ended_min)
    run(state=State.DOWN, reason="AuthenticationFailed", ended=ended, heard_s=60 * ended_min)
    found = status()
    assert found.state == state
    assert ("Its process ended while it was down: AuthenticationFailed" in found.reason) is (state == "gone")
    assert ("reader, process 7" in found.for_staff) is (state == "gone")


@pytest.mark.parametrize("state", [State.RUNNING, State.STARTING, State.WAITING, State.NO_TOPIC, State.STUCK])
def test_a_life_that_ended_and_could_not_say_so(state: str) -> None:
    run(state=state, ended=timezone.now())
    found = status()
    assert (found.state, found.is_sound, found.needs_you) == ("gone", False, True)
    assert found.reason == "It ended and could not say why."


def test_who_was_killed_and_started_again_is_well() -> None:
    run(heard_s=40, began_s=3600, state=State.STUCK, lag=5000)
    run(heard_s=1, began_s=20, lag=3)
    assert (status().state, status().lag) == ("running", 3)


@pytest.mark.parametrize("state", [State.FUSE, State.TAKEN, State.GAP])
def test_who_was_killed_does_not_hide_that_the_next_life_has_stopped_for_good(state: str) -> None:
    run(heard_s=9, began_s=3600, lag=5000)
    run(heard_s=1, began_s=5, state=state, ended=timezone.now())
    assert (status().state, status().needs_you, status().lag) == (state, True, None)


@pytest.mark.parametrize("state", [State.DOWN, State.STOPPED])
def test_who_was_killed_does_not_hide_for_long_that_the_next_life_has_ended(state: str) -> None:
    run(heard_s=40, began_s=3600)
    run(heard_s=1, began_s=20, state=state, ended=timezone.now())
    assert status().state == state


@pytest.mark.parametrize(("state", "lived_s"), [(State.DOWN, 1), (State.FUSE, 60)])
def test_one_that_lives_is_shown_where_another_process_of_its_group_has_ended(state: str, lived_s: float) -> None:
    run(heard_s=9, lag=3)
    run(heard_s=1, began_s=lived_s, state=state, ended=timezone.now())
    assert (status().state, status().lag) == ("running", 3)


def test_two_processes_are_one_stream() -> None:
    run(lag=3, rate=1.0, topics={"a": {"handler": "h", "lag": 3}})
    run(lag=4, rate=2.0, topics={"a": {"handler": "h", "lag": 4}}, state=State.WAITING, reason="waiting for the broker")
    found = status()
    assert (found.state, found.reason, found.lag, found.rate) == ("waiting", "waiting for the broker", 7, 3.0)
    assert [(topic.topic, topic.lag) for topic in found.topics] == [("a", 7)]


def test_what_stopped_says_why() -> None:
    run(state=State.FUSE, reason="100 alerts in a row failed", ended=timezone.now(), heard_s=9999)
    found = status()
    assert (found.state, found.reason, found.needs_you) == ("fuse", "100 alerts in a row failed", True)
    assert "Mend the handler" in found.advice


def test_dead_letters_are_counted() -> None:
    run()
    for offset, state in enumerate(
        [*[DeadLetter.State.OPEN] * 2, DeadLetter.State.WAITING, DeadLetter.State.DISMISSED]
    ):
        DeadLetter.objects.create(
            stream="ztf", cluster="c", group_id="tom", topic="a", partition=0, offset=offset, state=state
        )
    assert (status().open_letters, status().waiting_letters) == (2, 1)


def test_an_entry_that_cannot_be_read(settings: Any) -> None:
    settings.ALERT_STREAMS = [STREAM, {"LABEL": "broken"}]
    assert [(found.label, found.state) for found in stream_statuses()] == [("ztf", "never"), ("broken", "unreadable")]


def test_defaults_that_are_left_out_stop_no_stream(settings: Any) -> None:
    run()
    settings.ALERT_STREAMS_DEFAULTS = {"BATCH_SIZ": 3}
    stream, defaults = stream_statuses()
    assert (stream.state, defaults.label, defaults.words) == ("running", "ALERT_STREAMS_DEFAULTS", "partly left out")
    assert (defaults.is_sound, defaults.reason[:36]) == (False, "left out: unknown setting BATCH_SIZ.")


def test_three_queries_however_many_streams(settings: Any, django_assert_num_queries: Any) -> None:
    settings.ALERT_STREAMS = [{**STREAM, "LABEL": str(number)} for number in range(20)]
    for number in range(20):
        run(stream=str(number), group_id=str(number))
    with django_assert_num_queries(3):
        assert len(stream_statuses()) == 20


@pytest.mark.parametrize(
    ("state", "reason", "last_error", "told"),
    [
        (State.DOWN, "KeyError", "KeyError: 'candid'", "KeyError: 'candid'"),
        (State.FUSE, "5 failed. Mend it.", "5 failed. It said: no. Mend it.", "5 failed. It said: no. Mend it."),
        (State.WAITING, "no broker answers.", "broker: refused", "no broker answers. broker: refused"),
        (State.RUNNING, "", "broker: refused", ""),
    ],
)
def test_staff_are_told_the_words_of_the_error(state: str, reason: str, last_error: str, told: str) -> None:
    run(state=state, reason=reason, last_error=last_error)
    assert (status().reason, status().for_staff) == (reason, told)
