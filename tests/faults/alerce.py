"""Two simulated nights of ALeRCE, whatever happens: what the TOM says of each object in the end is what ALeRCE said last."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from random import Random

from alerce_stream.testing import SimulatedMessage, SimulatedNight, StubApi, send
from tests.faults import mishaps
from tests.faults.alerce_audit import audit
from tests.faults.mishaps import Kind, plan
from tests.faults.night import PARTITIONS, QUICK, Night, Stalled, reading
from tests.faults.results import Result, Say, Size
from tests.faults.servers import Servers
from tests.faults.storm import Driver
from tests.processes import Tom

#: Two midnights, and the second is that of a year.
DAYS = ("20261230", "20261231", "20270101")
#: Messages of an object, the copies among them.
_EACH = 4
#: Light curves whose class changes, messages that come twice, objects that the API does not know at first: of all so many.
_CHANGING, _TWICE, _UNKNOWN = 0.3, 0.05, 0.02
#: Where the copy of a topic lives: the same classifier, a day that is none of the night's.
_COPIED_TO = "20261225"
#: Messages of the third day before it: an old classification in the copy is sent later than newer ones.
_COPIED_AFTER = 100
_STREAM = "alerce_stream.streams.AlerceAlertStream"
_HANDLER = "alerce_stream.handlers.ingest_classifications"
#: Two objects that are drawn beside one another are still two.
_RULES = {"CREATE": "always", "MAX_NEW_PER_DAY": 10**9, "MATCH_RADIUS_ARCSEC": 0.05}
#: What the API answers while it is away.
_ANSWERS = ((503, b""), (429, b""), (200, b"<html>Under maintenance</html>"), (500, b"{}"))


def alerce(servers: Servers, folder: Path, size: Size, say: Say) -> Result:
    """Two processes, PostgreSQL; kills at midnight, ALeRCE's API away, a topic published again, and other mishaps."""
    result = Result("alerce")
    dice = Random(size.seed)
    with nights(servers, folder, size, lambda line: say(f"alerce: {line}")) as a_night:
        try:
            with reading(a_night, 2):
                driver = Driver(a_night, plan(_KINDS, size.mishaps, dice), a_night.whole, dice, a_night.say)
                driver.run()
                result.mishaps = driver.made + a_night.midnights
                a_night.drain()
                a_night.tell_the_api_of_all()
        except Stalled as stalled:
            result.findings.append(str(stalled))
        books = audit(a_night.tom, servers.kafka, list(a_night.topics), a_night.simulated)
        result.enter(books)
        result.notes += [*a_night.notes(), f"{books.overtaken} messages were read from a copy before the original"]
        result.findings += books.findings() + a_night.findings
    return result.end()


class Nights(Night):
    """A TOM that reads ALeRCE, and the messages of two nights for it."""

    def __init__(self, servers: Servers, tom: Tom, simulated: SimulatedNight, api: StubApi, say: Say) -> None:
        super().__init__(servers, tom, uuid.uuid4().hex[:6], ())
        self.simulated = simulated
        self.api = api
        self.say = say
        self.midnights = 0
        self._messages = _with_copy(simulated)
        self._stack = ExitStack()
        #: Of its objects the API does not know the last ones before the end.
        count = max(2, int(_UNKNOWN * len(simulated.objects)))
        self._unknown = dict(list(simulated.positions.items())[-count:])
        for name in self._unknown:
            del api.positions[name]

    @property
    def whole(self) -> int:
        """How many messages there are to send."""
        return len(self._messages)

    def publish(self, count: int, *_: object, **__: object) -> None:
        """Send the next messages. With the first one of another day comes midnight."""
        chosen = self._messages[self.sent : self.sent + count]
        if not self.sent:
            self._send(chosen[:1])
            chosen = chosen[1:]
        days = {message.topic[-8:] for message in chosen}.intersection(DAYS) - {topic[-8:] for topic in self.topics}
        if days:
            self._midnight(max(days), chosen)
        else:
            self._send(chosen)

    def _midnight(self, day: str, messages: Sequence[SimulatedMessage]) -> None:
        """Whoever is started afterwards finds the end of one day, its copy and the next day, all of it unread."""
        self.wait_handled(1)
        self.say(f"midnight, the topics of {day} begin: every process is killed, and the API is away")
        self.midnights += 1
        self.api.fail(503)
        for process in self.readers.kept:
            self.readers.kill_this(process)
        self._send(messages)
        try:
            self.wait(self.waits_for_the_api, "a StreamRun to say that it waits for ALeRCE's API")
        finally:
            self.api.recover()

    def _send(self, messages: Sequence[SimulatedMessage]) -> None:
        for topic in dict.fromkeys(message.topic for message in messages):
            if topic not in self.topics:
                self._stack.enter_context(self.servers.topic(topic, PARTITIONS))
                self.topics[topic] = topic
        self.sent += send(self.servers.kafka, messages, times=True, spread=True)

    def waits_for_the_api(self) -> bool:
        """Whether a process says so."""
        return any(state == "waiting" and "ALeRCE" in reason for state, reason, _ in self.runs())

    def tell_the_api_of_all(self) -> None:
        """It knows the last objects now, and it is time to ask for them again."""
        waiting = self._waiting()
        if not waiting:
            self.findings.append("no alert has waited for an object that the API did not know")
        self.say(f"{waiting} alerts wait for {len(self._unknown)} objects, which the API knows from now on")
        self.api.positions |= self._unknown
        sql = "UPDATE tom_alertstreams_deadletter SET next_attempt_at = now() WHERE state = 'waiting' RETURNING id"
        self.tom.query(sql)
        self.wait(lambda: not self._waiting(), "the last objects to be found", 300)

    def _waiting(self) -> int:
        sql = "SELECT count(*) FROM tom_alertstreams_deadletter WHERE state = 'waiting'"
        return int(self.tom.query(sql)[0][0])

    def notes(self) -> list[str]:
        """What was measured."""
        asked = {name for names in self.api.requests for name in names}
        return [
            f"{len(self.api.requests)} calls of the API for {len(asked):,} objects, those while it was away included"
        ]

    def close(self) -> None:
        """Its topics go."""
        self._stack.close()


