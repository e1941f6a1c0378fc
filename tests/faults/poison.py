"""One alert in a hundred cannot be handled: those become dead letters and no other; mended and replayed, none is left."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

from tests.faults.audit import Books, names
from tests.faults.handlers import MENDED
from tests.faults.night import TRIES, Night, Stalled, night, reading
from tests.faults.results import Result, Say, Size
from tests.faults.servers import Servers
from tests.processes import running

#: A lease is twice their sum and BATCH_SECONDS (1): 6 s, for which a replay that was killed keeps its letters to itself.
_DELIVERY = {"PREPARE_TIMEOUT_S": 1, "HANDLER_TIMEOUT_S": 1}
_REPLAY = ("deadletters", "replay", "--all")


def poison(servers: Servers, folder: Path, size: Size, say: Say) -> Result:
    """Two processes, PostgreSQL; afterwards one replay that is killed and then two at once."""
    result = Result("poison")
    dice = Random(size.seed)
    poisoned = set(dice.sample(range(size.alerts), size.alerts // 100))
    with night(servers, folder, delivery=_DELIVERY) as a_night:
        try:
            a_night.publish(size.alerts, poisoned)
            with reading(a_night, 2):
                a_night.drain()
                a_night.wait(lambda: a_night.audit().letters.keys() <= {"open"}, "the last tries")
            before = a_night.audit()
            result.findings += _buried(a_night, before, poisoned)
            say(f"poison: {before.letters} dead letters of {len(poisoned):,} alerts that raise; mended, now replayed")
            (folder / MENDED).touch()
            result.notes.append(_replay(a_night, dice, result))
            result.mishaps = 1
        except Stalled as stalled:
            result.findings.append(str(stalled))
        books = a_night.audit()
        result.enter(books)
        result.findings += _replayed(books, len(poisoned)) + a_night.findings
    return result.end()


def _buried(a_night: Night, books: Books, poisoned: set[int]) -> list[str]:
    """What is wrong before the replay: all of the poison and nothing else is in dead letters."""
    sql = 'SELECT topic, "partition", "offset", raw, attempts FROM tom_alertstreams_deadletter'
    letters = a_night.tom.query(sql)
    where = {(topic, number, offset) for topic, number, offset, _, _ in letters}
    found = {json.loads(bytes(raw))["n"] for _, _, _, raw, _ in letters}
    findings = [f"attempts of {t}[{p}]@{o}: {n} instead of {TRIES}" for t, p, o, _, n in letters if n != TRIES][:10]
    if found - poisoned:
        findings.append(f"dead letters of alerts that do not raise, of numbers {sorted(found - poisoned)[:10]}")
    if poisoned - found:
        findings.append(f"no dead letters of alerts that raise, of numbers {sorted(poisoned - found)[:10]}")
    if lost := [coordinates for coordinates in books.lost if coordinates not in where]:
        findings.append(f"neither an effect nor a dead letter: {names(lost)}")
    if both := sorted(where - set(books.lost)):
        findings.append(f"both an effect and a dead letter: {names(both)}")
    if books.twice or books.disordered or books.unknown:
        findings.append(f"before the replay: twice {names(books.twice)}; out of order {names(books.disordered)}")
    done, dead = books.counted.get("done"), books.counted.get("dead")
    if (done, dead) != (books.alerts - len(poisoned), len(poisoned)):
        findings.append(f"counted {books.counted} of {books.alerts:,} alerts with {len(poisoned):,} that raise")
    return findings


def _replay(a_night: Night, dice: Random, result: Result) -> str:
    """Replay until nothing is left. The first is killed somewhere, the next ones are two at a time."""
    tom = a_night.tom

    def count(state: str) -> int:
        return int(tom.query("SELECT count(*) FROM tom_alertstreams_deadletter WHERE state = %s", [state])[0][0])

    total = count("open")
    kill_at = dice.randrange(max(1, total))
    with running(tom, *_REPLAY) as process:
        a_night.wait(lambda: count("replayed") >= kill_at or process.poll() is not None, "a replay to begin")
    killed_at = count("replayed")

    def pair() -> bool:
        with running(tom, *_REPLAY) as first, running(tom, *_REPLAY) as second:
            codes = [process.wait(600) for process in (first, second)]
            if any(codes):
                result.findings.append(f"replay ended with {codes}: {first.log.read_text()[-1000:]}")
        return not count("open")

    a_night.wait(pair, "all dead letters to be replayed", 600)
    again = tom.run("readstreams", "--once")
    if again.returncode:
        result.findings.append(f"readstreams --once after the replay ended with {again.returncode}")
    return f"a replay was killed when {killed_at:,} of {total:,} dead letters were done; two at once did the rest"


def _replayed(books: Books, poisoned: int) -> list[str]:
    """What is wrong after it: every alert has its effect once."""
    findings = [f"{what}: {names(w)}" for what, w in (("lost", books.lost), ("twice", books.twice)) if w]
    if books.letters != {"replayed": poisoned}:
        findings.append(f"dead letters after the replay: {books.letters}, instead of {poisoned:,} replayed ones")
    return findings
