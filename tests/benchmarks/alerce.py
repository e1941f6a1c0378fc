"""Rows of ALeRCE's classifications on PostgreSQL, beside the generic ingest of the same run; and how often its API is asked."""

from __future__ import annotations

import json
import os
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import psycopg

from alerce_stream.resolver import Position
from alerce_stream.testing import SimulatedNight, StubApi
from tests.benchmarks import corpus
from tests.benchmarks.bench import BATCH, Bench, Timing, in_turn, rates
from tests.benchmarks.ingest import BY_ID, by_id, effort, read
from tests.benchmarks.results import Line
from tests.benchmarks.rows import OtherRows

#: Messages of an object: its first image, and for most of them two looks at the light curve.
_EACH = 2.4
_DAYS = ("20261124", "20261125")
_ALL = [
    "SN", "AGN", "VS", "asteroid", "bogus", "satellite", "SNIa", "SNIbc", "SNII", "SLSN", "QSO", "Blazar", "CV/Nova",
    "YSO", "LPV", "E", "DSCT", "RRL", "CEP", "Periodic-Other",
]  # fmt: skip
_OPTIONS = {
    "CREATE": "always", "CLASSES": _ALL, "MAX_NEW_PER_DAY": 10**9, "HOOKS": "off", "MATCH_RADIUS_ARCSEC": 0,
}  # fmt: skip
#: Of an alert of the generic ingest: its point, its record, and a fifth of a Target.
_GENERIC_ROWS = 2.2
_POSITIONS = "positions.json"


def in_memory(object_ids: list[str], api_url: str) -> dict[str, Position]:
    """A RESOLVER that knows every object already, as the cache does after a while."""
    known = _in_memory()
    return {name: Position(*known[name]) for name in object_ids}


@lru_cache(maxsize=1)
def _in_memory() -> dict[str, tuple[float, float]]:
    return json.loads((Path(os.environ["EXAMPLE_TOM_RUN_DIR"]) / _POSITIONS).read_text())  # type: ignore[no-any-return]


def alerce(bench: Bench) -> list[Line]:
    """Stamp and light-curve classifications to rows: of new objects and of known ones; then with the API instead."""
    night = SimulatedNight(int(bench.size.alerts / _EACH), days=_DAYS, changing=0.2)
    stamps = [topic for topic in night.topics if topic.startswith("stamp")]
    curves = [topic for topic in night.topics if topic.startswith("lc")]
    known = bench.template(f"bench_alerce_{uuid.uuid4().hex[:6]}", partial(_load, night), bench.empty)

    def ours(template: str, topics: Sequence[str], profile: Path | None = None) -> Timing:
        with bench.database(template) as url:
            timing = _read(bench, night, topics, url, profile, RESOLVER=f"{__name__}.in_memory")
            _check(url, night, topics)
            return timing

    def generic() -> Timing:
        with bench.database() as url:
            return read(bench, topic, BY_ID, url)

    with _published(bench, night), by_id(bench) as topic:
        if bench.profile:
            ours(known, night.topics, bench.profile)
        new, targets, stamps_alone, curves_alone, others = in_turn(
            bench.size.repeats,
            partial(ours, bench.empty, night.topics),
            partial(ours, known, night.topics),
            partial(ours, known, stamps),
            partial(ours, known, curves),
            generic,
        )
        calls, objects = _calls(bench, night)
    beside = "generic ingest"
    each = 1 + (6 * len(night.objects) + 15 * (len(night.messages) - len(night.objects))) / len(night.messages)
    notes = [f"{who}: {effort(timings)}" for who, timings in (("new", new), ("known", targets), (beside, others))]
    notes += [f"{each:.1f} rows a message", f"{calls:,} calls of the API for {objects:,} objects"]
    written, generic_rows = [each * r for r in rates(targets)], [_GENERIC_ROWS * r for r in rates(others)]
    return [
        Line("alerce", "new objects, positions in memory", rates(new), beside, rates(others), 0.60, notes=notes),
        Line("alerce", "known Targets", rates(targets), beside, rates(others), 0.60),
        Line("alerce", "known Targets, stamps alone", rates(stamps_alone), beside, rates(others)),
        Line("alerce", "known Targets, light curves alone", rates(curves_alone), beside, rates(others)),
        Line("alerce", "known Targets, rows", written, beside, generic_rows, 0.60, unit="rows/s"),
        # Calls for a hundred objects each, but for the last one of each batch.
        Line("alerce", "API, 100 unknown objects", [100 * calls / objects], bound=1.1, at_most=True, unit="calls"),
    ]


