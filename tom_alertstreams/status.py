"""How each stream is: the one answer that pages, the terminal, monitors and alarms give.

It is read from what ``readstreams`` leaves in the database, in three queries however many streams there are. No broker is
asked and no stream is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import Count, Max, Q, Sum
from django.utils import timezone
from django.utils.functional import Promise

from .conf import LEFT_OUT_OF, configured_streams
from .logs import get_logger
from .models import DeadLetter, OutcomeCount, StreamPartition, StreamRun
from .redaction import redact
from .signals import describing
from .topics import HEARTBEAT_TOPICS

logger = get_logger(__name__)

#: A stream's heartbeat is written every 10 s, but on SQLite not while a handler holds its lock.
SILENT_AFTER: Final = timedelta(minutes=5)
#: A stream that is down is started again by its process within 6 minutes.
_RESTARTED_AFTER: Final = timedelta(minutes=10)
_REPLACED_AFTER: Final = timedelta(seconds=30)
#: A stream is catching up while it is behind by more alerts than this, and by more than it takes in so many seconds.
_BEHIND_ALERTS: Final = 1000
_BEHIND_S: Final = 10.0

#: The label of what is wrong with the setting as a whole, and with no stream of it alone.
WHOLE_SETTING: Final = "ALERT_STREAMS"

State = StreamRun.State

#: What to do in each state that a StreamRun can have; the model has the words for them.
_OF_RUNS: Final = {
    State.RUNNING: "",
    State.STARTING: "Nothing: it logs in to its broker.",
    State.WAITING: "Nothing: it goes on by itself when the broker, database or service is back. No alert is lost.",
    State.NO_TOPIC: "Compare its keys with the topics that ./manage.py checkstreams lists. It reads as soon as one appears.",
    State.STUCK: "The log of readstreams shows where the handler hangs. Then restart readstreams.",
    State.FUSE: "Mend the handler, then start readstreams again: it begins with one alert.",
    State.TAKEN: "Give this TOM a GROUP_ID of its own, or set TAKE_OVER if the other database is no longer used.",
    State.GAP: "Get the missing alerts from the archive of their provider if you need them. Then skip the gap with "
    "seekstream, or set ON_GAP to continue, and start readstreams again.",
    State.DOWN: "Read the reason. It is tried again by itself, at most every 5 minutes.",
    State.STOPPED: "Start it: ./manage.py readstreams.",
}
#: State → the word for it, and what to do: those of a StreamRun, and those that only a reader of it can tell.
ADVICE: Final[dict[str, tuple[str, str]]] = {
    **{state: (str(state.label), advice) for state, advice in _OF_RUNS.items()},
    "catching_up": ("catching up", "Nothing: it works through what came meanwhile."),
    "gone": ("no heartbeat", "Its process is gone or hangs. Start readstreams again; its log says more."),
    "never": ("never started", "Start it: ./manage.py readstreams."),
    "unreadable": ("cannot start", "Correct ALERT_STREAMS in settings.py; ./manage.py checkstreams shows more."),
    "left_out": ("partly left out", "Correct it in settings.py, then restart readstreams. The rest of it is used."),
}
#: States in which a stream does what it is there for.
SOUND: Final = frozenset({State.RUNNING, "catching_up", State.STARTING})
#: States in which a life of a stream ends; one that has ended in another could not say why.
_ENDS: Final = frozenset({State.STOPPED, State.DOWN, State.FUSE, State.TAKEN, State.GAP})
#: States whose last error is their reason; of others it may be over.
_WHOLE: Final = frozenset({State.WAITING, State.FUSE, State.TAKEN, State.GAP, State.DOWN})
#: Of several processes that read one stream, the state of the one that is worst off is shown.
_WORST_FIRST: Final = (
    State.STUCK, State.FUSE, State.TAKEN, State.GAP, State.DOWN, State.WAITING, State.NO_TOPIC,
    State.STARTING, State.RUNNING, State.STOPPED,
)  # fmt: skip


@dataclass(frozen=True)
class TopicStatus:
    """One topic that a stream reads now."""

    topic: str
    #: Dotted path; empty: there is none, and its alerts become dead letters.
    handler: str
    #: Alerts on the broker that are not handled yet; None where the broker has not told.
    lag: int | None
    #: When its last alert was handled.
    last_alert_at: datetime | None


@dataclass(frozen=True)
class StreamStatus:
    """One stream of settings.py."""

    label: str
    #: A state of StreamRun, or ``catching_up``, ``gone``, ``never``, ``unreadable``, ``left_out``.
    state: str
    #: Why, in words; empty where all is well.
    reason: str = ""
    #: The living runs, or the last one; the newest first.
    runs: tuple[StreamRun, ...] = ()
    topics: tuple[TopicStatus, ...] = ()
    #: Heartbeats of its provider are no alerts: only the status of their topic has when the last of them was handled.
    last_alert_at: datetime | None = None
    #: Dead letters: given up, and waiting for their next try.
    open_letters: int = 0
    waiting_letters: int = 0
    #: For staff: the reason with the words of the error; and the machine and the process of one that is gone.
    whole: str = ""
    where: str = ""

    @property
    def for_staff(self) -> str:
        """Why, in all words: for staff, terminals and alarms."""
        # What a broker said last may be another error than the reason.
        told = self.reason.partition(". ")[0] in self.whole
        return " ".join(filter(None, ("" if told else self.reason, self.whole, self.where)))

    @property
    def words(self) -> str:
        """The state in words."""
        return ADVICE[self.state][0]

    @property
    def advice(self) -> str:
        """What to do; empty: nothing."""
        return ADVICE[self.state][1]

    @property
    def is_sound(self) -> bool:
        """Whether it does what it is there for."""
        return self.state in SOUND

    @property
    def needs_you(self) -> bool:
        """Whether it does not come back by itself."""
        return not self.is_sound and self.state not in (State.WAITING, State.NO_TOPIC, State.DOWN)

    @property
    def heartbeat(self) -> datetime | None:
        """When it was last heard of."""
        return max((run.heartbeat for run in self.runs), default=None)

    @property
    def knows_last_alert(self) -> bool:
        """Not of a ``listen()`` of the user's own, as in 1.x: it has no group of ours whose alerts are told apart."""
        return not self.runs or any(run.group_id for run in self.runs)

    @property
    def lag(self) -> int | None:
        """Alerts on the broker that are not handled yet; None where the broker has not told."""
        lags = [run.lag for run in self.runs if run.lag is not None]
        return sum(lags) if lags else None

    @property
    def rate(self) -> float | None:
        """Alerts a second, over the last ten seconds or so; None while it does not run."""
        rates = [run.rate for run in self.runs if run.rate is not None and run.ended is None]
        return sum(rates) if rates and self.state != "gone" else None


