"""What is wrong with a stream, by its status; and what is well, so that somebody may be told that it is over.

There is a third answer: that nobody can say. A stream that is starting may be about to fail again, and one that is down brings
nothing, silent or not. Then an alarm neither begins nor ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from tom_alertstreams.models import Alarm, StreamRun
from tom_alertstreams.status import StreamStatus
from tom_alertstreams.topics import HEARTBEAT_TOPICS

from .options import AlarmSettings

Kind = Alarm.Kind

#: So long without a heartbeat is no pause of the provider's any more, but the connection's silence.
HEARTBEAT_SILENCE: Final = timedelta(minutes=10)

_RUNS: Final = (StreamRun.State.RUNNING, "catching_up")
_NEEDS_YOU: Final = tuple(state.value for state in StreamRun.State if state.needs_you)


@dataclass(frozen=True)
class Trouble:
    """Something that is wrong with a stream."""

    words: str
    reason: str
    advice: str


def judge(status: StreamStatus, new_letters: int, settings: AlarmSettings, now: datetime) -> dict[Kind, Trouble | None]:
    """For each kind of alarm what is wrong, or None where all is well; a kind that is left out cannot be told.

    :param new_letters: dead letters of an hour.
    """
    found: dict[Kind, Trouble | None] = {Kind.LETTERS: _letters(status, new_letters, settings)}
    if status.state in _NEEDS_YOU:
        found[Kind.FUSE] = Trouble(status.words, status.for_staff, status.advice)
    elif status.state in _RUNS:
        found[Kind.DOWN] = None
        found[Kind.SILENT] = _silence(status, settings, now)
        # It may have started again and not have seen an alert succeed yet: then it may stop as it did before.
        if not any(run.fuse_blown for run in status.runs):
            found[Kind.FUSE] = None
    elif status.state != StreamRun.State.STARTING:
        found[Kind.DOWN] = Trouble(status.words, status.for_staff, status.advice)
    return found


def _letters(status: StreamStatus, new: int, settings: AlarmSettings) -> Trouble | None:
    if not settings.letters_per_hour or new <= settings.letters_per_hour or not status.open_letters:
        return None
    return Trouble(
        f"{new:,} new dead letters within an hour",
        f"{status.open_letters:,} are open in all.",
        "./manage.py deadletters list shows what failed, and why.",
    )


def _silence(status: StreamStatus, settings: AlarmSettings, now: datetime) -> Trouble | None:
    began = min((run.started for run in status.runs), default=now)
    hearts = [topic for topic in status.topics if topic.topic in HEARTBEAT_TOPICS]
    if hearts:
        last = max(topic.last_alert_at or began for topic in hearts)
        if now - max(last, began) > HEARTBEAT_SILENCE:
            return Trouble(
                f"no heartbeat on {hearts[0].topic} since {last:%Y-%m-%d %H:%M} UTC",
                "Its broker sends one all the time: the connection is dead, though nothing says so.",
                "Restart readstreams; if that does not help, look at the provider's status page.",
            )
    # Where the connection is known to live, only hours that are meant for this very stream say that its silence is too long.
    hours = settings.silent_hours_of(status.label, by_name=bool(hearts))
    if not hours or not status.knows_last_alert:
        return None
    last = status.last_alert_at or began
    if now - last <= timedelta(hours=hours):
        return None
    return Trouble(
        f"no alert since {last:%Y-%m-%d %H:%M} UTC",
        f"That is longer than its SILENT_HOURS ({hours:g}). It is connected, and has nothing "
        + ("but heartbeats to read." if hearts else "to read."),
        "Look whether its provider observes; ./manage.py checkstreams shows which topics its keys find.",
    )