@contextmanager
def _published(bench: Bench, night: SimulatedNight) -> Iterator[None]:
    """The topics of the night, full. Those of the real names, for the classifier is named after them."""
    with ExitStack() as stack:
        for topic in night.topics:
            stack.enter_context(bench.servers.topic(topic, corpus.PARTITIONS))
            values = (message.value for message in night.messages if message.topic == topic)
            corpus.publish(bench.servers.kafka, topic, values)
        yield


def _read(
    bench: Bench, night: SimulatedNight, topics: Sequence[str], url: str, profile: Path | None = None, **options: Any
) -> Timing:
    """These topics to their ends. :param options: of the stream."""
    tom = bench.tom(url)
    positions = {name: (position.ra, position.dec) for name, position in night.positions.items()}
    (tom.folder / _POSITIONS).write_text(json.dumps(positions))
    handler = {"HANDLER": "alerce_stream.handlers.ingest_classifications", "OPTIONS": _OPTIONS}
    given = {
        "USERNAME": "",
        "PROTOCOL": "PLAINTEXT",
        "BOOTSTRAP_SERVERS": bench.servers.kafka.bootstrap_servers,
        "GROUP_ID": uuid.uuid4().hex,
        "TOPIC_HANDLERS": dict.fromkeys(topics, handler),
        **options,
    }
    delivery = {"BATCH_SIZE": BATCH, "BATCH_SECONDS": 60.0}
    name = "alerce_stream.streams.AlerceAlertStream"
    tom.streams = [{"NAME": name, "LABEL": "bench", "OPTIONS": given, "DELIVERY": delivery}]
    return bench.timing([sys.executable, "-m", "tests.benchmarks.reader", *([str(profile)] if profile else [])], tom)


def _calls(bench: Bench, night: SimulatedNight) -> tuple[int, int]:
    """How often the API was asked for how many objects, each of which was new."""
    stamps = [topic for topic in night.topics if topic.startswith("stamp")]
    with StubApi(night.positions) as api, bench.database() as url:
        _read(bench, night, stamps, url, API_URL=api.url, RATE=100)
        _check(url, night, stamps)
        return len(api.requests), len({name for names in api.requests for name in names})


def _load(night: SimulatedNight, url: str) -> None:
    """The objects of the night as Targets."""
    columns = "name, type, created, modified, ra, dec, scheme, permissions, shared_by, shared_from"
    now = datetime.now(timezone.utc).isoformat()
    with psycopg.connect(url, autocommit=True) as connection:
        with connection.cursor().copy(f"COPY tom_targets_basetarget ({columns}) FROM STDIN") as copy:
            for name, position in night.positions.items():
                copy.write_row((name, "SIDEREAL", now, now, position.ra, position.dec, "", "PUBLIC", "", ""))
        connection.execute("VACUUM ANALYZE")


def _check(url: str, night: SimulatedNight, topics: Sequence[str]) -> None:
    """:raises OtherRows: a message or one of its probabilities is not there, or twice."""
    told = {message.value: message.classifier for message in night.messages if message.topic in topics}
    stamps = sum(classifier == "stamp_classifier" for classifier in told.values())
    right = (len(told), 6 * stamps + 15 * (len(told) - stamps))
    with psycopg.connect(url) as connection:
        tables = ("targetalert", "classification")
        counts = [f"(SELECT count(*) FROM tom_alertstreams_ingest_{table})" for table in tables]
        found = connection.execute(f"SELECT {', '.join(counts)}").fetchone()
    if found != right:
        raise OtherRows(f"{right[0]:,} messages with {right[1]:,} probabilities have left {found}")