def described(labels: Sequence[str]) -> dict[str, list[str]]:
    """Stream → what other apps say of it. What fails or is no text is left out, and the log says whose it was."""
    found: dict[str, list[str]] = {}
    for receiver, said in describing.send_robust(sender=None, labels=labels):
        if said is None or isinstance(said, Exception):  # it has nothing to say; or it failed, which Django has logged
            continue
        answer: Mapping[Any, Any] = said if isinstance(said, Mapping) else {None: said}
        for label, lines in answer.items():
            try:
                texts = _texts(label, lines)
            except Exception as error:  # noqa: BLE001  (what is read late may raise anything)
                name = f"{receiver.__module__}.{getattr(receiver, '__qualname__', type(receiver).__name__)}"
                why = f"{type(error).__name__}: {redact(str(error))}"
                logger.warning("left out what %s says of %s: %s", name, label or "all streams", why)
            else:
                found.setdefault(label, []).extend(redact(text) for text in texts)
    return found


def _texts(label: object, said: object) -> list[str]:
    """What an app says of one stream, as lines.

    :raises TypeError: it is neither a text nor several.
    """
    if not isinstance(label, str):
        raise TypeError(f"{type(said).__name__}, not label → lines of text")
    if isinstance(said, (str, Promise)):
        return [str(said)]
    if isinstance(said, Mapping) or not isinstance(said, Iterable):
        raise TypeError(f"{type(said).__name__}, not lines of text")
    lines = list(said)
    for line in lines:
        if not isinstance(line, (str, Promise)):
            raise TypeError(f"{type(said).__name__} of {type(line).__name__}, not lines of text")
    return [str(line) for line in lines]


