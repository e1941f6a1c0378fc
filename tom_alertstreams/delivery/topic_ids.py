"""What the broker calls this incarnation of a topic: a topic that is deleted and made anew keeps its name, not its id.

Without the id a topic made anew would be noticed only while it is shorter than our offset.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from tom_alertstreams.logs import get_logger

from .offsets import BROKER_TIMEOUT_S

logger = get_logger(__name__)

_TIMEOUT_S = 5.0
#: What is answered by a Kafka before 2.8, and to who has no right to ask.
_NEVER = (
    KafkaError._UNSUPPORTED_FEATURE,
    KafkaError.UNSUPPORTED_VERSION,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
)
#: Of a client that lives for one question: it warns of every consumer setting, and what goes wrong is in its answer.
_unheard = logging.Logger("tom_alertstreams.librdkafka.admin")  # noqa: LOG001  (nobody's child: nothing gets out)
_unheard.addHandler(logging.NullHandler())


class TopicIds:
    """Asks one cluster. Topics whose ids it does not tell (Kafka before 2.8, or no right to ask) are not asked for again."""

    def __init__(self, consumer_config: dict[str, Any]) -> None:
        self._config = consumer_config
        self._never_told: set[str] = set()
        #: Topics of the last question whose ids were not told this time, and may be the next.
        self.unanswered: set[str] = set()

    def ask(self, consumer: Consumer, topics: Iterable[str]) -> dict[str, str]:
        """Topic → id, of those whose id the broker tells.

        :raises KafkaException: the broker does not answer.
        """
        names = sorted(set(topics) - self._never_told)
        self.unanswered = set(names)
        if not names:
            return {}
        metadata = consumer.list_topics(timeout=BROKER_TIMEOUT_S)
        # librdkafka asks the controller, and waits in vain where none is named, as by its own mock cluster.
        if metadata.controller_id not in metadata.brokers:
            return {}
        admin = AdminClient(self._config, logger=_unheard)
        answers = admin.describe_topics(TopicCollection(names), request_timeout=_TIMEOUT_S)
        found: dict[str, str] = {}
        for topic, answer in answers.items():
            try:
                found[topic] = str(answer.result().topic_id or "")
            except KafkaException as error:
                logger.debug("no id of topic %s: %s", topic, error)
                if error.args[0].code() not in _NEVER:
                    continue
                self._never_told.add(topic)
            self.unanswered.discard(topic)
        return {topic: topic_id for topic, topic_id in found.items() if topic_id.strip("A")}  # all zeros is no id
