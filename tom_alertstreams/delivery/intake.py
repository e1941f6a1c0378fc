"""What comes in from Kafka: the consumer, the partitions it has been given, and the alerts it has fetched.

Everything here runs in the thread of the delivery loop, the callbacks included (librdkafka runs them inside ``poll``):
a commit from another thread can hang.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicPartition

from tom_alertstreams.alerts import Alert
from tom_alertstreams.conf import OnGap
from tom_alertstreams.exceptions import AuthenticationFailed, ConfigurationError
from tom_alertstreams.logs import get_logger

from .broker_errors import REFUSALS, ClientLog, ErrorMemory, describe_refusal
from .failures import text_of
from .gaps import Gaps
from .offsets import BROKER_TIMEOUT_S, Offsets, Partition, edges, place
from .ownership import mark, refuse_others
from .runs import Status
from .source import AlertSource, Binding
from .topic_ids import TopicIds
from .watchdog import longest_silence_s

logger = get_logger(__name__)

#: More than it takes to pass over what was fetched already, for Kafka to answer a commit, and to leave a group.
_LAST_POLLS_S, _LAST_COMMIT_S, _LEAVING_S = 5.0, 3.0, 5.0
#: So soon an answer is heard.
_LISTEN_S = 0.02
#: What librdkafka has where CONFIG says nothing, and the most that it takes.
_SESSION_TIMEOUT_MS, _LONGEST_POLL_INTERVAL_MS = 45_000, 86_400_000


class Intake:
    """One consumer of one group.

    A partition goes through three stages: given to us by the group (``unplaced``), placed at the offset the database
    says (``assigned``), revoked. Alerts are fetched only from placed partitions, and held until they are handled.
    """

    def __init__(self, source: AlertSource, errors: ErrorMemory, status: Status, *, note_ends: bool) -> None:
        """
        :param note_ends: remember where each partition ends when it is placed, for :meth:`at_end`.
        :raises ConfigurationError: the Kafka client does not take the stream's settings.
        """
        self.source = source
        self.offsets: Offsets
        self.held: dict[str | None, deque[Alert]] = {}
        self.assigned: set[Partition] = set()
        self.unplaced: list[Partition] | None = None
        #: The group has said which partitions are ours (maybe none), and has not taken that back.
        self.has_assignment = False
        self._errors = errors
        self._note_ends = note_ends
        self._ends: dict[Partition, int] = {}
        self._arrived: set[Partition] = set()
        #: What Kafka was last told, so that an idle stream sends it nothing.
        self._mirrored: dict[Partition, int] = {}
        #: Commits that Kafka has not answered yet.
        self._unanswered = 0
        self._paused = False
        self._polled_at = float("-inf")
        self._installation = ""
        groups = [source.settings.delivery, *(topic.delivery for topic in source.settings.topics)]
        self._most_alerts = max(group.batch_size for group in groups)
        self._most_bytes = max(group.batch_bytes for group in groups)
        #: Groups to hold: where the next one is prepared while one is handled, it has to be here by then.
        self._groups = 2 if any(binding.handler.ahead for binding in source.bindings.values()) else 1
        self._take_over = source.settings.delivery.take_over
        self._gaps = Gaps(status, errors, self._on_gap)
        self._topic_ids = TopicIds(source.consumer_config())
        try:
            self.consumer = Consumer(self._config(), logger=ClientLog(source.settings.label))
        except (KafkaException, TypeError, ValueError) as error:  # as of certificates that are not there
            raise ConfigurationError(
                "the Kafka client does not take these settings.",
                stream=source.settings.label,
                details=text_of(error),
                hint="Correct CONFIG in the OPTIONS of the stream. Then restart readstreams.",
            ) from error

    def _config(self) -> dict[str, Any]:
        given = self.source.consumer_config()
        return {
            "max.poll.interval.ms": _max_poll_interval_ms(longest_silence_s(self.source.settings), given),
            "topic.metadata.refresh.interval.ms": 20_000,
            "queued.max.messages.kbytes": 65_536,
            "fetch.message.max.bytes": 10_485_760,
            "allow.auto.create.topics": False,
            **given,
            "group.id": self.source.group_id,
            # The loop says where to read and what is done; librdkafka must never decide either by itself.
            "auto.offset.reset": "error",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": self._note_ends,
            "error_cb": self._errors.note,
            "on_commit": self._on_commit,
        }

    def _on_gap(self, topic: str) -> OnGap:
        key = self.source.topic_keys.match(topic)
        binding = self.source.bindings.get(key) if key is not None else None
        return (binding.topic if binding is not None else self.source.settings).delivery.on_gap

    def cluster_id(self) -> str:
        """The id of the cluster we are connected to. :raises KafkaException: no broker answers."""
        return self.consumer.list_topics(timeout=5.0).cluster_id or "unknown"

    def subscribe(self, offsets: Offsets, installation: str) -> None:
        """Join the group.

        :param installation: the id of our database.
        """
        self.offsets = offsets
        self._installation = installation
        self.consumer.subscribe(
            self.source.topic_keys.subscription(),
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_revoke,
        )

    def close(self) -> None:
        """Leave the group. Where no broker answers, that is left to a thread after a few seconds."""
        # A rebalance that has not been heard yet is heard here. Inside close() librdkafka may wait for itself (its issues
        # 4041 and 4884), with Python's lock in hand: the whole process stands still.
        with suppress(KafkaException):
            self.consumer.unsubscribe()
            over = time.monotonic() + _LAST_POLLS_S
            while self.consumer.poll(0) is not None and time.monotonic() < over:
                pass
        if not self._unanswered:
            self.consumer.close()
            return
        # It waits for the answer to every commit, and where no broker is there for as long as a session.
        leaving = threading.Thread(
            target=self._leave, name=f"alertstream-{self.source.settings.label}-leaves", daemon=True
        )
        leaving.start()
        leaving.join(_LEAVING_S)

    def _leave(self) -> None:
        with suppress(KafkaException):
            self.consumer.close()

    @property
    def busy(self) -> bool:
        """Alerts are held, or partitions are not placed yet: nothing more is to be fetched."""
        return self.unplaced is not None or any(self.held.values())

    @property
    def wants_more(self) -> bool:
        """More is to be fetched: nothing is in hand, or one group where two are to be held."""
        if not self.busy:
            return True
        if self._groups == 1 or self.unplaced is not None:
            return False
        alerts, size = self._holds()
        return alerts <= self._most_alerts and size <= self._most_bytes

    def _holds(self) -> tuple[int, int]:
        """How many alerts, and how many bytes."""
        held = [alert.size for alerts in self.held.values() for alert in alerts]
        return len(held), sum(held)

    @property
    def polled_lately(self) -> bool:
        """The consumer was polled within BATCH_SECONDS.

        While alerts are held it need not be polled again: partitions would be paused for that, and librdkafka drops what it
        has fetched ahead of a partition that is paused, and fetches it again.
        """
        return time.monotonic() - self._polled_at < self.source.settings.delivery.batch_seconds

    # --- fetching --------------------------------------------------------------------------------------------------

    def poll(self, timeout_s: float, *, fetch: bool) -> None:
        """Keep our place in the group, and with ``fetch`` take what has come."""
        self._polled_at = time.monotonic()
        self._pause(not fetch)
        message = self.consumer.poll(timeout_s)
        if message is None:
            return
        # poll, then what else is queued: consume(n, t) alone waits for n messages, or not, depending on the version
        # (confluent-kafka-python issue 2205). No more than the groups to hold, going by the size of the first: what is
        # left over would be held in memory.
        alerts, size = self._holds()
        fit = (self._groups * self._most_bytes - size) // max(1, len(message.value() or b""))
        more = min(self._groups * self._most_alerts - alerts, fit) - 1
        for fetched in (message, *(self.consumer.consume(more, 0) if more > 0 else ())):
            self._receive(fetched)

    def _pause(self, pause: bool) -> None:
        if pause == self._paused or not self.assigned:
            return
        partitions = [TopicPartition(topic, number) for topic, number in self.assigned]
        (self.consumer.pause if pause else self.consumer.resume)(partitions)
        self._paused = pause

    def _receive(self, message: Message) -> None:
        partition = (message.topic(), message.partition())
        error = message.error()
        if error is not None:
            self._receive_error(error, partition)
            return
        if partition not in self.assigned or message.offset() < self.offsets.next_offset(partition):
            return  # fetched before a rebalance or a seek
        key = self.source.topic_keys.match(partition[0])
        if key not in self.held:
            self.held[key] = deque()
        self.held[key].append(self.source.open_alert(message))

    def _receive_error(self, error: KafkaError, partition: Partition) -> None:
        ours = partition in self.assigned  # else it is of a time before a rebalance
        if error.code() == KafkaError._PARTITION_EOF:
            self._arrived |= {partition} if ours else set()
        elif error.code() == KafkaError._AUTO_OFFSET_RESET:
            if ours:
                self._gaps.note(partition)
                self.step_back()
        else:
            self.judge(error, partition[0])

    def judge(self, error: KafkaError, topic: str | None = None) -> None:
        """Note an error of the client. :raises AuthenticationFailed: it means that the broker refuses us."""
        if error.code() in REFUSALS:
            raise AuthenticationFailed(describe_refusal(error), stream=self.source.settings.label)
        self._errors.note(error, topic)

    def group(self, binding: Binding | None, alerts: Iterable[Alert], most: int | None = None) -> list[Alert]:
        """The first of the held alerts that fit into one group: BATCH_SIZE (or ``most``), BATCH_BYTES."""
        settings = binding.topic.delivery if binding is not None else self.source.settings.delivery
        most = settings.batch_size if most is None else most
        group: list[Alert] = []
        size = 0
        for alert in alerts:
            size += alert.size
            if group and (len(group) >= most or size > settings.batch_bytes):
                break
            group.append(alert)
        return group

    # --- partitions ------------------------------------------------------------------------------------------------

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        # Where to read is the database's to say. It may be away, and an error in a callback ends the consumer: so
        # nothing is read until the loop has placed the partitions.
        try:
            consumer.assign([])
        except KafkaException:
            raise  # caught, for else what comes out of poll is the KafkaError in it, which is no exception
        self.has_assignment = True
        self.unplaced = [(tp.topic, tp.partition) for tp in partitions]

    def _on_revoke(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        gone = {(tp.topic, tp.partition) for tp in partitions}
        self._drop(gone)
        self.assigned -= gone
        self._gaps.forget(gone)
        self.offsets.forget(gone)
        self.has_assignment = False
        self.unplaced = None
        self._paused = False

    def _drop(self, gone: set[Partition]) -> None:
        for key, alerts in self.held.items():
            self.held[key] = deque(alert for alert in alerts if (alert.topic, alert.partition) not in gone)

    def place(self) -> bool:
        """Begin to read partitions that were just assigned, where the database says. True if there were any."""
        if self.unplaced is None:
            return False
        if not self._take_over:
            refuse_others(self.consumer, self.unplaced, self._installation, self.source.settings.label)
        topic_ids = self._topic_ids.ask(self.consumer, {topic for topic, _ in self.unplaced})
        self.offsets.load(self.unplaced)
        self._gaps.resolve(self.consumer, self.offsets, topic_ids, self._topic_ids.unanswered)
        positions = place(self.offsets, self.consumer, self.unplaced)
        self.offsets.note_topic_ids(topic_ids)
        if self._note_ends:
            begins = {(tp.topic, tp.partition): tp.offset for tp in positions}
            ends = edges(self.consumer, begins.keys() - self._ends.keys(), OFFSET_END)
            # Behind the end of a topic that was made anew: where to read on is known only from the broker's answer.
            self._ends |= {p: end if begins[p] <= end else sys.maxsize for p, end in ends.items()}
        self.assigned = {(tp.topic, tp.partition) for tp in positions}
        self._drop(self.assigned)  # what came between the step back and now comes again
        self._arrived -= self.assigned
        self.consumer.assign(positions)
        if positions:
            self.consumer.resume(positions)  # a partition that was paused stays so when it is assigned again
        self.unplaced, self._paused = None, False
        self.mirror()  # our mark is to be seen by whoever else joins this group
        return True

    def step_back(self) -> None:
        """Read again where the database says: our view of it was stale, or librdkafka has given a partition up."""
        self._drop(self.assigned)
        self.unplaced = sorted(self.assigned)

    # --- how far -----------------------------------------------------------------------------------------------------

    def at_end(self) -> bool:
        """Whether every assigned partition is handled up to where it ended when it was placed.

        Between two assignments nothing is known to be at its end.
        """
        return self.has_assignment and all(
            # The end of a partition may lie behind its last alert: transaction markers have offsets too.
            self.offsets.next_offset(partition) >= self._ends.get(partition, 0) or partition in self._arrived
            for partition in self.assigned
        )

    def has_topics(self) -> bool:
        """Whether the broker has any topic for us."""
        topics = self.consumer.list_topics(timeout=BROKER_TIMEOUT_S).topics
        return any(self.source.topic_keys.match(topic) is not None for topic in topics)

    def lags(self) -> dict[Partition, int]:
        """Alerts of each partition of ours not handled yet, as far as the broker has told."""
        lags = {}
        for topic, number in self.assigned:
            watermarks = self.consumer.get_watermark_offsets(TopicPartition(topic, number), cached=True)
            if watermarks is not None and watermarks[1] >= 0:
                lags[topic, number] = max(0, watermarks[1] - self.offsets.next_offset((topic, number)))
        return lags

    def mirror(self, *, wait: bool = False) -> None:
        """Tell Kafka how far the database has come. A failure costs nothing: the database's offset is the one that counts.

        :param wait: until Kafka has answered, but not for long, and not at all where no broker does.
        """
        if wait and self._errors.all_brokers_down:
            return
        positions = [
            TopicPartition(topic, number, self.offsets.next_offset((topic, number)), mark(self._installation))
            for topic, number in sorted(self.assigned)
        ]
        changed = [tp for tp in positions if self._mirrored.get((tp.topic, tp.partition)) != tp.offset]
        if changed:
            self._commit(changed)
        if wait:
            self._hear_of_commits()

    def _commit(self, changed: list[TopicPartition]) -> None:
        try:
            self.consumer.commit(offsets=changed, asynchronous=True)
        except KafkaException as error:
            label = self.source.settings.label
            logger.debug("%s: offsets not mirrored: %s", label, error, extra={"stream": label})
        else:
            self._unanswered += 1
            self._mirrored.update({(tp.topic, tp.partition): tp.offset for tp in changed})

    def _hear_of_commits(self) -> None:
        # Not a commit that waits by itself: without a broker that takes as long as a session, 45 s by default.
        over = time.monotonic() + _LAST_COMMIT_S
        with suppress(KafkaException):
            self._pause(True)
            while self._unanswered and not self._errors.all_brokers_down and time.monotonic() < over:
                self.consumer.poll(_LISTEN_S)

    def _on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        """Hears what became of a commit, inside ``poll``. What Kafka has not taken it is told again."""
        self._unanswered = max(0, self._unanswered - 1)
        for tp in partitions:
            if error is not None or tp.error is not None:
                self._mirrored.pop((tp.topic, tp.partition), None)


def _max_poll_interval_ms(longest_silence_s: float, config: Mapping[str, Any]) -> int:
    """As long as handlers may take, within what librdkafka takes: no shorter than a session, and no longer than a day."""
    try:
        session_ms = int(config.get("session.timeout.ms", _SESSION_TIMEOUT_MS))
    except (TypeError, ValueError):  # the client says what is wrong with it
        session_ms = _SESSION_TIMEOUT_MS
    return min(_LONGEST_POLL_INTERVAL_MS, max(session_ms, int(1000 * longest_silence_s)))