def stream_statuses(now: datetime | None = None) -> list[StreamStatus]:
    """Every active stream of settings.py, in its order, and those that cannot be read.

    Three queries. :raises django.db.Error: the database is away.
    """
    now = now or timezone.now()
    streams, findings = configured_streams()
    labels = [stream.label for stream in streams]
    runs = _runs(labels, now)
    groups = {run.group_id for some in runs.values() for run in some if run.group_id}
    alerted = _last_alerts(groups)
    letters = _letters(labels)
    found = [_status(label, runs.get(label, []), alerted, letters.get(label, (0, 0)), now) for label in labels]
    return found + [
        StreamStatus(
            finding.label or WHOLE_SETTING,
            "left_out" if finding.label == LEFT_OUT_OF else "unreadable",
            redact(f"{finding.message} {finding.hint}"),
        )
        for finding in findings
    ]


def health_of(streams: Sequence[StreamStatus], trouble: str = "") -> dict[str, Any]:
    """What a monitor is told: ``/alertstreams/health/``, and ``alertstreams --json``.

    :param trouble: why nothing is known of the streams.
    """
    # Without a stream nothing is watched, and nobody shall believe that all is well.
    reason = trouble or ("" if streams else "ALERT_STREAMS has no active stream")
    return {
        "healthy": not reason and all(stream.is_sound for stream in streams),
        "reason": reason,
        "streams": [_as_dict(stream) for stream in streams],
        "time": timezone.now(),
    }


def _as_dict(stream: StreamStatus) -> dict[str, Any]:
    """Times become ISO 8601, UTC."""
    return {
        "stream": stream.label,
        "state": stream.state,
        "healthy": stream.is_sound,
        "reason": stream.reason,
        "last_heartbeat": stream.heartbeat,
        "lag": stream.lag,
        "alerts_per_second": stream.rate,
        "last_alert": stream.last_alert_at,
        "dead_letters": stream.open_letters,
        "waiting": stream.waiting_letters,
    }


def dead_letters_of_an_hour(now: datetime | None = None) -> dict[str, int]:
    """Stream → new dead letters within an hour: of the hour that runs (UTC), or of the one before where those are more.

    One query. One that is tried again in vain is no new one.
    """
    hour = (now or timezone.now()).replace(minute=0, second=0, microsecond=0)
    dead = OutcomeCount.objects.filter(outcome="dead", hour__gte=hour - timedelta(hours=1)).order_by()
    most: dict[str, int] = {}
    for stream, _, n in dead.values_list("stream", "hour").annotate(total=Sum("n")):
        most[stream] = max(most.get(stream, 0), n)
    return most


def _runs(labels: Sequence[str], now: datetime) -> dict[str, list[StreamRun]]:
    """Stream → its living runs and its newest one, the newest first."""
    newest = StreamRun.objects.filter(stream__in=labels).order_by().values("stream").annotate(pk_=Max("pk"))
    alive = Q(ended=None, heartbeat__gte=now - SILENT_AFTER)
    found: dict[str, list[StreamRun]] = {}
    wanted = Q(pk__in=newest.values("pk_")) | alive
    for run in StreamRun.objects.filter(wanted, stream__in=labels).order_by("-pk"):
        found.setdefault(run.stream, []).append(run)
    return found


def _last_alerts(groups: set[str]) -> dict[tuple[str, str], datetime]:
    """(consumer group, topic) → when its last alert was handled."""
    rows = StreamPartition.objects.filter(group_id__in=groups, last_alert_at__isnull=False).order_by()
    last = rows.values_list("group_id", "topic").annotate(last=Max("last_alert_at"))
    return {(group, topic): at for group, topic, at in last}


