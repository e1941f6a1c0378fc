"""Sets where a stream reads on: alerts read again are handled again, alerts passed over are not handled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaException, TopicPartition
from django.db import IntegrityError, transaction
from django.utils import timezone

from tom_alertstreams.exceptions import AlertStreamError, BrokerUnavailable, PartitionLost
from tom_alertstreams.logs import get_logger
from tom_alertstreams.models import StreamPartition, StreamRun
from tom_alertstreams.topics import TopicKeys

from .broker_errors import ErrorMemory, describe_refusal
from .offsets import BROKER_TIMEOUT_S, Partition, edges
from .runs import Status
from .source import AlertSource

_client_log = get_logger("tom_alertstreams.librdkafka")

#: A stream whose heartbeat is younger than so many seconds runs.
ALIVE_S = 60.0


class SeekRefused(AlertStreamError):
    """The position of this stream cannot be set so."""


@dataclass(frozen=True)
class Move:
    """One partition."""

    topic: str
    partition: int
    #: The offset of the next alert as it is; None where the database knows none yet.
    old: int | None
    new: int


@dataclass(frozen=True)
class Seek:
    """What would change, for one consumer group on one cluster."""

    cluster: str
    group_id: str
    moves: tuple[Move, ...]


def refuse_while_running(source: AlertSource) -> None:
    """:raises SeekRefused: a process reads this stream, or did so within the last minute."""
    now, label = timezone.now(), source.settings.label
    alive = StreamRun.objects.filter(
        stream=label,
        group_id=source.group_id[:255],
        ended=None,
        heartbeat__gt=now - timedelta(seconds=ALIVE_S),
    )
    if run := alive.order_by("-heartbeat").first():
        age_s = max(0.0, (now - run.heartbeat).total_seconds())
        raise SeekRefused(
            f"{label} is running on {run.host}, process {run.pid}: its last heartbeat is {age_s:.0f} s old.",
            hint=f"Stop readstreams there and try again. If it was killed, try again in {ALIVE_S - age_s:.0f} s.",
        )


def plan(
    source: AlertSource, to: str | int | datetime, *, topic: str | None = None, partition: int | None = None
) -> Seek:
    """Ask the broker where that is. The consumer group is not joined, and nothing is changed.

    :param to: ``earliest``, ``latest``, an offset, or a time: the first alert that was sent then or later.
    :param topic: only this topic of the stream, or those that match this glob.
    :param partition: only this partition.
    :raises SeekRefused: the stream reads no such topic, an offset is given for several partitions, or is not there.
    :raises BrokerUnavailable: the broker does not answer.
    :raises AuthenticationFailed: it refuses us.
    """
    with _visit(source) as consumer:
        metadata = consumer.list_topics(timeout=BROKER_TIMEOUT_S)
        partitions = _partitions(source, metadata.topics, topic, partition)
        found = _offsets(consumer, partitions, to)
        cluster = metadata.cluster_id or "unknown"
    rows = StreamPartition.objects.filter(cluster=cluster, group_id=source.group_id)
    stored = {(t, n): offset for t, n, offset in rows.values_list("topic", "partition", "next_offset")}
    moves = (Move(t, n, stored.get((t, n)), offset) for (t, n), offset in sorted(found.items()))
    return Seek(cluster, source.group_id, tuple(moves))


def apply(seek: Seek) -> None:
    """Set the offsets, all or none.

    :raises PartitionLost: a process has moved one of them since they were read.
    """
    try:
        with transaction.atomic():
            for move in seek.moves:
                _apply(seek, move)
    except IntegrityError as error:
        raise PartitionLost("another process has begun to read meanwhile; nothing was changed.") from error


def _apply(seek: Seek, move: Move) -> None:
    place = {"cluster": seek.cluster, "group_id": seek.group_id, "topic": move.topic, "partition": move.partition}
    if move.old is None:
        StreamPartition.objects.create(**place, next_offset=move.new)
        return
    row = StreamPartition.objects.filter(**place, next_offset=move.old)
    # The offset is one of the topic as it is now: it may have been made anew since its id was stored.
    if row.update(next_offset=move.new, topic_id="") != 1:
        raise PartitionLost(
            "another process has moved this partition meanwhile; nothing was changed.",
            topic=move.topic, partition=move.partition, hint="Stop readstreams and try again.",
        )  # fmt: skip


@contextmanager
def _visit(source: AlertSource) -> Iterator[Consumer]:
    """A client of the stream's broker with its login, which joins no group."""
    label = source.settings.label
    errors = ErrorMemory(Status(label))
    config = {"allow.auto.create.topics": False, **source.consumer_config(), "group.id": source.group_id}
    consumer = Consumer({**config, "enable.auto.commit": False, "error_cb": errors.note}, logger=_client_log)
    try:
        yield consumer
    except KafkaException as error:
        consumer.poll(0)  # serves error_cb, which hears of a wrong password
        errors.raise_refusal()
        code, reason = error.args[0].code(), describe_refusal(error.args[0])
        # Below 0 are librdkafka's own errors: no broker has said anything.
        hint = "Check its address, and that the port is open to you." if code < 0 else None
        raise BrokerUnavailable(f"the broker cannot be asked: {reason}", stream=label, hint=hint) from error
    finally:
        consumer.close()


