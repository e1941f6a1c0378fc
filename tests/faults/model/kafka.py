"""A Kafka in memory: logs, committed offsets, one consumer group, and consumers with the methods that the intake calls.

It is meaner than a real one where that costs nothing: a member may not hear for many polls that its partitions are
somebody else's, and goes on fetching and committing as long as it does not.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    OFFSET_INVALID,
    TIMESTAMP_CREATE_TIME,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from .clock import Clock

Partition = tuple[str, int]
#: In place of a number of messages: all there are.
ALL = 10**9


class Record(NamedTuple):
    """What somebody sent."""

    value: bytes | None
    key: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()


@dataclass
class Event:
    """News of the group that a member has not heard yet."""

    kind: str  # assign, revoke or lost
    partitions: set[Partition]
    #: How many polls pass before it is heard.
    polls: int


class Kafka:
    """One cluster and one consumer group."""

    def __init__(self, partitions: Iterable[Partition], clock: Clock, point: Callable[[], None]) -> None:
        """
        :param point: called wherever a process may die.
        """
        self.clock = clock
        self.point = point
        self.logs: dict[Partition, list[Record]] = {partition: [] for partition in partitions}
        self.committed: dict[Partition, TopicPartition] = {}
        self.members: list[Member] = []
        #: So many of the next requests are not answered.
        self.silent = 0

    def consumer(self, config: Mapping[str, Any], **_options: Any) -> Member:
        """In place of ``confluent_kafka.Consumer``."""
        assert config["enable.auto.commit"] is False
        return Member(self, note_ends=config["enable.partition.eof"], on_commit=config["on_commit"])

    def request(self) -> None:
        """:raises KafkaException: the broker does not answer."""
        self.point()
        if self.silent:
            self.silent -= 1
            raise KafkaException(KafkaError(KafkaError._TRANSPORT, "no broker answers"))

    def deal(self, first: int = 0) -> None:
        """Share the partitions among the members, in turn.

        :param first: number of the member to begin with.
        """
        if count := len(self.members):
            self.rebalance({partition: n % count for n, partition in enumerate(self.logs, start=first)})

    def rebalance(self, owners: Mapping[Partition, int], *, kind: str = "revoke", polls: Sequence[int] = ()) -> None:
        """Give every partition to a member.

        :param owners: partition → number of the member; what is not named is nobody's for now.
        :param kind: how members lose what they had: revoke or lost.
        :param polls: for each member, how many polls later it hears of it.
        """
        for number, member in enumerate(self.members):
            member.tell(kind, {p for p, owner in owners.items() if owner == number}, (*polls, 0, 0, 0)[number])

    def leave(self, member: Member) -> None:
        """A member leaves."""
        if member in self.members:
            self.members.remove(member)
            self.deal()


class Member:
    """A consumer of the group."""

    def __init__(self, kafka: Kafka, *, note_ends: bool, on_commit: Any) -> None:
        self._kafka = kafka
        self._note_ends = note_ends
        self._on_commit = on_commit
        self._answers: deque[tuple[KafkaError | None, list[TopicPartition]]] = deque()
        self._events: deque[Event] = deque()
        self._callbacks: dict[str, Callable[[Member, list[TopicPartition]], None]] = {}
        self._positions: dict[Partition, int] = {}
        self._paused: set[Partition] = set()
        #: What the group has given to this member, whether it has heard of it or not.
        self.given: set[Partition] = set()
        self._heard: set[Partition] = set()
        self._ends_told: set[Partition] = set()
        #: How many messages are there for the next poll; the rest is still on its way.
        self.arriving = ALL
        #: News of the group come between two messages, not before the first.
        self.late = False

    # --- the group -------------------------------------------------------------------------------------------------

    def subscribe(self, topics: list[str], *, on_assign: Any, on_revoke: Any, on_lost: Any) -> None:
        """Join."""
        self._kafka.point()
        patterns = [topic if topic.startswith("^") else f"^{re.escape(topic)}$" for topic in topics]
        assert all(any(re.match(pattern, topic) for pattern in patterns) for topic, _ in self._kafka.logs)
        self._callbacks = {"assign": on_assign, "revoke": on_revoke, "lost": on_lost}
        self._kafka.members.append(self)
        self._kafka.deal()

    def tell(self, kind: str, partitions: set[Partition], polls: int) -> None:
        """Take away what this member has, and give it these partitions."""
        if self.given:
            self._events.append(Event(kind, self.given, polls))
        self._events.append(Event("assign", partitions, polls))
        self.given = partitions

    def _hear(self) -> None:
        """What the group has to say by now."""
        while self._events:
            event = self._events[0]
            if event.polls:
                event.polls -= 1
                return
            self._events.popleft()
            self._callbacks[event.kind](self, [TopicPartition(*partition) for partition in sorted(event.partitions)])
            self._heard = event.partitions if event.kind == "assign" else set()
            if event.kind != "assign":
                self._positions = {}  # as confluent_kafka does where the callback has not

    def unsubscribe(self) -> None:
        """Leave; that the partitions are gone is heard at the next poll."""
        self._kafka.point()
        self._events.clear()
        if self._heard:
            self._events.append(Event("revoke", self._heard, 0))
        self.given, self.late = set(), False
        self._kafka.leave(self)

    def close(self) -> None:
        """The end; as of a member that has left and heard of it."""
        self._kafka.point()
        assert self not in self._kafka.members
        assert not self._positions

    # --- messages --------------------------------------------------------------------------------------------------

    def poll(self, timeout: float) -> Message | None:
        """News of the group and of commits, and a message."""
        self._kafka.point()
        while self._answers:
            self._on_commit(*self._answers.popleft())
        if not self.late:
            self._hear()
        message = self._next()
        if message is None:
            if self.late:
                self._hear()
            self._kafka.clock.wait(timeout)
        return message

    def consume(self, number: int, timeout: float) -> list[Message]:
        """What else has arrived."""
        assert timeout == 0
        if self.late:
            self._hear()
        messages: list[Message] = []
        while len(messages) < number and (message := self._next()) is not None:
            messages.append(message)
        return messages

    def _next(self) -> Message | None:
        """The next message of the partition that is furthest behind: so they come mixed, each in its order."""
        ready = [p for p, at in self._positions.items() if p not in self._paused and at < len(self._kafka.logs[p])]
        if not ready or self.arriving <= 0:
            return self._next_end()
        self.arriving -= 1
        partition = min(ready, key=lambda p: (self._positions[p], p))
        offset = self._positions[partition]
        self._positions[partition] += 1
        record = self._kafka.logs[partition][offset]
        return Message(
            topic=partition[0],
            partition=partition[1],
            offset=offset,
            key=record.key,
            value=record.value,
            headers=list(record.headers) or None,
            timestamp=(TIMESTAMP_CREATE_TIME, 1_790_000_000_000),
        )

    def _next_end(self) -> Message | None:
        ends = {p for p, at in self._positions.items() if p not in self._paused and at == len(self._kafka.logs[p])}
        for topic, number in sorted(ends - self._ends_told) if self._note_ends else ():
            self._ends_told.add((topic, number))
            return Message(topic=topic, partition=number, error=KafkaError(KafkaError._PARTITION_EOF))
        return None

    def assign(self, partitions: list[TopicPartition]) -> None:
        """Read these from these offsets."""
        self._kafka.point()
        self._positions = {(tp.topic, tp.partition): tp.offset for tp in partitions}
        assert all(offset >= 0 for offset in self._positions.values())
        self._ends_told -= set(self._positions)

    def pause(self, partitions: list[TopicPartition]) -> None:
        """Fetch nothing of these; stays so when they are assigned again."""
        self._paused |= {(tp.topic, tp.partition) for tp in partitions}

    def resume(self, partitions: list[TopicPartition]) -> None:
        """End :meth:`pause`."""
        self._paused -= {(tp.topic, tp.partition) for tp in partitions}

    # --- offsets ---------------------------------------------------------------------------------------------------

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> None:
        """Store the group's offsets. What became of an asynchronous one is heard at the next poll."""
        try:
            self._kafka.request()
        except KafkaException as error:
            if not asynchronous:
                raise
            self._answers.append((error.args[0], offsets))
            return
        self._kafka.committed |= {(tp.topic, tp.partition): tp for tp in offsets}
        if asynchronous:
            self._answers.append((None, offsets))
        self._kafka.point()

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        """The group's offsets, with what was left beside them."""
        self._kafka.request()
        none = TopicPartition("", 0, OFFSET_INVALID)
        found = [(tp, self._kafka.committed.get((tp.topic, tp.partition), none)) for tp in partitions]
        return [TopicPartition(tp.topic, tp.partition, at.offset, at.metadata or "") for tp, at in found]

    def offsets_for_times(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        """The ends of logs."""
        self._kafka.request()
        assert {tp.offset for tp in partitions} <= {OFFSET_BEGINNING, OFFSET_END}
        return [
            TopicPartition(
                tp.topic,
                tp.partition,
                0 if tp.offset == OFFSET_BEGINNING else len(self._kafka.logs[tp.topic, tp.partition]),
            )
            for tp in partitions
        ]

    def get_watermark_offsets(self, partition: TopicPartition, *, cached: bool) -> tuple[int, int]:
        """As last heard."""
        assert cached
        return 0, len(self._kafka.logs[partition.topic, partition.partition])

    def list_topics(self, timeout: float) -> SimpleNamespace:
        """The topics; no controller is named, so nobody asks for their ids."""
        self._kafka.request()
        topics: dict[str, SimpleNamespace] = {}
        for topic, number in self._kafka.logs:
            topics.setdefault(topic, SimpleNamespace(error=None, partitions={})).partitions[number] = None
        return SimpleNamespace(cluster_id="model", topics=topics, brokers={}, controller_id=-1)
