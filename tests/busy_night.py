"""A TOM in the morning after a busy night: rows of every kind, made up, for pictures and for looking at pages."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from tom_targets.models import Target

from tom_alertstreams.alerts import Outcome
from tom_alertstreams.conf import DeliverySettings
from tom_alertstreams.delivery.fuse import Fuse
from tom_alertstreams.exceptions import FuseBlown
from tom_alertstreams.ingest.models import Classification, MatchMethod, TargetAlert
from tom_alertstreams.models import DeadLetter, LetterAction, OutcomeCount, Rejection, StreamPartition, StreamRun

State = StreamRun.State
INGEST: Final = "tom_alertstreams.ingest.handlers.ingest_targets"
CLASSIFIED: Final = "alerce_stream.handlers.ingest_classifications"
#: Alerts an hour before midnight, at midnight and after it, as a share of the busiest hour.
_NIGHT: Final = {22: 0.3, 23: 0.6, 0: 0.8, 1: 1.0, 2: 0.9, 3: 0.95, 4: 0.7, 5: 0.6, 6: 0.3, 7: 0.1}
_TRACEBACK: Final = """Traceback (most recent call last):
  File "mytom/alerts.py", line 31, in on_alert
    candid = alert.content["candidate"]["candid"]
KeyError: 'candid'
"""


def fill(now: datetime) -> None:
    """Write the rows into an empty database."""
    luck = random.Random(8)
    day, before = now.date(), now.date() - timedelta(days=1)
    daily = [f"lc_classifier_{now.date() - timedelta(days=n):%Y%m%d}" for n in range(14)]
    topics = {
        "ztf": {f"ztf_{day:%Y%m%d}_programid1": INGEST, f"ztf_{before:%Y%m%d}_programid1": INGEST},
        "alerce": dict.fromkeys(daily, CLASSIFIED),
        "hopskotch": {"hermes.discovery": INGEST, "igwn.gwalert": "mytom.events.on_event"},
        "gcn": {"gcn.notices.swift.bat.guano": INGEST, "gcn.notices.einstein_probe.wxt.alert": INGEST},
        "lasair": {"lasair_42MyFilter": "mytom.alerts.on_alert"},
    }
    _runs(now, topics)
    _counts(now, topics, luck)
    targets = _targets(now, luck)
    _alerts(now, targets, luck)
    _letters(now)
    _rejections(now, luck)


def _runs(now: datetime, topics: dict[str, dict[str, str]]) -> None:
    states: dict[str, tuple[State, str, int | None, float | None]] = {
        "ztf": (State.RUNNING, "", 12, 84.3),
        "alerce": (State.RUNNING, "", 48_210, 412.0),
        "hopskotch": (State.RUNNING, "", 0, 0.1),
        "gcn": (State.WAITING, "waiting for the broker: kafka.gcn.nasa.gov:9092 does not answer", 3, 0.0),
        "lasair": (State.FUSE, _fuse_blown(), 1204, None),
    }
    common = {"host": "reader1", "version": "1.4.0", "settings_fingerprint": "f3a9"}
    for label, (state, reason, lag, rate) in states.items():
        names = {name: {"handler": handler, "lag": 0} for name, handler in topics[label].items()}
        names[next(iter(names))]["lag"] = lag or 0
        StreamRun.objects.create(
            stream=label, group_id="tom", pid=4100, started=now - timedelta(days=3), heartbeat=now - timedelta(days=2),
            ended=now - timedelta(days=2), state=State.STOPPED, received=18_204, **common,
        )  # fmt: skip
        ended = now - timedelta(hours=4) if state is State.FUSE else None
        StreamRun.objects.create(
            stream=label, group_id="tom", pid=5217, started=now - timedelta(days=2), heartbeat=ended or now, ended=ended,
            state=state, reason=reason, lag=lag, rate=rate, topics=names, received=93_511, **common,
            gaps=[{"topic": "igwn.gwalert", "partition": 0, "expected": 90, "found": 97, "reason": "deleted by the broker",
                   "time": (now - timedelta(days=1)).isoformat(timespec="seconds")}] if label == "hopskotch" else [],
        )  # fmt: skip
        for number, name in enumerate(names):
            StreamPartition.objects.create(
                cluster="cluster", group_id="tom", topic=name, partition=0, next_offset=9000,
                last_alert_at=(ended or now) - timedelta(seconds=4 + 5400 * number),
            )  # fmt: skip


def _fuse_blown() -> str:
    """The reason of a stream whose handler fails for every alert, as its fuse says it."""
    settings = DeliverySettings()
    failed = [Outcome("failed", error=KeyError("candid"))] * settings.max_consecutive_failures
    try:
        Fuse("lasair", settings, half_open=False).judge(failed)
    except FuseBlown as blown:
        return str(blown)
    raise AssertionError("the fuse has not blown")


def _counts(now: datetime, topics: dict[str, dict[str, str]], luck: random.Random) -> None:
    busiest = {"ztf": 9000, "alerce": 4000, "hopskotch": 40, "gcn": 30, "lasair": 500}
    shares = {("done", ""): 0.7, ("rejected", "filter"): 0.2, ("rejected", "class"): 0.09, ("waiting", ""): 0.01}
    hour = now.replace(minute=0, second=0, microsecond=0)
    rows = []
    for label, most in busiest.items():
        for back in range(24 * 30):
            at = hour - timedelta(hours=back)
            n = most * _NIGHT.get(at.hour, 0.02) * luck.uniform(0.5, 1.0)
            topic = list(topics[label])[min(back // 24, len(topics[label]) - 1)]
            rows += [
                OutcomeCount(stream=label, topic=topic, hour=at, outcome=outcome, code=code, n=round(n * share))
                for (outcome, code), share in shares.items()
            ]
    rows.append(
        OutcomeCount(stream="lasair", topic="lasair_42MyFilter", hour=hour - timedelta(hours=5), outcome="dead", n=1204)
    )
    OutcomeCount.objects.bulk_create(rows)


def _targets(now: datetime, luck: random.Random) -> list[Target]:
    Target.objects.bulk_create(
        Target(
            name=f"ZTF26aa{chr(97 + n // 26)}{chr(97 + n % 26)}xyz", type="SIDEREAL", ra=luck.uniform(0, 360),
            dec=luck.triangular(-30, 80, 25), epoch=2000.0, permissions="PUBLIC", created=now, modified=now,
        )
        for n in range(600)
    )  # fmt: skip
    return list(Target.objects.order_by("pk"))


def _alerts(now: datetime, targets: list[Target], luck: random.Random) -> None:
    topics = (("ztf", f"ztf_{now:%Y%m%d}_programid1"), ("alerce", f"lc_classifier_{now:%Y%m%d}"))

    def rows() -> Iterator[TargetAlert]:
        for n in range(3000):
            target = targets[n % len(targets)]
            stream, topic = topics[n % len(targets) % 3 == 0]
            yield TargetAlert(
                stream=stream, topic=topic, partition=n % 4, offset=n, alert_id=f"{2_400_000_000 + n}",
                object_id=target.name, target=target, ra=target.ra + luck.gauss(0, 1e-5), dec=target.dec + luck.gauss(0, 1e-5),
                time=now - timedelta(minutes=luck.uniform(1, 14_400)), points=1,
                match_method=MatchMethod.CREATED if n < len(targets) else luck.choice([MatchMethod.NAME, MatchMethod.POSITION]),
                separation_arcsec=luck.uniform(0, 1.5), summary=f"g = {luck.uniform(16, 20):.2f}",
            )  # fmt: skip

    alerts = TargetAlert.objects.bulk_create(rows())
    said = []
    for alert in alerts:
        if alert.stream == "alerce":
            supernova = luck.uniform(0.5, 0.9)
            shares = {"SNIa": supernova, "SNII": (1 - supernova) * 0.6, "QSO": (1 - supernova) * 0.4}
            said += [
                Classification(
                    object_id=alert.object_id, target_id=alert.target_id, alert_id=alert.alert_id, time=alert.time,
                    classifier="lc_classifier", version="4.0", class_name=name, probability=share, ranking=ranking,
                )
                for ranking, (name, share) in enumerate(shares.items(), 1)
            ]  # fmt: skip
    Classification.objects.bulk_create(said)


def _letters(now: datetime) -> None:
    content = {
        "objectId": "ZTF26aabbcde",
        "candidate": {"ra": 150.1, "dec": 2.2, "magpsf": 18.4},
        "classification": "SN",
    }
    groups = [("KeyError", "'candid'", 1204, "f1"), ("ValueError", "could not convert string to float: 'nan mag'", 17, "f2"),
              ("DecodeError", "the bytes are neither Avro nor JSON", 3, "f3")]  # fmt: skip
    number = 0
    for error_class, error, count, fingerprint in groups:
        letters = []
        for _ in range(count):
            number += 1
            letters.append(
                DeadLetter(
                    stream="lasair", cluster="cluster", group_id="tom", topic="lasair_42MyFilter", partition=0, offset=number,
                    raw=json.dumps(content).encode() if fingerprint != "f3" else b"\x00\xff\x13broken",
                    headers=[["id", "YWJj"]],
                    timestamp=now - timedelta(hours=5), handler="mytom.alerts.on_alert", error_class=error_class, error=error,
                    traceback=_TRACEBACK, fingerprint=fingerprint, attempts=3, state=DeadLetter.State.OPEN,
                    first_failed_at=now - timedelta(hours=5, seconds=-number),
                )
            )  # fmt: skip
        DeadLetter.objects.bulk_create(letters)
    began = now - timedelta(days=1)
    LetterAction.objects.create(
        kind=LetterAction.Kind.REPLAY, who="astronomer", started=began, finished=began + timedelta(seconds=9),
        chosen={"stream": "ztf"}, total=31, became={"done": 29, "dead": 2},
    )  # fmt: skip


def _rejections(now: datetime, luck: random.Random) -> None:
    Rejection.objects.bulk_create(
        Rejection(
            stream="ztf", topic=f"ztf_{now:%Y%m%d}_programid1", partition=0, offset=n, object_id=f"ZTF26aa{n:05d}",
            code=luck.choice(["filter", "class", "sky", "age"]), time=now - timedelta(minutes=luck.uniform(1, 9000)),
        )
        for n in range(400)
    )  # fmt: skip
