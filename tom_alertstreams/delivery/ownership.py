"""One consumer group, one database: whoever commits offsets to Kafka leaves the id of its database beside them.

Two databases with one group would each get a part of the alerts: a laptop with production's settings would eat
production's. So a stream that finds the mark of another database stops, unless TAKE_OVER is set.
"""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import Consumer, TopicPartition

from tom_alertstreams.exceptions import TakenOver

from .offsets import BROKER_TIMEOUT_S, Partition

#: Metadata that does not begin so was left by another program, as by tom-alertstreams 1.x, and is nobody's mark.
_PREFIX = "tom-alertstreams "


def mark(installation: str) -> str:
    """What is committed beside an offset by the database with this id."""
    return _PREFIX + installation


def refuse_others(consumer: Consumer, partitions: Sequence[Partition], installation: str, stream: str) -> None:
    """Look at the marks beside the group's offsets in Kafka.

    :param installation: the id of our database.
    :raises TakenOver: another database has read one of these partitions last.
    :raises KafkaException: the broker does not answer.
    """
    if not partitions:
        return
    for tp in consumer.committed([TopicPartition(t, n) for t, n in partitions], timeout=BROKER_TIMEOUT_S):
        found = tp.metadata or ""
        if tp.error is None and found.startswith(_PREFIX) and found != mark(installation):
            raise TakenOver(
                f"the database {found.removeprefix(_PREFIX)} reads with this consumer group; ours is {installation}.",
                stream=stream, topic=tp.topic, partition=tp.partition,
                hint="Give this TOM a GROUP_ID of its own. If it has taken the other's place for good, "
                'set "TAKE_OVER": True in the DELIVERY of this stream once.',
            )  # fmt: skip