def _partitions(
    source: AlertSource, topics: Mapping[str, Any], topic: str | None, partition: int | None
) -> list[Partition]:
    wanted = TopicKeys((topic,) if topic else ("*",))
    own = sorted(name for name in topics if source.topic_keys.match(name) is not None)
    found = [
        (name, number)
        for name in own
        for number in sorted(topics[name].partitions)
        if wanted.match(name) is not None and (partition is None or number == partition)
    ]
    if not found:
        what = f"no topic {topic}" if topic else "no topic"
        raise SeekRefused(
            f"the broker has {what} for this stream"
            + ("." if partition is None else f" with a partition {partition}."),
            stream=source.settings.label,
            hint=f"There is {', '.join(own) or 'none'}.",
        )
    return found


def _offsets(consumer: Consumer, partitions: Sequence[Partition], to: str | int | datetime) -> dict[Partition, int]:
    if isinstance(to, datetime):
        return _at(consumer, partitions, to)
    if isinstance(to, str):
        return edges(consumer, partitions, OFFSET_BEGINNING if to == "earliest" else OFFSET_END)
    if len(partitions) > 1:
        names = sorted({topic for topic, _ in partitions})
        hint = "Say which one: --topic." if len(names) > 1 else f"{names[0]} has several: say which one, --partition."
        raise SeekRefused("an offset belongs to one partition of one topic.", hint=hint)
    [place] = partitions
    low, high = edges(consumer, partitions, OFFSET_BEGINNING)[place], edges(consumer, partitions, OFFSET_END)[place]
    if not low <= to <= high:
        # A stream that finds its offset outside takes the topic for one that was made anew.
        text = f"the broker has the offsets {low} to {high} (the next alert), not {to}."
        raise SeekRefused(text, topic=place[0], partition=place[1])
    return {place: to}


def _at(consumer: Consumer, partitions: Sequence[Partition], moment: datetime) -> dict[Partition, int]:
    milliseconds = round(moment.timestamp() * 1000)
    asked = [TopicPartition(topic, number, milliseconds) for topic, number in partitions]
    found: dict[Partition, int] = {}
    for answer in consumer.offsets_for_times(asked, timeout=BROKER_TIMEOUT_S):
        if answer.error is not None:
            raise KafkaException(answer.error)
        if answer.offset >= 0:  # else nothing was sent since
            found[answer.topic, answer.partition] = answer.offset
    return found | edges(consumer, [p for p in partitions if p not in found], OFFSET_END)
