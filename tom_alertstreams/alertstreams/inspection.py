"""What the streams of settings.py would do: for ``checkstreams``, which imports handlers, makes streams and logs in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from tom_alertstreams.conf import Finding
from tom_alertstreams.delivery.offsets import Offsets, Partition
from tom_alertstreams.models import Installation, StreamRun
from tom_alertstreams.status import SILENT_AFTER

from .alertstream import AlertStream, make_streams
from .diagnosis import Failure
from .kafka import KafkaAlertStream
from .login import Answer, log_in

#: Names of topics that are shown for each key.
NAMES_SHOWN: Final = 3


@dataclass(frozen=True)
class KeyReport:
    """One key of TOPIC_HANDLERS. What only the broker knows is None where it was not asked or did not answer."""

    key: str
    handler: str
    #: How the handler is called, in words.
    called: str
    #: How many topics of the broker it takes, and the first of them.
    topics: int | None = None
    first_topics: tuple[str, ...] = ()
    #: Alerts on the broker behind the database's offsets.
    lag: int | None = None
    #: Partitions that the database knows no offset of, or the broker no end: not in the lag.
    unknown: int | None = None
    #: What the handler's options say of themselves, with the first key that has them.
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunReport:
    """The newest StreamRun of a stream, times in ISO 8601."""

    state: str
    words: str
    reason: str
    host: str
    started: str
    heartbeat: str
    #: It has stopped until somebody acts.
    needs_you: bool


@dataclass(frozen=True)
class StreamReport:
    """One stream that can start."""

    label: str
    name: str
    group_id: str
    start: str
    keys: tuple[KeyReport, ...]
    #: ``legacy``: it reads by a ``listen()`` of its own, and how it logs in is not known.
    login: Literal["not asked", "legacy", "ok", "failed"] = "not asked"
    #: The id that the broker reports.
    cluster: str = ""
    #: Topics named in TOPIC_HANDLERS that the broker does not let us read.
    refused: tuple[str, ...] = ()
    failure: Failure | None = None
    #: None where it has never run.
    last_run: RunReport | None = None

    @property
    def is_sound(self) -> bool:
        """Nothing speaks against starting it, and it has not stopped until somebody acts."""
        return self.failure is None and not self.refused and not (self.last_run and self.last_run.needs_you)


def inspect_streams(*, login: bool = False) -> tuple[list[StreamReport], list[Finding]]:
    """The streams that can start, and what is wrong with the others.

    :param login: ask their brokers too.
    """
    streams, findings = make_streams()
    reports: list[tuple[AlertStream, StreamReport]] = []
    for stream in streams:
        try:
            reports.append((stream, replace(_report(stream), last_run=_last_run(stream))))
        except ImproperlyConfigured as error:
            findings.append(Finding("W004", str(error), "Check your ALERT_STREAMS setting.", stream.settings.label))
    if not login:
        return [report for _, report in reports], findings
    asked = [stream for stream, _ in reports if isinstance(stream, KafkaAlertStream) and not _is_legacy(stream)]
    answers = dict(zip(map(id, asked), log_in(asked, str(Installation.current().id)), strict=True))
    return [_with_answer(stream, report, answers.get(id(stream))) for stream, report in reports], findings


def _is_legacy(stream: AlertStream) -> bool:
    return not isinstance(stream, KafkaAlertStream) or type(stream).listen is not KafkaAlertStream.listen


def _report(stream: AlertStream) -> StreamReport:
    if not isinstance(stream, KafkaAlertStream):
        keys = tuple(
            KeyReport(topic.key, topic.handler, "by the stream's own listen()") for topic in stream.settings.topics
        )
        return StreamReport(stream.settings.label, stream.settings.name, "", "", keys)
    return StreamReport(
        stream.settings.label, stream.settings.name, stream.group_id, stream.start, tuple(_key_reports(stream))
    )


def _key_reports(stream: KafkaAlertStream) -> Iterator[KeyReport]:
    told: set[int] = set()
    for key, binding in stream.bindings.items():
        handler = binding.handler
        notes = () if id(handler.options) in told else tuple(getattr(handler.options, "notes", ()))
        told.add(id(handler.options))
        called = handler.called + ("" if binding.topic.atomic else ", outside")
        yield KeyReport(key, handler.path, called, notes=notes)


def _last_run(stream: AlertStream) -> RunReport | None:
    run = StreamRun.objects.filter(stream=stream.settings.label).order_by("started", "pk").last()
    if run is None:
        return None
    state = StreamRun.State(run.state)
    silent = run.ended is None and run.heartbeat < timezone.now() - SILENT_AFTER
    return RunReport(
        state=state.value,
        words="no heartbeat" if silent else state.label,
        reason=(run.last_error if state.needs_you else "") or run.reason,
        host=run.host,
        started=run.started.isoformat(timespec="seconds"),
        heartbeat=run.heartbeat.isoformat(timespec="seconds"),
        needs_you=state.needs_you,
    )


def _with_answer(stream: AlertStream, report: StreamReport, answer: Answer | None) -> StreamReport:
    if answer is None or not isinstance(stream, KafkaAlertStream):
        return replace(report, login="legacy")
    known = Offsets(answer.cluster, report.group_id).load(
        (topic, number) for topic, numbers in answer.topics.items() for number in numbers
    )
    keys = tuple(_with_topics(stream, key, answer, known) for key in report.keys) if answer.cluster else report.keys
    return replace(
        report,
        keys=keys,
        login="ok" if answer.failure is None else "failed",
        cluster=answer.cluster,
        refused=answer.refused,
        failure=answer.failure,
    )


def _with_topics(
    stream: KafkaAlertStream, report: KeyReport, answer: Answer, known: Mapping[Partition, int]
) -> KeyReport:
    keys = stream.topic_keys
    topics = keys.in_order(topic for topic in answer.topics if keys.match(topic) == report.key)
    report = replace(report, topics=len(topics), first_topics=tuple(topics[:NAMES_SHOWN]))
    if answer.failure is not None:
        return report
    partitions = [(topic, number) for topic in topics for number in answer.topics[topic]]
    told = [partition for partition in partitions if partition in known and partition in answer.ends]
    return replace(
        report,
        # Our offset lies behind the end of a topic that was made anew.
        lag=sum(max(0, answer.ends[partition] - known[partition]) for partition in told),
        unknown=len(partitions) - len(told),
    )
