"""The streams whose messages are spoilt, and a run of each over what is sent to it, with the books balanced."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from alerce_stream.resolver import Position
from tests.faults import mutations
from tests.faults.model.kafka import Kafka, Record
from tests.faults.mutations import Sample
from tests.streams import next_offset
from tests.unit.ingest.samples import HERMES
from tom_alertstreams.alerts import Alert
from tom_alertstreams.alertstreams.alertstream import get_alert_streams
from tom_alertstreams.delivery import intake, loop
from tom_alertstreams.delivery.loop import DeliveryLoop
from tom_alertstreams.delivery.source import Control
from tom_alertstreams.models import DeadLetter, OutcomeCount

#: No message may take longer (seconds), nor any batch to be written.
LONGEST_S = 20.0

INGEST = {"HANDLER": "tom_alertstreams.ingest.handlers.ingest_targets", "OPTIONS": {"CREATE": "always"}}
CLASSIFICATIONS = {
    "HANDLER": "alerce_stream.handlers.ingest_classifications",
    "OPTIONS": {"CREATE": "always", "CLASSES": ["SNIa", "SNII", "SN"]},
}
STREAMS = "tom_alertstreams.alertstreams"


class TookTooLong(BaseException):
    """A message holds everything up."""


def some_positions(object_ids: list[str], api_url: str) -> dict[str, Position]:
    """A RESOLVER that knows every second object."""
    return {name: Position(12.5, -4.5) for name in object_ids if len(name) % 2 == 0}


@dataclass(frozen=True)
class Corpus:
    """The messages of one stream, and the stream."""

    name: str
    options: dict[str, Any]
    samples: Callable[[Path], list[Sample]]


CORPORA = {
    "gcn": Corpus(
        f"{STREAMS}.gcn.GCNClassicAlertStream",
        {"GCN_CLASSIC_CLIENT_ID": "", "GCN_CLASSIC_CLIENT_SECRET": "", "TOPIC_HANDLERS": {"gcn.*": INGEST}},
        mutations.gcn_samples,
    ),
    "hopskotch": Corpus(
        f"{STREAMS}.hopskotch.HopskotchAlertStream",
        {"URL": "kafka://nowhere/", "USERNAME": "", "TOPIC_HANDLERS": {"hermes.test": INGEST}},
        lambda folder: mutations.hopskotch_samples(folder, HERMES),
    ),
    "survey": Corpus(
        f"{STREAMS}.kafka.KafkaAlertStream",
        {"BOOTSTRAP_SERVERS": "nowhere", "TOPIC_HANDLERS": {"survey": INGEST}},
        mutations.survey_samples,
    ),
    "alerce": Corpus(
        "alerce_stream.streams.AlerceAlertStream",
        {
            "USERNAME": "",
            "RESOLVER": "tests.faults.corpora.some_positions",
            "TOPIC_HANDLERS": {"lc_classifier": CLASSIFICATIONS, "stamp_classifier": CLASSIFICATIONS},
        },
        mutations.alerce_samples,
    ),
    "antares": Corpus(
        f"{STREAMS}.antares.AntaresAlertStream",
        {"API_KEY": "", "API_SECRET": "", "TOPIC_HANDLERS": {"nuclear": INGEST}},
        mutations.antares_samples,
    ),
}


def deliver(
    corpus: Corpus, kafka: Kafka, sent: list[Sample], monkeypatch: pytest.MonkeyPatch, group_id: str = "fuzz"
) -> Counter[str]:
    """Send these, deliver them, and balance the books.

    :returns: how many ended how.
    """
    places: dict[tuple[str, int], Sample] = {}
    for sample in sent:
        log = kafka.logs[sample.topic, 0]
        places[sample.topic, len(log)] = sample
        log.append(sample.record)
    before = _counted()
    monkeypatch.setattr(intake, "Consumer", kafka.consumer)
    monkeypatch.setattr(loop, "_WAITING_EVERY_S", 0.0)
    options = {**corpus.options, "GROUP_ID": group_id, "GROUP": group_id, "START_POSITION": "earliest"}
    options["CONFIG"] = {"bootstrap.servers": "nowhere"}
    delivery = {
        "RETRY": {"TOTAL": 3, "MIN_WAIT_S": 0, "MAX_WAIT_S": 0.001, "BACKOFF": 1},
        "MAX_CONSECUTIVE_FAILURES": 0,
        "MAX_FAILURE_SHARE": 0,
        "START": "earliest",
    }
    entry = {"NAME": corpus.name, "LABEL": "fuzz", "OPTIONS": options, "DELIVERY": delivery}
    stream: Any = get_alert_streams([entry])[0]
    with each_in_time(stream, places, monkeypatch):
        DeliveryLoop(stream, Control(once=True)).run()
    for (topic, number), log in kafka.logs.items():
        assert next_offset(stream.group_id, topic, number) == len(log)
        log[:] = [Record(None)] * len(log)  # they need not be kept
    ends = _counted() - before
    assert sum(ends.values()) == len(sent)
    for letter in DeadLetter.objects.filter(group_id=stream.group_id).iterator():
        sample = places.get((letter.topic, letter.offset))
        if sample is None:
            continue
        assert bytes(letter.raw or b"") == (sample.record.value or b""), sample.name
        if letter.state == "open":
            # Bytes that nobody can read do not become readable: they cost one try, and never a batch.
            told = f"{sample.name}: {letter.error_class}: {letter.error}\n{letter.traceback}"
            assert letter.error_class in ("DecodeError", "PermanentError"), told
            assert letter.attempts == 1, told
    return ends


def _counted() -> Counter[str]:
    counted = Counter(waiting=DeadLetter.objects.filter(state="waiting").count())
    for outcome, n in OutcomeCount.objects.exclude(outcome="waiting").values_list("outcome", "n"):
        counted[outcome] += n
    return counted


@contextmanager
def each_in_time(stream: Any, places: dict[tuple[str, int], Sample], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever message comes next is given LONGEST_S, and what follows the last one too."""
    decode, at = stream.decode, [""]

    def decode_in_time(alert: Alert) -> Any:
        sample = places.get((alert.topic, alert.offset))
        at[0] = f"{sample.name if sample else ''} {alert.coordinates}"
        signal.setitimer(signal.ITIMER_REAL, LONGEST_S)
        return decode(alert)

    def too_long(_number: int, _frame: Any) -> None:
        raise TookTooLong(at[0])

    handler = signal.signal(signal.SIGALRM, too_long)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(stream, "decode", decode_in_time)
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
