"""Alerts that the broker has deleted before they were read, topics made anew under their old name, and topics cut short.

Each is an incident: it is logged and kept in the StreamRun with both offsets, and then ON_GAP decides.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer

from tom_alertstreams.conf import OnGap
from tom_alertstreams.exceptions import AlertsMissing, BrokerUnavailable

from .broker_errors import ErrorMemory
from .offsets import Offsets, Partition, edges
from .runs import Status

DELETED = "alerts between were deleted by the broker before they were read"
MADE_ANEW = "the topic was deleted and made anew"
#: As after an election among brokers that were behind, or of one that was restored from a copy.
CUT_OFF = "the broker has lost the end of the topic"


class Gaps:
    """The partitions of one stream whose stored offset the broker does not have."""

    def __init__(self, status: Status, errors: ErrorMemory, on_gap: Callable[[str], OnGap]) -> None:
        """
        :param on_gap: topic → ON_GAP.
        """
        self._status = status
        self._errors = errors
        self._on_gap = on_gap
        self._out_of_range: set[Partition] = set()

    def note(self, partition: Partition) -> None:
        """The broker has said that our offset is out of its range."""
        self._out_of_range.add(partition)

    def forget(self, partitions: Iterable[Partition]) -> None:
        """These partitions are no longer ours."""
        self._out_of_range -= set(partitions)

    def resolve(
        self, consumer: Consumer, offsets: Offsets, topic_ids: Mapping[str, str], unanswered: Collection[str]
    ) -> None:
        """Find out what is missing, and move our offset to where reading can go on.

        :param offsets: those of all partitions that are ours are loaded.
        :param topic_ids: topic → its id now, where the broker tells.
        :param unanswered: topics whose id it has not told this time.
        :raises AlertsMissing: ON_GAP says to stop.
        :raises BrokerUnavailable: without an id it cannot be told what has become of a topic.
        :raises KafkaException: the broker does not answer.
        """
        anew = set(offsets.made_anew(topic_ids))
        concerned = sorted(self._out_of_range | anew)
        if not concerned:
            return
        lows, highs = edges(consumer, concerned, OFFSET_BEGINNING), edges(consumer, concerned, OFFSET_END)
        for partition in concerned:
            low, high, wanted = lows[partition], highs[partition], offsets.next_offset(partition)
            if partition in anew or wanted > high:
                # All that is there was handled before, if the topic is the same.
                known, told = offsets.topic_id(partition), topic_ids.get(partition[0], "")
                if known and partition[0] in unanswered:
                    raise BrokerUnavailable(
                        "the broker does not tell whether the topic, which is shorter than it was, was made anew.",
                        topic=partition[0], hint="It is asked again.",
                    )  # fmt: skip
                same = told == known != ""
                begin = high if same else low
                self._tell(partition, wanted, (low, high), begin, CUT_OFF if same else MADE_ANEW)
                offsets.move(partition, begin, told)  # the row would never match again
            elif wanted < low:
                self._tell(partition, wanted, (low, high), low, DELETED)
                offsets.move(partition, low, offsets.topic_id(partition))
            self._out_of_range.discard(partition)

    def _tell(self, partition: Partition, wanted: int, there: tuple[int, int], begin: int, reason: str) -> None:
        topic, number = partition
        stop = self._on_gap(topic) == "stop"
        text = f"offset {wanted} is not on the broker any more, which has {there[0]} to {there[1]}: {reason}."
        to = begin if reason == CUT_OFF else "earliest"
        self._status.note_gap(topic, number, wanted, begin, reason)
        if stop:
            command = f"seekstream {self._status.label} --to {to} --topic {topic} --partition {number}"
            raise AlertsMissing(
                text, stream=self._status.label, topic=topic, partition=number,
                hint=f"ON_GAP is stop. To go on with what is there: {command}.",
            )  # fmt: skip
        self._errors.remember(f"{topic}[{number}]: {text} Reading goes on at {begin}.")
