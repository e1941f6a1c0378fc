"""Replays and dismissals as jobs: done step by step, nothing tried twice in one, and all of it in the journal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from datetime import timezone as dt_timezone
from typing import Any

import pytest
from django.utils import timezone

from tests.effects import handlers
from tests.letters import letter
from tests.marks import CORE_TABLES
from tests.streams import effects, make
from tom_alertstreams.alerts import Alert
from tom_alertstreams.alertstreams.alertstream import AlertStream
from tom_alertstreams.delivery import letter_actions
from tom_alertstreams.delivery.letter_actions import MEANWHILE, begin, dismiss_all, replay_all, wanted, work_on
from tom_alertstreams.delivery.letters import LetterFilter, dismiss
from tom_alertstreams.delivery.replay import BUSY, replay
from tom_alertstreams.exceptions import ConfigurationError
from tom_alertstreams.models import DeadLetter, LetterAction

pytestmark = [CORE_TABLES, pytest.mark.both_databases, pytest.mark.usefixtures("fresh_handlers")]

REPLAY, DISMISS = LetterAction.Kind.REPLAY, LetterAction.Kind.DISMISS
TOPIC = "ztf_20261122"
LEE = "dr.lee"


@pytest.fixture(autouse=True)
def small_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letter_actions, "_AT_ONCE", 3)


@pytest.fixture
def stream(group_id: str) -> AlertStream:
    return make(
        "127.0.0.1:1", group_id, {"ztf_*": "one"}, label="ztf", delivery={"RETRY": {"TOTAL": 1}, "BATCH_SIZE": 1}
    )


def letters(count: int, **values: Any) -> None:
    for offset in range(count):
        letter(offset, **values)


def fail(alert: Alert) -> None:
    raise ValueError("jd")


def to_the_end(action: LetterAction, stream: AlertStream, seconds: float = 60) -> int:
    """How many steps it took."""
    steps = 0
    while action.finished is None:
        assert work_on(action, lambda label: stream, seconds, LEE)  # type: ignore[arg-type,return-value]
        steps += 1
        assert steps < 100
    return steps


def states() -> list[str]:
    return list(DeadLetter.objects.order_by("pk").values_list("state", flat=True))


def test_all_are_done_and_the_journal_says_so(stream: AlertStream) -> None:
    letters(8)
    action = begin(REPLAY, LEE, LetterFilter(stream="ztf", newer_than=timedelta(days=999)))
    assert (action.total, action.done, action.finished) == (8, 0, None)
    assert to_the_end(action, stream) == 1
    action = LetterAction.objects.get()
    assert (action.who, action.kind, action.became, action.left) == (LEE, "replay", {"done": 8}, {})
    assert action.finished is not None
    assert action.held_until is None
    assert effects(TOPIC) == list(range(8))
    assert states() == ["replayed"] * 8


def test_a_step_ends_in_time_and_the_next_goes_on(stream: AlertStream, monkeypatch: Any) -> None:
    monkeypatch.setattr(letter_actions, "_AT_ONCE", 30)
    letters(30)
    handlers.trouble.append(lambda alert: time.sleep(0.1))
    action = begin(REPLAY, LEE, LetterFilter())
    assert work_on(action, lambda label: stream, 0.3, LEE)  # type: ignore[arg-type,return-value]
    assert 0 < action.became["done"] < 30
    assert action.finished is None
    to_the_end(action, stream, 0.5)
    assert action.became == {"done": 30}
    assert effects(TOPIC) == list(range(30))


def test_what_fails_again_is_tried_once_in_an_action(stream: AlertStream) -> None:
    letters(5)
    handlers.trouble += [lambda alert: time.sleep(0.05), fail]
    action = begin(REPLAY, LEE, LetterFilter())
    assert to_the_end(action, stream, 0.08) > 1  # in the middle of a portion, too
    assert action.became == {"dead": 5}
    assert sorted(handlers.calls) == list(range(5))
    assert states() == ["open"] * 5
    to_the_end(begin(REPLAY, LEE, LetterFilter()), stream)
    assert sorted(handlers.calls) == sorted([*range(5), *range(5)])


def test_what_was_tried_while_it_was_looked_up_is_not_tried_again(stream: AlertStream, monkeypatch: Any) -> None:
    """Two pages look up the same letters; one of them has tried them when the other comes to it."""
    letters(3)
    handlers.trouble.append(fail)
    action = begin(REPLAY, LEE, LetterFilter())

    def find_stream(label: str) -> Any:
        if not handlers.calls:
            handlers.calls.append(-1)
            to_the_end(begin(REPLAY, "dr.kim", LetterFilter()), stream)
        return stream

    assert work_on(action, find_stream, 60, LEE)
    assert sorted(handlers.calls) == [-1, 0, 1, 2]
    assert action.left == {BUSY: 3}


def test_what_is_left_is_counted_once(stream: AlertStream) -> None:
    """However many steps it takes to come past it."""
    letters(3)
    letter(9, topic="gcn.notices")
    letter(10, topic="gcn.notices")
    letter(11, stream="gone")

    def find_stream(label: str) -> Any:
        if label == "gone":
            raise ConfigurationError("there is no stream gone.")
        return stream

    handlers.trouble.append(lambda alert: time.sleep(0.05))
    action = begin(REPLAY, LEE, LetterFilter())
    while action.finished is None:
        assert work_on(action, find_stream, 0.03, LEE)
    assert action.became == {"done": 3}
    assert sorted(action.left.values()) == [1, 2]
    assert action.done == action.total == 6


def test_nobody_else_works_at_it_meanwhile(stream: AlertStream) -> None:
    letters(2)
    action = begin(REPLAY, LEE, LetterFilter())
    other = LetterAction.objects.get()
    worked: list[bool] = []
    handlers.trouble.append(lambda alert: worked.append(work_on(other, lambda label: stream, 60, LEE)))  # type: ignore[arg-type,return-value,func-returns-value]
    to_the_end(action, stream)
    assert worked == [False, False]
    assert action.became == {"done": 2}


def test_whoever_goes_on_is_named(stream: AlertStream) -> None:
    letters(1)
    action = begin(REPLAY, LEE, LetterFilter())
    for who in ("dr.kim", "dr", LEE, "dr.kim"):
        LetterAction.objects.update(finished=None)
        work_on(action, lambda label: stream, 60, who)  # type: ignore[arg-type,return-value]
    assert LetterAction.objects.get().who == "dr.lee, dr.kim, dr"


def test_who_was_killed_keeps_it_for_a_minute(stream: AlertStream) -> None:
    letters(1)
    action = begin(REPLAY, LEE, LetterFilter())
    LetterAction.objects.update(held_until=timezone.now() + timedelta(seconds=50))
    assert not work_on(action, lambda label: stream, 60, LEE)  # type: ignore[arg-type,return-value]
    LetterAction.objects.update(held_until=timezone.now() - timedelta(seconds=1))
    assert work_on(action, lambda label: stream, 60, LEE)  # type: ignore[arg-type,return-value]
    assert action.finished is not None


def test_it_is_given_back_when_something_goes_wrong(stream: AlertStream) -> None:
    letters(1)
    action = begin(REPLAY, LEE, LetterFilter())

    def broken(label: str) -> Any:
        raise RuntimeError("a mishap")

    with pytest.raises(RuntimeError):
        work_on(action, broken, 60, LEE)
    assert LetterAction.objects.get().held_until is None


def taken_over(action: LetterAction) -> Any:
    """Somebody else claims it, as after a minute in which a handler has not come back; his claim."""
    other = timezone.now() + timedelta(seconds=99)
    LetterAction.objects.filter(pk=action.pk).update(held_until=other)
    return other


def test_what_another_has_taken_over_is_his(stream: AlertStream) -> None:
    """It is neither given back nor finished nor gone on with; what was done is counted all the same."""
    letters(7)
    action = begin(REPLAY, LEE, LetterFilter())
    claims: list[Any] = []
    handlers.trouble.append(lambda alert: alert.offset == 1 and claims.append(taken_over(action)))
    assert work_on(action, lambda label: stream, 60, LEE)  # type: ignore[arg-type,return-value]
    assert action.held_until == claims[-1]
    assert (action.became, action.left, action.finished) == ({"done": 3}, {}, None)  # the portion in hand
    assert not work_on(action, lambda label: stream, 60, LEE)  # type: ignore[arg-type,return-value]
    handlers.trouble.clear()
    LetterAction.objects.update(held_until=None)
    to_the_end(action, stream)
    assert (action.became, action.left) == ({"done": 7}, {})


def test_a_dismissal_that_another_has_taken_over(monkeypatch: Any) -> None:
    letters(7)
    action = begin(DISMISS, LEE, LetterFilter())
    claims: list[Any] = []

    def dismiss_slowly(rows: Any) -> Iterator[int]:
        claims.append(taken_over(action))
        yield from dismiss(rows)

    monkeypatch.setattr(letter_actions, "dismiss", dismiss_slowly)
    work_on(action, lambda label: None, 60, LEE)  # type: ignore[arg-type,return-value]
    row = LetterAction.objects.get()
    assert (row.held_until, row.finished, row.became, row.left) == (claims[0], None, {"dismissed": 3}, {})
    LetterAction.objects.update(held_until=None)
    assert list(dismiss_all(action)) == [4]
    row = LetterAction.objects.get()
    assert (row.held_until, row.finished, row.became, row.left) == (claims[1], None, {"dismissed": 7}, {})


def test_a_step_comes_further_however_long_the_letters_are_looked_for(stream: AlertStream, monkeypatch: Any) -> None:
    """As words among a million of them are."""
    letters(6)

    def slowly(action: LetterAction) -> Any:
        time.sleep(0.3)
        return wanted(action)

    monkeypatch.setattr(letter_actions, "wanted", slowly)
    action = begin(REPLAY, LEE, LetterFilter())
    assert work_on(action, lambda label: stream, 0.29, LEE)  # type: ignore[arg-type,return-value]
    assert action.became == {"done": 3}


def test_a_step_comes_further_however_late_it_is(stream: AlertStream, monkeypatch: Any) -> None:
    letters(3)

    def late(*arguments: Any) -> Iterator[Any]:
        time.sleep(0.2)
        yield from replay(*arguments)

    monkeypatch.setattr(letter_actions, "replay", late)
    action = begin(REPLAY, LEE, LetterFilter())
    for done in (1, 2):
        assert work_on(action, lambda label: stream, 0.1, LEE)  # type: ignore[arg-type,return-value]
        assert action.became == {"done": done}


def test_what_others_have_settled_meanwhile(stream: AlertStream) -> None:
    letters(4)
    action = begin(REPLAY, LEE, LetterFilter())
    DeadLetter.objects.filter(offset=0).update(state="dismissed", updated_at=timezone.now())
    to_the_end(action, stream)
    assert (action.became, action.left) == ({"done": 3}, {MEANWHILE: 1})


def test_letters_that_come_later_are_not_meant(stream: AlertStream) -> None:
    letters(1)
    action = begin(REPLAY, LEE, LetterFilter())
    letter(5)
    to_the_end(action, stream)
    assert states() == ["replayed", "open"]


@pytest.mark.parametrize("kind", [REPLAY, DISMISS])
def test_what_first_failed_after_a_page_was_drawn_is_not_meant(stream: AlertStream, kind: LetterAction.Kind) -> None:
    drawn = timezone.now() - timedelta(hours=1)
    letters(7)
    letter(7, first_failed_at=drawn)
    letter(8, first_failed_at=drawn + timedelta(microseconds=1))
    action = begin(kind, LEE, LetterFilter(seen_until=drawn))
    assert action.total == 8
    to_the_end(action, stream)
    assert (action.done, action.left) == (8, {})
    assert states() == [kind.label] * 8 + ["open"]


def test_dismissed(stream: AlertStream) -> None:
    letters(7)
    DeadLetter.objects.filter(offset=3).update(leased_until=timezone.now() + timedelta(minutes=5))
    action = begin(DISMISS, LEE, LetterFilter())
    to_the_end(action, stream)
    assert (action.became, action.left) == ({"dismissed": 6}, {BUSY: 1})
    assert states() == [*["dismissed"] * 3, "open", *["dismissed"] * 3]
    assert handlers.calls == []


def test_settled_ones_are_not_meant(stream: AlertStream) -> None:
    letter(0, state="replayed")
    letter(1, state="dismissed")
    action = begin(DISMISS, LEE, LetterFilter(states=("replayed", "dismissed")))
    to_the_end(action, stream)
    assert (action.total, action.became, states()) == (0, {}, ["replayed", "dismissed"])


class TestCommands:
    def test_a_replay_to_the_end(self, stream: AlertStream) -> None:
        letters(5)
        letter(9, topic="gcn.notices")
        action = begin(REPLAY, "root@night", LetterFilter())
        *_, report = replay_all(action, lambda label: stream)  # type: ignore[arg-type,return-value]
        action = LetterAction.objects.get()
        assert report.became["done"] == 5
        assert (action.became, list(action.left.values())) == ({"done": 5}, [1])
        assert action.finished is not None

    def test_one_that_was_stopped_can_be_gone_on_with(self, stream: AlertStream, monkeypatch: Any) -> None:
        monkeypatch.setattr(letter_actions, "_NOTED_EVERY_S", 0)
        letters(5)

        def stop(alert: Alert) -> None:
            if alert.offset == 3:
                raise KeyboardInterrupt

        handlers.trouble.append(stop)
        with suppress(KeyboardInterrupt):
            for _ in replay_all(begin(REPLAY, "root@night", LetterFilter()), lambda label: stream):  # type: ignore[arg-type,return-value]
                pass
        action: Iterator[Any] | Any = LetterAction.objects.get()
        assert (action.finished, action.held_until) == (None, None)
        handlers.trouble.clear()
        DeadLetter.objects.update(leased_until=None)
        to_the_end(action, stream)
        assert action.done == action.total == 5
        assert effects(TOPIC) == list(range(5))

    @pytest.mark.parametrize("noted_every_s", [0, 99])
    def test_one_that_another_has_taken_over(self, stream: AlertStream, monkeypatch: Any, noted_every_s: int) -> None:
        monkeypatch.setattr(letter_actions, "_NOTED_EVERY_S", noted_every_s)
        letters(5)
        letter(9, topic="gcn.notices")
        action = begin(REPLAY, "root@night", LetterFilter())
        claims: list[Any] = []
        handlers.trouble.append(lambda alert: alert.offset == 1 and claims.append(taken_over(action)))
        *_, report = replay_all(action, lambda label: stream)  # type: ignore[arg-type,return-value]
        assert report.finished == report.total
        assert noted_every_s or report.left[BUSY] == 3
        row = LetterAction.objects.get()
        assert (row.held_until, row.finished, row.left) == (claims[-1], None, {})
        assert row.became == {"done": len(effects(TOPIC))}

    def test_one_that_another_has_begun_to_work_at(self, stream: AlertStream) -> None:
        letters(2)
        action, other = begin(REPLAY, "root@night", LetterFilter()), begin(DISMISS, "root@night", LetterFilter())
        claims = [taken_over(action), taken_over(other)]
        *_, report = replay_all(action, lambda label: stream)  # type: ignore[arg-type,return-value]
        assert (report.total, report.left) == (2, {BUSY: 2})
        assert list(dismiss_all(other)) == []
        assert states() == ["open", "open"]
        found = LetterAction.objects.order_by("pk").values_list("held_until", "finished", "left")
        assert list(found) == [(claim, None, {}) for claim in claims]

    def test_a_dismissal_to_the_end(self) -> None:
        letters(5)
        assert sum(dismiss_all(begin(DISMISS, "root@night", LetterFilter()))) == 5
        action = LetterAction.objects.get()
        assert (action.became, action.left) == ({"dismissed": 5}, {})
        assert action.finished is not None


@pytest.mark.parametrize(
    "chosen",
    [
        LetterFilter(),
        LetterFilter(ids=(3, 4), states=("open",)),
        LetterFilter("ztf", "ztf_*", "KeyError", "my.handler", "f1", timedelta(days=2), timedelta(hours=3), "candid"),
        LetterFilter(states=()),
        LetterFilter(seen_until=datetime(2026, 11, 22, 3, 12, 5, 17, tzinfo=dt_timezone.utc)),
    ],
)
def test_what_was_chosen_is_kept(chosen: LetterFilter) -> None:
    LetterAction.objects.create(kind=REPLAY, who=LEE, chosen=chosen.as_json())
    assert LetterFilter.from_json(LetterAction.objects.get().chosen) == chosen
