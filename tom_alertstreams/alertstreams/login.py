"""Logs in to the brokers of streams and looks around, without joining a consumer group: for ``checkstreams``."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition

from tom_alertstreams.delivery.broker_errors import REFUSALS
from tom_alertstreams.delivery.offsets import Partition
from tom_alertstreams.delivery.ownership import refuse_others
from tom_alertstreams.exceptions import ConfigurationError, TakenOver
from tom_alertstreams.redaction import redact

from .diagnosis import Failure, likely_cause
from .kafka import KafkaAlertStream

#: Seconds for one stream, all questions together.
TIMEOUT_S: Final = 10.0
#: librdkafka tells what went wrong only between two questions, so each is short.
_QUESTION_S: Final = 0.5
#: Once all brokers are down, the client still tries their other addresses (IPv6, then IPv4).
_GRACE_S: Final = 2.0
_AT_ONCE: Final = 16
#: Causes of a failure that may lie in the way of logging in, and not in the address.
_OTHER_LOGIN_MAY_DO: Final = frozenset({"password", "mechanism", "no login", "tls", "plaintext"})


@dataclass(frozen=True)
class Answer:
    """What the broker of one stream says."""

    #: The id that the broker reports; empty where it did not answer.
    cluster: str = ""
    #: Topic of a key of TOPIC_HANDLERS → numbers of its partitions.
    topics: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    #: The offset after the last alert of each partition that told it.
    ends: Mapping[Partition, int] = field(default_factory=dict)
    #: Topics that are named in TOPIC_HANDLERS and that we may not read.
    refused: tuple[str, ...] = ()
    failure: Failure | None = None


def log_in(streams: Sequence[KafkaAlertStream], installation: str, timeout_s: float = TIMEOUT_S) -> list[Answer]:
    """Ask the broker of each stream, side by side. Nothing is read, and no group is joined.

    Their group ids must be known already: drawing one needs the database.

    :param installation: the id of our database, to see whether another one reads with the same group.
    """
    if not streams:
        return []
    with ThreadPoolExecutor(min(len(streams), _AT_ONCE), thread_name_prefix="alertstream-login") as pool:
        return list(pool.map(lambda stream: _ask(stream, installation, timeout_s), streams))


def _ask(stream: KafkaAlertStream, installation: str, timeout_s: float) -> Answer:
    answer = _visit(stream, stream.consumer_config, timeout_s, lambda visit: visit.look_around(installation))
    if answer.failure is None:
        return answer
    failure = stream.explain(answer.failure)
    if failure.cause in _OTHER_LOGIN_MAY_DO:
        failure = _with_other_logins(stream, failure, timeout_s)
    return replace(answer, failure=failure)


def _with_other_logins(stream: KafkaAlertStream, failure: Failure, timeout_s: float) -> Failure:
    """The failure, and whether the broker takes another login that it is known for."""
    tried = []
    for words, config in stream.other_logins().items():
        other = _visit(stream, partial(dict, config), timeout_s, _Visit.knock).failure
        if other is None:
            return replace(failure, message=f"{failure.message} It does take this login: set {words}.")
        tried.append(f"With {words} it was tried too: {other.message}")
    return replace(failure, message=" ".join([failure.message, *tried]))


def _visit(
    stream: KafkaAlertStream,
    config: Callable[[], Mapping[str, Any]],
    timeout_s: float,
    ask: Callable[[_Visit], Answer],
) -> Answer:
    try:
        visit = _Visit(stream, config(), timeout_s)
    except ConfigurationError as error:
        return Answer(failure=Failure("settings", redact(f"{error.message} {error.hint or ''}".strip())))
    except (KafkaException, TypeError, ValueError) as error:
        message = "the Kafka client does not take these settings. Correct CONFIG in the OPTIONS of the stream."
        return Answer(failure=Failure("settings", message, redact(str(error))))
    try:
        return ask(visit)
    finally:
        visit.consumer.close()


class _Visit:
    """One connection to one broker."""

    def __init__(self, stream: KafkaAlertStream, config: Mapping[str, Any], timeout_s: float) -> None:
        self._stream = stream
        self._errors: list[KafkaError] = []
        self._deadline = time.monotonic() + timeout_s
        self.consumer = Consumer(
            {
                "log_level": 0,  # what goes wrong is in our report
                **config,
                "group.id": stream.group_id,
                "enable.auto.commit": False,
                "allow.auto.create.topics": False,
                "error_cb": self._errors.append,
            }
        )

    def look_around(self, installation: str) -> Answer:
        """Log in, list the topics, ask as the group, ask for the ends."""
        answer = Answer()
        try:
            answer = self._topics()
            self._ask_as_group(answer)
            if not self._stream.settings.delivery.take_over:
                partitions = [(name, number) for name, numbers in answer.topics.items() for number in numbers]
                refuse_others(self.consumer, partitions, installation, "")
            return replace(answer, ends=self._ends(answer))
        except TakenOver as error:
            return replace(answer, failure=Failure("taken", redact(str(error))))
        except KafkaException as error:
            self._listen()
            return replace(answer, failure=likely_cause([*self._errors, *_of_interest(error)]))

    def knock(self) -> Answer:
        """Log in, and nothing else."""
        try:
            return Answer(self._list_topics().cluster_id or "unknown")
        except KafkaException as error:
            self._listen()
            return Answer(failure=likely_cause([*self._errors, *_of_interest(error)]))

    def _topics(self) -> Answer:
        found = self._list_topics()
        match = self._stream.topic_keys.match
        ours = {name: topic for name, topic in found.topics.items() if match(name) is not None}
        refused = [name for name, topic in ours.items() if _is_closed(topic)] + self._hidden(found.topics)
        topics = {name: tuple(sorted(topic.partitions)) for name, topic in ours.items() if topic.error is None}
        return Answer(found.cluster_id or "unknown", topics, refused=tuple(sorted(refused)))

    def _list_topics(self) -> Any:
        """librdkafka's ClusterMetadata, with all topics that we may see."""
        down_since: float | None = None
        while True:
            try:
                return self.consumer.list_topics(timeout=_QUESTION_S)
            except KafkaException:
                self._listen()
                now = time.monotonic()
                if any(error.code() == KafkaError._ALL_BROKERS_DOWN for error in self._errors):
                    down_since = down_since or now
                final = any(error.code() in REFUSALS for error in self._errors)
                if final or now > self._deadline or (down_since is not None and now - down_since > _GRACE_S):
                    raise

    def _hidden(self, known: Collection[str]) -> list[str]:
        """Topics that we may not read are missing from the list of all; asked for by name, the broker tells."""
        named = [name for name in self._stream.topic_keys.subscription() if not name.startswith("^")]
        return [
            name
            for name in named
            if name not in known
            and _is_closed(self.consumer.list_topics(name, timeout=self._left_s()).topics.get(name))
        ]

    def _ask_as_group(self, answer: Answer) -> None:
        """:raises KafkaException: the group is not allowed, or its coordinator does not answer."""
        topic = next(iter(answer.topics), None) or self._stream.topic_keys.keys[0]
        while True:
            try:
                asked = self.consumer.committed([TopicPartition(topic, 0)], timeout=2 * _QUESTION_S)
            except KafkaException as error:
                self._listen()
                if _is_refusal(error.args[0]) or any(map(_is_refusal, self._errors)) or self._left_s() <= 0.1:
                    raise
            else:
                if asked[0].error is not None and _is_refusal(asked[0].error):
                    raise KafkaException(asked[0].error)
                return

    def _ends(self, answer: Answer) -> dict[Partition, int]:
        # The "time" -1 asks for the end of the log, as in delivery/offsets.py; here one topic's error is its own.
        asked = [
            TopicPartition(name, number, OFFSET_END) for name, numbers in answer.topics.items() for number in numbers
        ]
        told = self.consumer.offsets_for_times(asked, timeout=self._left_s()) if asked else []
        return {(tp.topic, tp.partition): tp.offset for tp in told if tp.error is None and tp.offset >= 0}

    def _listen(self) -> None:
        """Hear what librdkafka has to tell: errors of the connection by the callback, of the group as a message."""
        while (message := self.consumer.poll(0)) is not None:
            if (error := message.error()) is not None:
                self._errors.append(error)

    def _left_s(self) -> float:
        return max(0.1, self._deadline - time.monotonic())


def _is_closed(topic: Any) -> bool:
    """Whether a topic, as librdkafka describes it, is not for us."""
    error = None if topic is None else topic.error
    return error is not None and error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED


def _is_refusal(error: KafkaError) -> bool:
    return error.code() in REFUSALS


def _of_interest(error: KafkaException) -> list[KafkaError]:
    """A question that failed because there is no connection says less than the errors of the connection."""
    cause: KafkaError = error.args[0]
    return [] if cause.code() in (KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._WAIT_COORD) else [cause]