def _letters(labels: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Stream → dead letters given up, and those that wait."""
    unsettled = DeadLetter.objects.filter(
        stream__in=labels, state__in=[DeadLetter.State.OPEN, DeadLetter.State.WAITING]
    )
    counts = unsettled.order_by().values_list("stream", "state").annotate(n=Count("pk"))
    by_state = {(stream, state): n for stream, state, n in counts}
    return {
        label: (by_state.get((label, DeadLetter.State.OPEN), 0), by_state.get((label, DeadLetter.State.WAITING), 0))
        for label in labels
    }


def _status(
    label: str,
    runs: list[StreamRun],
    alerted: dict[tuple[str, str], datetime],
    letters: tuple[int, int],
    now: datetime,
) -> StreamStatus:
    if not runs:
        return StreamStatus(label, "never", open_letters=letters[0], waiting_letters=letters[1])
    alive = _alive(runs, now)
    shown = alive or runs[:1]
    worst = min(shown, key=lambda run: _WORST_FIRST.index(State(run.state)))
    topics = _topics(shown, alerted)
    group = {run.group_id for run in shown}
    state, reason, where = worst.state, worst.reason, ""
    whole = worst.last_error if state in _WHOLE else ""
    if not alive and _is_gone(worst, now):
        if worst.ended is not None:
            how = "Its process ended while it was down" if state == State.DOWN else "It ended and could not say why"
            reason, whole = (f"{how}: {text}" if text else f"{how}." for text in (reason, whole or reason))
        state, where = "gone", f"It was last heard of on {worst.host}, process {worst.pid}."
    status = StreamStatus(
        label,
        state,
        redact(reason),
        tuple(shown),
        topics,
        _last_alert(group, {topic.topic for topic in topics}, alerted),
        *letters,
        whole=redact(whole),
        where=where,
    )
    return _catching_up(status) if state == State.RUNNING else status


def _is_gone(run: StreamRun, now: datetime) -> bool:
    """Whether a run that is not alive has ended, and did not say so, or why."""
    if run.ended is None or run.state not in _ENDS:
        return True
    return run.state == State.DOWN and now - run.ended > _RESTARTED_AFTER


def _last_alert(groups: set[str], topics: set[str], alerted: dict[tuple[str, str], datetime]) -> datetime | None:
    """Streams of several brokers may have one group, so that only its topics tell a stream's own alerts, where known."""
    own = (
        at
        for (group, topic), at in alerted.items()
        if group in groups and (not topics or topic in topics) and topic not in HEARTBEAT_TOPICS
    )
    return max(own, default=None)


def _alive(runs: Sequence[StreamRun], now: datetime) -> list[StreamRun]:
    """Those that still run, as far as their heartbeats tell; the newest run comes first."""
    alive: list[StreamRun] = []
    for position, run in enumerate(runs):
        silent = now - run.heartbeat
        if run.ended is None and silent <= SILENT_AFTER and not _is_replaced(run, runs[:position], silent):
            alive.append(run)
    return alive


def _is_replaced(run: StreamRun, newer_ones: Sequence[StreamRun], silent: timedelta) -> bool:
    """Killed and started again: the life that was cut off has not been heard of since a newer one began."""
    return any(
        newer.started > run.heartbeat
        # Who may have to tell an alarm of it has its last look now.
        and (silent > _REPLACED_AFTER or (newer.ended is not None and State(newer.state).needs_you))
        for newer in newer_ones
    )


def _catching_up(status: StreamStatus) -> StreamStatus:
    """A stream that runs, or is far behind still."""
    lag, rate = status.lag or 0, status.rate or 0.0
    if lag <= max(_BEHIND_ALERTS, _BEHIND_S * rate):
        return status
    when = f", about {_duration(lag / rate)} at {rate:,.0f} alerts/s" if rate >= 1 else ""
    return StreamStatus(**{**vars(status), "state": "catching_up", "reason": f"{lag:,} alerts behind{when}."})


def _topics(runs: Sequence[StreamRun], alerted: dict[tuple[str, str], datetime]) -> tuple[TopicStatus, ...]:
    handlers: dict[str, str] = {}
    lags: dict[str, int | None] = {}
    last: dict[str, datetime | None] = {}
    for run in runs:
        for topic, known in run.topics.items():
            handlers[topic] = known["handler"]
            if known["lag"] is not None:
                lags[topic] = (lags.get(topic) or 0) + known["lag"]
            last[topic] = alerted.get((run.group_id, topic))
    return tuple(TopicStatus(topic, handlers[topic], lags.get(topic), last[topic]) for topic in sorted(handlers))


def _duration(seconds: float) -> str:
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
