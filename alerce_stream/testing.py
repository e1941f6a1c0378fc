"""A simulated night of ALeRCE and a stand-in for its web API: for tests and demonstrations.

::

    night = SimulatedNight(objects=50)
    with EmbeddedBroker() as broker, StubApi(night.positions) as api:
        night.publish(broker)
        ...  # a stream with BOOTSTRAP_SERVERS broker.bootstrap_servers, USERNAME "" and API_URL api.url
"""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Final, Literal, Protocol

import fastavro

from .decoding import shipped_schemas
from .resolver import Position
from .stub_api import StubApi
from .stub_light_curves import detection, forced, light_curve, non_detection

__all__ = [
    "Framing", "SimulatedMessage", "SimulatedNight", "SimulatedObject", "StubApi", "detection", "encode", "forced",
    "light_curve", "non_detection",
]  # fmt: skip

Framing = Literal["container", "schemaless", "confluent", "json"]

#: Class of the light curve → its branch, as ALeRCE's light-curve classifier has them.
BRANCHES: Final[Mapping[str, str]] = {
    "SNIa": "Transient", "SNIbc": "Transient", "SNII": "Transient", "SLSN": "Transient",
    "QSO": "Stochastic", "AGN": "Stochastic", "Blazar": "Stochastic", "CV/Nova": "Stochastic", "YSO": "Stochastic",
    "LPV": "Periodic", "E": "Periodic", "DSCT": "Periodic", "RRL": "Periodic", "CEP": "Periodic",
    "Periodic-Other": "Periodic",
}  # fmt: skip
#: Of the containers; a random one would make other bytes each time.
_SYNC_MARKER: Final = b"simulated-ALeRCE"
#: What the simulated objects are, in turn.
_KINDS: Final = ("SNIa", "SNII", "QSO", "RRL", "asteroid", "SNIa", "AGN", "bogus", "LPV", "satellite")
_STAMP_CLASSES: Final = ("SN", "AGN", "VS", "asteroid", "bogus", "satellite")
_STAMP_OF_BRANCH: Final = {"Transient": "SN", "Stochastic": "AGN", "Periodic": "VS"}


def encode(record: Mapping[str, Any], schema: str, framing: Framing = "container", schema_id: int = 1) -> bytes:
    """A record on the wire.

    :param schema: one of ``alerce_stream/schemas``, without ``.avsc``.
    :param schema_id: for Confluent's framing.
    """
    if framing == "json":
        return json.dumps(record).encode()
    parsed, stream = shipped_schemas()[schema], io.BytesIO()
    if framing == "container":
        fastavro.writer(stream, parsed, [record], sync_marker=_SYNC_MARKER)
        return stream.getvalue()
    fastavro.schemaless_writer(stream, parsed, dict(record))
    head = b"\x00" + schema_id.to_bytes(4, "big") if framing == "confluent" else b""
    return head + stream.getvalue()


class Producer(Protocol):
    """What the messages are published with; :class:`tom_alertstreams.testing.Publisher` is one."""

    def produce(self, topic: str, value: bytes, key: bytes | None = None) -> None:
        """Queue one message."""

    def flush(self) -> None:
        """Wait until the broker has everything."""


@dataclass(frozen=True)
class SimulatedObject:
    """A source on the sky, and what it is."""

    oid: str
    position: Position
    #: Of the light-curve classifier; or asteroid, bogus, satellite, which have no light curve.
    class_name: str


@dataclass(frozen=True)
class SimulatedMessage:
    """One message as ALeRCE's producers send it."""

    topic: str
    key: bytes | None
    value: bytes
    #: What it is about; "" where it is broken on purpose.
    oid: str


