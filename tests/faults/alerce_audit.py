"""Compares what ALeRCE's topics hold with what the TOM says of each object."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from confluent_kafka import Consumer, TopicPartition

from alerce_stream.testing import SimulatedNight
from tests.brokers import RunningKafka
from tests.faults.audit import Books, Coordinates, ends, names
from tests.processes import Tom

_NAMED = 5
#: Classes of the two schemas.
_CLASSES = {"stamp_classifier": 6, "lc_classifier": 15}


@dataclass
class AlerceBooks(Books):
    """The state of a TOM after nights of ALeRCE."""

    #: Outcomes as they must be counted.
    expected: dict[str, int] = field(default_factory=dict)
    #: Messages of which another copy than the first was read first.
    overtaken: int = 0
    #: What is wrong with Targets and classifications, in words.
    wrong: list[str] = field(default_factory=list)

    def findings(self) -> list[str]:
        """What is wrong: each message once, whichever topic it came in, and the last word of each classifier."""
        whats = (("lost", self.lost), ("twice", self.twice), ("of no alert", self.unknown))
        found = [f"{what}: {names(which)}" for what, which in whats if which]
        if self.letters:
            found.append(f"dead letters or waiting alerts are left: {self.letters}")
        if self.counted != self.expected:
            found.append(f"counted {self.counted}, and not {self.expected}")
        return found + self.wrong


def audit(tom: Tom, kafka: RunningKafka, topics: Sequence[str], simulated: SimulatedNight) -> AlerceBooks:
    """Look at what was written."""
    wanted = {item.oid for item in simulated.objects if item.has_light_curve}
    about = {message.value: message.oid for message in simulated.messages}
    # A message is known by its bytes: the same in another topic, or once more, is no other one.
    places: dict[bytes, list[Coordinates]] = defaultdict(list)
    for _, coordinates, value in sorted(_everything(kafka, topics)):
        places[value].append(coordinates)
    books = AlerceBooks(sum(map(len, places.values())))
    sql = 'SELECT topic, "partition", "offset" FROM tom_alertstreams_ingest_targetalert'
    rows: Counter[Coordinates] = Counter((row[0], row[1], row[2]) for row in tom.query(sql))
    done = 0
    for value, where in places.items():
        if about[value] not in wanted:
            continue
        done += len(where)
        written = [coordinates for coordinates in where for _ in range(rows.pop(coordinates, 0))]
        books.lost += where[:1] if not written else []
        books.twice += written[1:]
        books.overtaken += written[:1] != where[:1]
    books.unknown = list(rows)
    books.expected = {"done": done, "rejected": books.alerts - done}
    sql = "SELECT outcome, sum(n) FROM tom_alertstreams_outcomecount WHERE outcome <> 'waiting' GROUP BY outcome"
    books.counted = {outcome: int(n) for outcome, n in tom.query(sql)}
    books.letters = dict(tom.query("SELECT state, count(*) FROM tom_alertstreams_deadletter GROUP BY state"))  # type: ignore[arg-type]
    books.wrong = [*_of_targets(tom, simulated, wanted), *_of_rows(tom, places, simulated, wanted)]
    books.wrong += _of_last_words(tom, simulated, wanted)
    return books


def _of_targets(tom: Tom, simulated: SimulatedNight, wanted: set[str]) -> Iterator[str]:
    """One for each object, where the API says."""
    there = {(name, ra, dec) for name, ra, dec in tom.query("SELECT name, ra, dec FROM tom_targets_basetarget")}
    positions = ((name, simulated.positions[name]) for name in wanted)
    right = {(name, position.ra, position.dec) for name, position in positions}
    yield from _differ("Targets", there, right)


def _of_rows(tom: Tom, places: Mapping[bytes, object], simulated: SimulatedNight, wanted: set[str]) -> Iterator[str]:
    """As many probabilities as each message holds, and one of them is the first."""
    sql = "SELECT classifier, count(*), count(*) FILTER (WHERE ranking = 1) FROM tom_alertstreams_ingest_classification"
    found = {(classifier, all_, first) for classifier, all_, first in tom.query(f"{sql} GROUP BY 1")}
    told = {message.value: message.classifier for message in simulated.messages if message.oid in wanted}
    sent = Counter(classifier for value, classifier in told.items() if value in places)
    yield from _differ("classifications", found, {(name, n * _CLASSES[name], n) for name, n in sent.items()})


def _of_last_words(tom: Tom, simulated: SimulatedNight, wanted: set[str]) -> Iterator[str]:
    """What is newest in the TOM is what ALeRCE said last."""
    sql = "SELECT DISTINCT ON (object_id, classifier) object_id, classifier, class_name, probability"
    sql += " FROM tom_alertstreams_ingest_classification WHERE ranking = 1 ORDER BY object_id, classifier, time DESC"
    final = {
        (oid, classifier, *said)
        for oid, classifiers in simulated.final.items()
        if oid in wanted
        for classifier, said in classifiers.items()
    }
    yield from _differ("final classifications", set(tom.query(sql)), final)


def _differ(what: str, there: set[tuple[object, ...]], right: set[tuple[object, ...]]) -> Iterator[str]:
    for words, which in ((f"wrong {what}", there - right), (f"missing {what}", right - there)):
        if which:
            yield f"{len(which):,} {words}, among them {sorted(which, key=repr)[:_NAMED]}"


def _everything(kafka: RunningKafka, topics: Sequence[str]) -> Iterator[tuple[int, Coordinates, bytes]]:
    """Every message that the broker has: when it was sent, and where it is."""
    until = {partition: end for partition, end in ends(kafka, list(topics)).items() if end}
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap_servers,
            "group.id": "audit",
            "log_level": 0,
            "enable.auto.commit": False,
        }
    )
    try:
        consumer.assign([TopicPartition(topic, number, 0) for topic, number in until])
        left = sum(until.values())
        while left:
            for message in consumer.consume(1000, 20):
                topic, number, offset = message.topic(), message.partition(), message.offset()
                assert message.error() is None, message.error()
                assert topic is not None
                assert number is not None
                assert offset is not None
                left -= 1
                yield message.timestamp()[1], (topic, number, offset), message.value() or b""
    finally:
        consumer.close()
