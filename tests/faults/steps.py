"""Steps of APF 1.x, 2.x and 6.x, whatever happens: what each puts out is in its outbox once, and on its topic."""

from __future__ import annotations

import io
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import fastavro

from tests.brokers import RealKafka, RunningKafka
from tests.faults import mishaps
from tests.faults.mishaps import Kind, plan
from tests.faults.night import PARTITIONS, QUICK, Night, Stalled, reading
from tests.faults.results import Result, Say, Size
from tests.faults.servers import Servers
from tests.faults.steps_audit import EACH, FIRST_CANDID, TOPICS, audit, object_of
from tests.faults.storm import Driver
from tests.postgres import PostgresServer
from tests.processes import ROOT, Tom

_STEPS = ROOT / "tests" / "steps"
_STEP_STREAM = "apf_bridge.streams.StepAlertStream"
_KAFKA_STREAM = "tom_alertstreams.alertstreams.kafka.KafkaAlertStream"
#: Longer than an outbox waits: for the lease of a process that was killed (10 s), or after an error (30 s).
_STALL_S = 60.0
_SCHEMA = fastavro.parse_schema(
    {
        "type": "record",
        "name": "ztf.alert",
        "fields": [
            {"name": "objectId", "type": "string"},
            {"name": "candid", "type": "long"},
            {
                "name": "candidate",
                "type": {
                    "type": "record",
                    "name": "ztf.alert.candidate",
                    "fields": [
                        *({"name": name, "type": "double"} for name in ("jd", "magpsf", "magnr", "rb", "ra", "dec")),
                        {"name": "fid", "type": "int"},
                        {"name": "isdiffpos", "type": "string"},
                    ],
                },
            },
        ],
    }
)


def steps(servers: Servers, folder: Path, size: Size, say: Say) -> Result:
    """Two processes, PostgreSQL, a broker of its own for the output: every mishap of a storm, and that broker away too."""
    folder.mkdir()
    home = folder / "kafka"
    home.mkdir()
    with servers.database() as url, RealKafka(home) as output:
        kinds = {**mishaps.POSTGRES, "again": mishaps.POSTGRES["kill"], "output": Kind("output", output_away)}
        around = ServersOfSteps(servers.kafka, output, servers.postgres)
        return prove(around, folder, url, kinds, size, say)


def prove(
    servers: ServersOfSteps, folder: Path, url: str, kinds: dict[str, Kind], size: Size, say: Say, processes: int = 2
) -> Result:
    """The proof, on servers that run.

    :param folder: exists; for the logs.
    :param url: an empty database.
    """
    result = Result("steps")
    dice = Random(size.seed)
    with night_of_steps(servers, folder, url) as a_night:
        try:
            with reading(a_night, processes):
                planned = plan(kinds, size.mishaps, dice)
                driver = Driver(a_night, planned, size.alerts, dice, lambda line: say(f"steps: {line}"))
                driver.run()
                result.mishaps = driver.made
                a_night.drain()
                a_night.wait_sent()
        except Stalled as stalled:
            result.findings.append(str(stalled))
        books = audit(a_night.tom, servers.output, a_night.out, a_night.sent)
        result.enter(books)
        result.notes.append(books.summary())
        result.findings += books.findings() + a_night.findings
    return result.end()


@dataclass(frozen=True)
class ServersOfSteps:
    """Where alerts come from, where output goes, and the database, if it is to go away."""

    kafka: RunningKafka
    output: RunningKafka
    postgres: PostgresServer | None = None


class TomOfSteps(Tom):
    """Its processes have what the steps' own settings read."""

    def __init__(self, folder: Path, url: str) -> None:
        super().__init__(folder, url, "tests.faults.night_settings")
        self.of_the_steps: dict[str, str] = {}

    def environment(self) -> dict[str, str]:
        return {**super().environment(), **self.of_the_steps}


