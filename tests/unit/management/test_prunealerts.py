"""``prunealerts``: deletes what is old and done with, and never what somebody still needs."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from tom_alertstreams.delivery import pruning
from tom_alertstreams.ingest.models import Classification, TargetAlert
from tom_alertstreams.models import (
    Alarm,
    DeadLetter,
    Installation,
    LetterAction,
    OutcomeCount,
    Rejection,
    StreamPartition,
    StreamRun,
    SubscribedKey,
)

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

NOW = timezone.now()
OLD, NEW = NOW - timedelta(days=100), NOW - timedelta(days=80)


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command("prunealerts", *arguments, stdout=out, stderr=out)
    return out.getvalue()


def letter(offset: int, state: str, changed: Any) -> None:
    place = {"cluster": "c", "group_id": "g", "topic": "t", "partition": 0, "offset": offset, "handler": "h"}
    row = DeadLetter.objects.create(**place, stream="s", error_class="E", error="e", fingerprint="f", state=state)
    DeadLetter.objects.filter(pk=row.pk).update(updated_at=changed, first_failed_at=OLD)


def life(heartbeat: Any, *, ended: bool = True, stream: str = "s") -> int:
    row = StreamRun.objects.create(
        stream=stream, group_id="g", host="h", pid=1, heartbeat=heartbeat, ended=heartbeat if ended else None
    )
    return row.pk


def kept(model: Any, *names: str) -> list[Any]:
    return list(model.objects.order_by("pk").values_list(*names, flat=len(names) == 1))


def test_dead_letters() -> None:
    for offset, (state, changed) in enumerate((state, t) for state in DeadLetter.State.values for t in (OLD, NEW)):
        letter(offset, state, changed)
    run("--older-than", "90d", "--really")
    assert kept(DeadLetter, "state", "updated_at") == [
        ("waiting", OLD),
        ("waiting", NEW),
        ("open", OLD),
        ("open", NEW),
        ("replayed", NEW),
        ("dismissed", NEW),
    ]


def test_alarms() -> None:
    for over in (OLD, NEW, None):
        Alarm.objects.create(stream="s", kind="down", began=OLD, told=OLD, over=over)
    run("--older-than", "90d", "--really")
    assert kept(Alarm, "over") == [NEW, None]


def test_runs() -> None:
    life(OLD)
    killed = life(OLD, ended=False)
    recent, last = life(NEW), life(NOW)
    the_only_one_of_another = life(OLD, stream="another")
    run("--older-than", "90d", "--really")
    assert kept(StreamRun, "pk") == [recent, last, the_only_one_of_another]
    assert killed not in kept(StreamRun, "pk")


def test_a_running_stream_is_kept_whatever_the_age() -> None:
    busy = life(NOW - timedelta(minutes=10), ended=False)
    last = life(NOW)
    run("--older-than", "1m", "--really")
    assert kept(StreamRun, "pk") == [busy, last]


def test_counts_and_rejections() -> None:
    for time in (OLD, NEW):
        hour = time.replace(minute=0, second=0, microsecond=0)
        OutcomeCount.objects.create(stream="s", topic="t", hour=hour, outcome="done", n=1)
        Rejection.objects.create(stream="s", topic="t", partition=0, offset=0, object_id="o", code="c", time=time)
    run("--older-than", "90d", "--really")
    assert kept(Rejection, "time") == [NEW]
    assert len(kept(OutcomeCount, "hour")) == 1


def test_the_hour_that_is_being_counted_is_kept() -> None:
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    OutcomeCount.objects.create(stream="s", topic="t", hour=hour, outcome="done", n=1)
    run("--older-than", "1m", "--really")
    assert OutcomeCount.objects.exists()


def test_what_is_no_log_is_never_touched() -> None:
    place = {"cluster": "c", "group_id": "g"}
    StreamPartition.objects.create(**place, topic="t", partition=0, next_offset=7, last_alert_at=OLD)
    SubscribedKey.objects.create(**place, key="t", first_used=OLD)
    Installation.current()
    seen = TargetAlert.objects.create(stream="s", topic="t", partition=0, offset=0, alert_id="a", object_id="o")
    TargetAlert.objects.filter(pk=seen.pk).update(created=OLD)
    Classification.objects.create(object_id="o", alert_id="a", classifier="c", class_name="SN", time=OLD)
    run("--older-than", "1m", "--really")
    for model in (StreamPartition, SubscribedKey, Installation, TargetAlert, Classification):
        assert model.objects.count() == 1


def test_replays_and_dismissals() -> None:
    for started in (OLD, NEW):
        for finished in (started, None):
            LetterAction.objects.create(kind="replay", who="dr.lee", started=started, finished=finished)
    run("--older-than", "90d", "--really")
    assert kept(LetterAction, "started", "finished") == [(NEW, NEW), (NEW, None)]


def test_runs_of_many_groups() -> None:
    """SQLite takes no expression of a thousand parts."""
    names = [f"s{number}" for number in range(1200)]
    for heartbeat in (OLD, NEW):
        given = {"group_id": "g", "host": "h", "pid": 1, "heartbeat": heartbeat, "ended": heartbeat}
        StreamRun.objects.bulk_create(StreamRun(stream=name, **given) for name in names)
    run("--older-than", "90d", "--really")
    assert kept(StreamRun, "heartbeat") == [NEW] * 1200


def test_only_counts_unless_it_is_really_meant() -> None:
    letter(0, "replayed", OLD)
    letter(1, "open", OLD)
    text = run("--older-than", "90d")
    assert text.splitlines() == [
        "           1  dead letters, replayed or dismissed",
        "           0  replays and dismissals",
        "           0  runs of streams that have ended",
        "           0  counts of outcomes, by the hour",
        "           0  rejections",
        "           0  alarms that are over",
        "Nothing was deleted. With --really they are.",
    ]
    assert DeadLetter.objects.count() == 2


def test_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "_AT_ONCE", 3)
    for offset in range(8):
        letter(offset, "replayed", OLD)
    assert "           8  dead letters" in run("--older-than", "90d", "--really")
    assert not DeadLetter.objects.exists()


def test_an_age_is_needed() -> None:
    with pytest.raises(CommandError, match="--older-than"):
        run("--really")