@contextmanager
def nights(servers: Servers, folder: Path, size: Size, say: Say) -> Iterator[Nights]:
    """A TOM with empty tables, the messages, and ALeRCE's API; without a process yet."""
    simulated = SimulatedNight(max(50, size.alerts // _EACH), size.seed, DAYS, changing=_CHANGING, twice=_TWICE)
    folder.mkdir()
    with servers.database() as url, StubApi(simulated.positions) as api:
        tom = Tom(folder, url, "tests.faults.alerce_settings")
        tom.migrate()
        a_night = Nights(servers, tom, simulated, api, say)
        topic = {"HANDLER": _HANDLER, "OPTIONS": _RULES}
        options = {
            "USERNAME": "",
            "PROTOCOL": "PLAINTEXT",
            "BOOTSTRAP_SERVERS": servers.kafka.bootstrap_servers,
            "GROUP_ID": a_night.group,
            "API_URL": api.url,
            "RATE": 100,  # it is ours
            "TOPIC_HANDLERS": {"lc_classifier": topic, "stamp_classifier": topic},
            "CONFIG": {**QUICK, "topic.metadata.refresh.interval.ms": 500},
        }
        # Small batches, so that a kill has something to tear.
        tom.streams = [{"NAME": _STREAM, "LABEL": "night", "OPTIONS": options, "DELIVERY": {"BATCH_SIZE": 50}}]
        try:
            yield a_night
        finally:
            a_night.close()


def _with_copy(simulated: SimulatedNight) -> Sequence[SimulatedMessage]:
    """The topics of the second day are published again under another date when the third one has just begun."""
    messages = list(simulated.messages)
    at = next(n for n, message in enumerate(messages) if message.topic.endswith(DAYS[2])) + _COPIED_AFTER
    for prefix in ("stamp_classifier", "lc_classifier"):
        messages[at:at] = simulated.copy(f"{prefix}_{DAYS[1]}", f"{prefix}_{_COPIED_TO}")
    # Kafka takes no times that lie in the future. Each message has one of its own, a copy that of its copying.
    begin = datetime.now(timezone.utc) - timedelta(seconds=len(messages))
    return [replace(message, sent=begin + timedelta(seconds=n)) for n, message in enumerate(messages)]


@contextmanager
def api_away(night: Night, dice: Random) -> Iterator[str]:
    """ALeRCE's API does not answer, or with nonsense."""
    assert isinstance(night, Nights)
    (status, body), seconds = dice.choice(_ANSWERS), dice.uniform(0.5, 3)
    night.api.fail(status, body)
    since = time.monotonic()
    try:
        yield f"the API answers {status} for {seconds:.1f} s"
        time.sleep(max(0.0, since + seconds - time.monotonic()))
    finally:
        night.api.recover()


_KINDS = {
    "kill": Kind("process", mishaps.killed),
    "api": Kind("api", api_away),
    "freeze": Kind("process", mishaps.frozen),
    "member": Kind("guest", mishaps.guest, waits=True),
    "sessions": Kind("database", mishaps.sessions_ended),
}