class NightOfSteps(Night):
    """Alerts of ZTF in one topic, which three streams read, each with a group and a step of its own."""

    #: The slowest of the three.
    how_far = """SELECT CASE count(*) WHEN 3 THEN min(passed) ELSE 0 END FROM (
        SELECT sum(next_offset) AS passed FROM tom_alertstreams_streampartition GROUP BY group_id) AS groups"""

    def __init__(self, servers: ServersOfSteps, tom: Tom, token: str) -> None:
        super().__init__(servers, tom, token, ["alerts"])  # type: ignore[arg-type]
        self._topic = self.topics["alerts"]
        #: What the topics of output begin with.
        self.out = f"out-{token}"

    def publish(self, count: int, *_: object, **__: object) -> None:
        """Send the next alerts; those of an object all to one partition."""
        for number in range(self.sent, self.sent + count):
            value = io.BytesIO()
            fastavro.writer(value, _SCHEMA, [alert(number)])
            self.servers.kafka.produce(self._topic, value.getvalue(), partition=number // EACH % PARTITIONS)
        self.servers.kafka.flush(120)
        self.sent += count

    def wait_sent(self) -> None:
        """Wait until all that the steps have put out is on its topic, as the outbox says.

        :raises Stalled: nothing has moved for long.
        """
        last, since = -1, time.monotonic()
        sql = "SELECT count(*) FROM apf_bridge_outboxmessage WHERE state <> 'delivered'"
        while left := int(self.tom.query(sql)[0][0]):
            if left != last:
                last, since = left, time.monotonic()
            if time.monotonic() - since > _STALL_S:
                raise Stalled(f"nothing was sent for {_STALL_S:.0f} s, {left:,} messages wait. {self.states()}")
            time.sleep(0.1)


def alert(number: int) -> dict[str, Any]:
    """An alert as ZTF sends it, in short."""
    candidate = {
        "jd": 2461000.5 + number / 86400, "magpsf": 15 + number % 500 / 100, "magnr": 17.5, "rb": number % 100 / 100,
        "ra": 150.0, "dec": 2.0, "fid": 1 + number % 3, "isdiffpos": "f" if number % 7 == 0 else "t",
    }  # fmt: skip
    return {"objectId": object_of(number), "candid": FIRST_CANDID + number, "candidate": candidate}


@contextmanager
def night_of_steps(servers: ServersOfSteps, folder: Path, url: str) -> Iterator[NightOfSteps]:
    """A TOM with empty tables, its three streams and their topics, without a process yet."""
    token = uuid.uuid4().hex[:6]
    tom = TomOfSteps(folder, url)
    a_night = NightOfSteps(servers, tom, token)
    topic = a_night.topics["alerts"]
    tom.of_the_steps = {
        "CONSUMER_SERVER": servers.kafka.bootstrap_servers,
        "CONSUMER_TOPICS": topic,
        "CONSUMER_GROUP_ID": a_night.group,
        "PRODUCER_SERVER": servers.output.bootstrap_servers,
        "PRODUCER_TOPIC": a_night.out,
        "METRICS_TOPIC": f"{a_night.out}_metrics",
    }
    corrects = _step("correction", "CorrectionStep")
    correction = {
        "BOOTSTRAP_SERVERS": servers.kafka.bootstrap_servers,
        "GROUP_ID": f"{a_night.group}_correction",
        "TOPIC_HANDLERS": {topic: {"HANDLER": "apf_bridge.handlers.run_step", "OPTIONS": corrects}},
        "CONFIG": QUICK,
    }
    tom.streams = [
        _entry(_STEP_STREAM, "early", {**_step("early_classifier", "EarlyClassifier"), "CONFIG": QUICK}),
        _entry(_KAFKA_STREAM, "correction", correction),
        _entry(_STEP_STREAM, "curves", {**_step("light_curve_classifier", "LightCurveClassifier"), "CONFIG": QUICK}),
    ]
    with ExitStack() as stack:
        stack.enter_context(_topic(servers.kafka, topic))
        for name in (*TOPICS, "metrics"):
            stack.enter_context(_topic(servers.output, f"{a_night.out}_{name}"))
        tom.migrate()
        yield a_night


def _step(package: str, name: str) -> dict[str, Any]:
    return {"STEP": f"tests.steps.{package}.step.{name}", "STEP_CONFIG": str(_STEPS / package / "settings.py")}


def _entry(name: str, label: str, options: dict[str, Any]) -> dict[str, Any]:
    # Small batches, so that a kill has something to tear.
    return {"NAME": name, "LABEL": label, "OPTIONS": options, "DELIVERY": {"BATCH_SIZE": 100}}


@contextmanager
def _topic(kafka: RunningKafka, name: str) -> Iterator[None]:
    kafka.create_topic(name, PARTITIONS)
    yield
    kafka.delete_topic(name)


@contextmanager
def output_away(night: Night, dice: Random) -> Iterator[str]:
    """The broker of the output is stopped or killed, and started after a while. The steps run on."""
    output = night.servers.output  # type: ignore[attr-defined]
    how: Callable[[], None] = dice.choice([output.stop, output.kill])
    seconds = dice.uniform(1, 8)
    how()
    since = time.monotonic()
    try:
        yield f"the broker of the output is away ({how.__name__}) for {seconds:.1f} s"
        time.sleep(max(0.0, since + seconds - time.monotonic()))
    finally:
        output.start()