class SimulatedNight:
    """Two days of both classifiers. The same arguments make the same bytes.

    Every object gets one stamp classification. Light curves are classified on both days, more surely on the second. Even
    objects are sent as containers, odd ones as bare Avro. The last light curve of the first day is sent to both days'
    topics, as ALeRCE's producers do when they change over.

    :param days: YYYYMMDD of the two topics; by default yesterday and today (UTC).
    :param broken: add a truncated message, one that is no Avro, and one of an object that could not be classified.
    """

    def __init__(
        self, objects: int = 20, seed: int = 1, days: Sequence[str] | None = None, *, broken: bool = False
    ) -> None:
        self._random = random.Random(seed)  # noqa: S311  (nothing secret)
        self._broken = broken
        now = datetime.now(timezone.utc)
        self.days = tuple(days or [f"{now - timedelta(days=back):%Y%m%d}" for back in (1, 0)])
        self.objects = tuple(self._object(number) for number in range(objects))
        self.messages = tuple(self._messages())

    @property
    def positions(self) -> dict[str, Position]:
        """What the API knows after this night."""
        return {item.oid: item.position for item in self.objects}

    @property
    def topics(self) -> tuple[str, ...]:
        """The daily topics, in order of appearance."""
        return tuple(dict.fromkeys(message.topic for message in self.messages))

    def publish(self, producer: Producer, topics: Iterable[str] | None = None) -> int:
        """Send the night, or what of it belongs to these topics; return how many messages that were."""
        wanted = set(self.topics if topics is None else topics)
        chosen = [message for message in self.messages if message.topic in wanted]
        for message in chosen:
            producer.produce(message.topic, message.value, key=message.key)
        producer.flush()
        return len(chosen)

    # --- objects ---------------------------------------------------------------------------------------------------

    def _object(self, number: int) -> SimulatedObject:
        letters = "".join(self._random.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(7))
        position = Position(round(self._random.uniform(0, 360), 6), round(self._random.uniform(-30, 85), 6))
        return SimulatedObject(f"ZTF26{letters}", position, _KINDS[number % len(_KINDS)])

    def _probabilities(self, classes: Sequence[str], best: str, least: float) -> dict[str, float]:
        """Of this class at least so much; the rest is spread over the others."""
        top = self._random.uniform(least, 0.98)
        shares = {name: self._random.random() for name in classes if name != best}
        scale = (1 - top) / sum(shares.values())
        return {name: top if name == best else shares[name] * scale for name in classes}

    # --- messages --------------------------------------------------------------------------------------------------

    def _messages(self) -> Iterable[SimulatedMessage]:
        first, second = self.days
        for number, item in enumerate(self.objects):
            yield self._stamp(f"stamp_classifier_{(first, second)[number % 3 == 2]}", number, item)
        curves = [(number, item) for number, item in enumerate(self.objects) if item.class_name in BRANCHES]
        late: SimulatedMessage | None = None
        for number, item in curves[: (len(curves) + 1) // 2]:
            late = self._light_curve(f"lc_classifier_{first}", number, item, least=0.4)
            yield late
        if late is not None:
            yield SimulatedMessage(f"lc_classifier_{second}", late.key, late.value, late.oid)
        for number, item in curves:
            yield self._light_curve(f"lc_classifier_{second}", number, item, least=0.7)
        if self._broken:
            yield SimulatedMessage(
                f"stamp_classifier_{first}", None, self._stamp("", 0, self.objects[0]).value[:-9], ""
            )
            yield SimulatedMessage(f"lc_classifier_{first}", None, b"\x93no Avro at all", "")
            failed = {"oid": self.objects[0].oid, "error": "no features"}
            yield SimulatedMessage(f"stamp_classifier_{first}", None, json.dumps(failed).encode(), self.objects[0].oid)

    def _stamp(self, topic: str, number: int, item: SimulatedObject) -> SimulatedMessage:
        best = _STAMP_OF_BRANCH.get(BRANCHES.get(item.class_name, ""), item.class_name)
        record = {
            "objectId": item.oid,
            "candid": 3_250_000_000_000_000_000 + number,
            "probabilities": self._probabilities(_STAMP_CLASSES, best, 0.5),
        }
        framing: Framing = "schemaless" if number % 2 else "container"
        return SimulatedMessage(topic, item.oid.encode(), encode(record, "stamp_classifier_2025", framing), item.oid)

    def _light_curve(self, topic: str, number: int, item: SimulatedObject, least: float) -> SimulatedMessage:
        branches = sorted(set(BRANCHES.values()))
        children = {
            branch: self._probabilities(
                inside := [name for name in BRANCHES if BRANCHES[name] == branch],
                item.class_name if BRANCHES[item.class_name] == branch else inside[0],
                least,
            )
            for branch in branches
        }
        record = {
            "oid": item.oid,
            "features": {
                "Power_rate_1/2": self._random.random(),
                "W1-W2": self._random.gauss(0.3, 0.2),
                "SF_ML_gamma": None,
            },
            "lc_classification": {
                "probabilities": self._probabilities(list(BRANCHES), item.class_name, least),
                "class": item.class_name,
                "hierarchical": {
                    "top": self._probabilities(branches, BRANCHES[item.class_name], least),
                    "children": children,
                },
            },
        }
        framing: Framing = "schemaless" if number % 2 else "container"
        return SimulatedMessage(topic, None, encode(record, "lc_classifier_2024", framing), item.oid)
