"""What every row needs: servers, TOMs with tables, topics with alerts, and programs that are timed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

import psycopg

from tests.benchmarks import corpus
from tests.faults.servers import Servers
from tests.processes import ROOT, Tom

FLOOR = str(Path(__file__).parent / "floor.py")
BATCH = 2000
FIELDS = {
    "object_id": "objectId", "alert_id": "candid", "ra": "ra", "dec": "dec", "mjd": "mjd", "mag": "mag",
    "mag_error": "mag_error", "band": "band",
}  # fmt: skip
_SAMPLES = ROOT / "docs" / "how-to" / "fast-handlers.md"
#: A handler of 1.x, and the same rewritten, as the document shows them.
SLOW, FAST = "mytom.slow.store", "mytom.fast.store_all"
_LONGEST_S = 3600.0


class LeftOut(Exception):
    """A row cannot be measured here, and why."""


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    alerts: int = 100_000
    repeats: int = 3
    #: Alerts for what takes ten milliseconds each.
    slow_alerts: int = 2_000
    #: Targets that are there already in the row "million".
    targets: int = 1_000_000
    latency_s: int = 30
    #: Of surveys, 70 to 140 kB each.
    packets: int = 4_000
    #: Behind the pages; of dead letters, rejections and Targets a tenth.
    page_alerts: int = 1_000_000
    page_requests: int = 40

    @property
    def objects(self) -> int:
        """What the alerts are of: five of each."""
        return max(1, self.alerts // 5)


MINUTE = Size(
    alerts=3_000,
    repeats=1,
    slow_alerts=60,
    targets=10_000,
    latency_s=5,
    packets=100,
    page_alerts=20_000,
    page_requests=5,
)


@dataclass(frozen=True)
class Timing:
    """What a program took for its alerts, from the first to the commit of the last."""

    alerts: int
    seconds: float
    #: Of processor time in the program itself.
    cpu_s: float
    peak_mb: float
    #: Of processor time in PostgreSQL and Kafka meanwhile.
    postgres_s: float = 0.0
    kafka_s: float = 0.0

    @property
    def rate(self) -> float:
        """Alerts a second."""
        return self.alerts / self.seconds


@dataclass
class Bench:
    """One run."""

    servers: Servers
    #: Exists; logs and SQLite files go into it.
    folder: Path
    size: Size
    say: Callable[[str], None]
    #: Where cProfile's numbers of the row "ingest" go.
    profile: Path | None = None
    _templates: set[str] = field(default_factory=set)

    # --- databases ---------------------------------------------------------------------------------------------------

    @cached_property
    def empty(self) -> str:
        """The name of a database with the tables of a TOM and nothing in them, to be copied."""
        return self.template("bench_empty", lambda url: self.tom(url).migrate())

    def template(self, name: str, fill: Callable[[str], None], source: str | None = None) -> str:
        """Make a database to be copied. :param fill: called with its address."""
        self._administer(f"CREATE DATABASE {name}" + (f" TEMPLATE {source}" if source else ""))
        fill(self.servers.postgres.url(name))
        return name

    def with_targets(self, count: int) -> str:
        """The name of a database to be copied that holds Targets already: those of the alerts' objects, under other
        names, and so many more all over the sky.
        """
        name = f"bench_{count}_targets"
        if name not in self._templates:
            self.template(name, lambda url: self._load(url, self.size.objects + count), self.empty)
            self._templates.add(name)
        return name

    def _load(self, url: str, count: int) -> None:
        columns = "name, type, created, modified, ra, dec, scheme, permissions, shared_by, shared_from"
        now = datetime.now(timezone.utc).isoformat()
        statement = f"COPY tom_targets_basetarget ({columns}) FROM STDIN"
        with psycopg.connect(url) as connection, connection.cursor().copy(statement) as copy:
            for number in range(count):
                ra, dec = corpus.position(number)
                copy.write_row((f"SEEN{number:07d}", "SIDEREAL", now, now, ra, dec, "", "PUBLIC", "", ""))
        if list((ROOT / "tom_alertstreams").rglob("commands/reindextargets.py")):
            done = self.tom(url).run("reindextargets", timeout_s=_LONGEST_S)
            if done.returncode:
                raise RuntimeError(f"reindextargets ended with {done.returncode}:\n{done.stdout[-3000:]}")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")

    @contextmanager
    def database(self, template: str | None = None) -> Iterator[str]:
        """The address of a fresh copy."""
        name = f"bench_{uuid.uuid4().hex[:12]}"
        self._administer(f"CREATE DATABASE {name} TEMPLATE {template or self.empty}")
        try:
            yield self.servers.postgres.url(name)
        finally:
            self._administer(f"DROP DATABASE {name} WITH (FORCE)")

    def _administer(self, statement: str) -> None:
        with psycopg.connect(self.servers.postgres.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)

    def tom(self, url: str | None = None) -> Tom:
        """A TOM with the toolkit. :param url: of its PostgreSQL; SQLite where there is none."""
        folder = self.folder / uuid.uuid4().hex[:8]
        folder.mkdir()
        return Tom(folder, url, "tests.settings")

    # --- topics --------------------------------------------------------------------------------------------------------

    @contextmanager
    def topic(self, contents: Iterator[dict[str, object]]) -> Iterator[str]:
        """A topic with these alerts."""
        with self.topic_of_bytes(json.dumps(content).encode() for content in contents) as name:
            yield name

    @contextmanager
    def topic_of_bytes(self, values: Iterable[bytes]) -> Iterator[str]:
        """A topic with these messages."""
        name = f"bench-{uuid.uuid4().hex[:8]}"
        with self.servers.topic(name, corpus.PARTITIONS):
            corpus.publish(self.servers.kafka, name, values)
            yield name

    # --- programs ------------------------------------------------------------------------------------------------------

    def read(
        self,
        topic: str,
        handler: str | dict[str, Any],
        tom: Tom,
        *,
        delivery: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        gcn: bool = False,
        profile: Path | None = None,
    ) -> Timing:
        """Our loop with this handler, in a new consumer group, to the end of the topic.

        :param gcn: through the stream whose 1.x handlers get a Kafka message, as upstream's.
        """
        settings = {"BATCH_SIZE": BATCH, "BATCH_SECONDS": 60.0, **(delivery or {})}
        tom.streams = [stream(self.servers.kafka.bootstrap_servers, {topic: handler}, settings, options, gcn=gcn)]
        arguments = [str(profile)] if profile else []
        return self.timing([sys.executable, "-m", "tests.benchmarks.reader", *arguments], tom)

    def floor(self, topic: str, url: str, alerts: int) -> Timing:
        """The same rows by floor.py."""
        group = uuid.uuid4().hex
        arguments = [self.servers.kafka.bootstrap_servers, topic, group, url, str(alerts), str(BATCH)]
        return self.timing([sys.executable, FLOOR, *arguments])

    def upstream(self, topic: str, handler: str, tom: Tom, alerts: int) -> Timing:
        """The loop of 1.3.0."""
        arguments = [self.servers.kafka.bootstrap_servers, topic, uuid.uuid4().hex, handler, str(alerts)]
        return self.timing([sys.executable, "-m", "tests.benchmarks.upstream", *arguments], tom)

    def bare(self, what: str, topic: str, alerts: int, *more: str, tom: Tom | None = None) -> Timing:
        """A client without any framework: see bare.py."""
        arguments = [what, self.servers.kafka.bootstrap_servers, topic, str(alerts), *more]
        return self.timing([sys.executable, "-m", "tests.benchmarks.bare", *arguments], tom)

    def timing(self, command: Sequence[str], tom: Tom | None = None) -> Timing:
        """Run a program to its end and read its last line.

        :raises RuntimeError: it failed; what it printed is in the message.
        """
        before = self._server_times()
        environment = tom.environment() if tom else dict(os.environ)
        environment["PYTHONPATH"] = os.pathsep.join(map(str, (ROOT, self.folder)))
        done = subprocess.run(
            command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=_LONGEST_S, check=False
        )
        if done.returncode:
            raise RuntimeError(
                f"{' '.join(command[1:4])} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-3000:]}"
            )
        used = [after - earlier for after, earlier in zip(self._server_times(), before, strict=True)]
        return Timing(**json.loads(done.stdout.splitlines()[-1]), postgres_s=used[0], kafka_s=used[1])

    def _server_times(self) -> tuple[float, float]:
        return processor_time_s(self.servers.postgres.pid), processor_time_s(self.servers.kafka.pid)


def stream(
    kafka: str,
    handlers: Mapping[str, str | dict[str, Any]],
    delivery: Mapping[str, Any],
    options: Mapping[str, Any] | None = None,
    *,
    gcn: bool = False,
) -> dict[str, Any]:
    """An entry of ALERT_STREAMS, with a consumer group of its own. :param gcn: as for :meth:`Bench.read`."""
    given: dict[str, Any] = {"GROUP_ID": uuid.uuid4().hex, "TOPIC_HANDLERS": dict(handlers), **(options or {})}
    if gcn:
        name = "tom_alertstreams.alertstreams.gcn.GCNClassicAlertStream"
        given |= {"GCN_CLASSIC_CLIENT_ID": "", "GCN_CLASSIC_CLIENT_SECRET": "", "START_POSITION": "earliest"}
        given["CONFIG"] = {"bootstrap.servers": kafka}
    else:
        name = "tom_alertstreams.alertstreams.kafka.KafkaAlertStream"
        given["BOOTSTRAP_SERVERS"] = kafka
    return {"NAME": name, "LABEL": "bench", "OPTIONS": given, "DELIVERY": dict(delivery)}


def flat(**options: Any) -> dict[str, Any]:
    """The entry of TOPIC_HANDLERS for the ready-made ingest of the alerts of corpus.py."""
    return {
        "HANDLER": "tom_alertstreams.ingest.handlers.ingest_targets",
        "OPTIONS": {"CREATE": "always", "MAX_NEW_PER_DAY": 10**9, "HOOKS": "off", "FIELDS": FIELDS, **options},
    }


def write_samples(folder: Path) -> None:
    """The modules of the user's that the document shows, to be imported from this folder."""
    (folder / "mytom").mkdir()
    for name, source in re.findall(r"^```python\n# mytom/(\w+\.py)\n(.*?)^```", _SAMPLES.read_text(), re.M | re.S):
        (folder / "mytom" / name).write_text(source)


def processor_time_s(pid: int | None) -> float:
    """What a process and its children have used, those that have ended included; 0 where that cannot be told."""
    if pid is None or not Path("/proc/self/stat").exists():
        return 0.0
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # Behind the name of the program, which may hold anything: state, parent, …
            numbers = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if pid == int(stat.parent.name):
            ticks += sum(map(int, numbers[11:15]))
        elif pid == int(numbers[1]):
            ticks += sum(map(int, numbers[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def in_turn(repeats: int, *programs: Callable[[], Timing]) -> list[list[Timing]]:
    """Run each program so many times, one after the other and not each by itself: what disturbs one disturbs all."""
    results: list[list[Timing]] = [[] for _ in programs]
    for _ in range(repeats):
        for program, timings in zip(programs, results, strict=True):
            timings.append(program())
    return results


def rates(timings: Sequence[Timing]) -> list[float]:
    """Alerts a second, of each."""
    return [timing.rate for timing in timings]
