"""What is wrong, what is well, and what nobody can tell."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from tom_alertstreams.alarms.options import AlarmSettings
from tom_alertstreams.alarms.rules import Kind, judge
from tom_alertstreams.models import StreamRun
from tom_alertstreams.status import ADVICE, SOUND, StreamStatus, TopicStatus
from tom_alertstreams.topics import HEARTBEAT_TOPICS

NOW = timezone.now()
LONG_AGO = NOW - timedelta(days=30)


def verdicts(status: StreamStatus, letters: int = 0, **settings: Any) -> dict[Kind, str | None]:
    """Kind → the words of what is wrong, or None."""
    found = judge(status, letters, AlarmSettings(**settings), NOW)
    return {kind: trouble and trouble.words for kind, trouble in found.items()}


def running(*topics: TopicStatus, started_h: float = 500, group_id: str = "tom", **fields: Any) -> StreamStatus:
    run = StreamRun(started=NOW - timedelta(hours=started_h), group_id=group_id, fuse_blown=fields.pop("blown", None))
    return StreamStatus("ztf", "running", runs=(run,), topics=topics, **fields)


def heart(minutes: float | None) -> TopicStatus:
    return TopicStatus("gcn.heartbeat", "h", 0, None if minutes is None else NOW - timedelta(minutes=minutes))


@pytest.mark.parametrize("state", sorted(ADVICE))
def test_every_state_has_its_verdict(state: str) -> None:
    found = verdicts(StreamStatus("ztf", state, reason="because"))
    if state in ("running", "catching_up"):
        assert (found[Kind.DOWN], found[Kind.FUSE]) == (None, None)
    elif state == "starting":
        assert set(found) == {Kind.LETTERS}
    else:
        assert state not in SOUND
        kind = Kind.FUSE if state in ("fuse", "taken", "gap") else Kind.DOWN
        assert set(found) == {Kind.LETTERS, kind}
        assert found[kind] == ADVICE[state][0]


def test_a_fuse_that_blew_is_not_over_before_an_alert_has_succeeded() -> None:
    assert Kind.FUSE not in verdicts(running(blown=True))
    assert verdicts(running(blown=False))[Kind.FUSE] is None


class TestSilence:
    def test_is_nothing_unless_hours_are_given(self) -> None:
        assert verdicts(running(last_alert_at=LONG_AGO))[Kind.SILENT] is None
        found = verdicts(running(last_alert_at=LONG_AGO), silent_hours=48)[Kind.SILENT]
        assert found == f"no alert since {LONG_AGO:%Y-%m-%d %H:%M} UTC"
        assert verdicts(running(last_alert_at=NOW - timedelta(hours=47)), silent_hours=48)[Kind.SILENT] is None

    def test_of_one_stream(self) -> None:
        status = running(last_alert_at=LONG_AGO)
        assert verdicts(status, silent_hours={"gcn": 1})[Kind.SILENT] is None
        assert verdicts(status, silent_hours={"*": 1})[Kind.SILENT]

    def test_of_one_that_never_brought_any(self) -> None:
        assert verdicts(running(started_h=47), silent_hours=48)[Kind.SILENT] is None
        assert verdicts(running(started_h=49), silent_hours=48)[Kind.SILENT]

    def test_of_a_listen_of_ones_own_cannot_be_known(self) -> None:
        assert verdicts(running(group_id=""), silent_hours=1)[Kind.SILENT] is None

    def test_heartbeats_tell_sooner_than_hours_do(self) -> None:
        found = verdicts(running(heart(11), last_alert_at=NOW))[Kind.SILENT]
        assert found is not None
        assert found.startswith("no heartbeat on gcn.heartbeat since")
        # Nothing observed for a month, and the connection is well: no guess.
        assert verdicts(running(heart(1), last_alert_at=LONG_AGO), silent_hours=1)[Kind.SILENT] is None

    def test_hours_of_the_stream_itself_judge_its_other_topics_too(self) -> None:
        status = running(heart(1), last_alert_at=LONG_AGO)
        assert (
            verdicts(status, silent_hours={"ztf": 48})[Kind.SILENT] == f"no alert since {LONG_AGO:%Y-%m-%d %H:%M} UTC"
        )
        for others in ({"*": 48}, {"gcn": 48, "*": 48}, {"ztf": 0, "*": 48}):
            assert verdicts(status, silent_hours=others)[Kind.SILENT] is None
        assert verdicts(running(heart(1), last_alert_at=NOW), silent_hours={"ztf": 48})[Kind.SILENT] is None
        # One that has brought heartbeats only since it began.
        assert verdicts(running(heart(1), started_h=49), silent_hours={"ztf": 48})[Kind.SILENT]
        found = verdicts(running(heart(11), last_alert_at=LONG_AGO), silent_hours={"ztf": 48})[Kind.SILENT]
        assert found is not None
        assert found.startswith("no heartbeat")

    def test_what_is_connected_says_so(self) -> None:
        for topics, read in (
            ((heart(1),), "but heartbeats to read."),
            ((), "It is connected, and has nothing to read."),
        ):
            settings = AlarmSettings(silent_hours={"ztf": 48})
            trouble = judge(running(*topics, last_alert_at=LONG_AGO), 0, settings, NOW)[Kind.SILENT]
            assert trouble is not None
            assert trouble.reason.endswith(read)

    def test_a_heartbeat_after_a_restart_is_waited_for(self) -> None:
        assert verdicts(running(heart(600), started_h=0.1))[Kind.SILENT] is None
        assert verdicts(running(heart(None), started_h=0.1))[Kind.SILENT] is None
        assert verdicts(running(heart(None), started_h=0.5))[Kind.SILENT]

    def test_heartbeat_topics_are_what_providers_have(self) -> None:
        assert {"gcn.heartbeat", "sys.heartbeat"} <= set(HEARTBEAT_TOPICS)


class TestLetters:
    def test_more_than_so_many_within_an_hour(self) -> None:
        assert verdicts(running(open_letters=500), letters=100)[Kind.LETTERS] is None
        found = verdicts(running(open_letters=500), letters=1101)[Kind.LETTERS]
        assert found == "1,101 new dead letters within an hour"

    def test_those_that_are_settled_are_over(self) -> None:
        assert verdicts(running(), letters=1101)[Kind.LETTERS] is None

    def test_can_be_switched_off(self) -> None:
        assert verdicts(running(open_letters=500), letters=1101, letters_per_hour=0)[Kind.LETTERS] is None
