"""Every version of ALeRCE's schemas, in every framing, through the stream to rows of Classification."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from string import ascii_lowercase
from typing import Any

import fastavro
import pytest
from tom_dataproducts.models import PhotometryReducedDatum
from tom_targets.models import Target

from alerce_stream.messages import object_id_of
from alerce_stream.resolver import Position
from alerce_stream.streams import AlerceAlertStream
from alerce_stream.testing import Framing, encode
from alerce_stream.versions import shipped_versions
from alerce_stream.ztf_numbers import ztf_name
from tests.brokers import PASSWORD, USER, RunningKafka, ScriptedBroker
from tests.contract.test_alerce import HANDLER, make
from tests.streams import counts, run_once
from tests.unit.alerce_stream.samples import FEATURES, LIGHT_CURVE, RECORDS, container
from tests.unit.alerce_stream.test_versions import NEXT, RECORD
from tom_alertstreams.alertstreams.alertstream import get_alert_streams
from tom_alertstreams.decoders import decode_auto
from tom_alertstreams.ingest.models import Classification
from tom_alertstreams.models import DeadLetter

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

TARGETS = "tom_alertstreams.ingest.handlers.ingest_targets"
#: Where each version goes, as on ALeRCE's broker.
TOPICS = {
    "stamp_classifier_2021": "stamp_classifier_20211101",
    "stamp_classifier_2021_candid_text": "stamp_classifier_20210910",
    "stamp_classifier_2025": "stamp_classifier_20250501",
    "stamp_classifier_2026_multisurvey": "stamp_classifier_20260301",
    "stamp_classifier_aid": "stamp_classifier_atlas_20240101",
    "rubin_stamp_classifier": "rubin_stamp_classifier",
    "lc_classifier_2021": "lc_classifier_20211101",
    "lc_classifier_2023_04_aid": "lc_classifier_20230415",
    "lc_classifier_2023_05_aid": "lc_classifier_20230601",
    "lc_classifier_2023_12_aid": "lc_classifier_ztf_20231210",
    "lc_classifier_2024": "lc_classifier_ztf_20240201",
    "elasticc_classification": "lc_classifier_balto_20231101",
}
KEYS = (
    "stamp_classifier", "stamp_classifier_atlas", "rubin_stamp_classifier", "lc_classifier", "lc_classifier_ztf",
    "lc_classifier_balto",
)  # fmt: skip


def of_its_own(name: str) -> dict[str, Any]:
    """The record of a version, about an object that no other version is about."""
    number, record = list(RECORDS).index(name), dict(RECORDS[name])
    if name == "rubin_stamp_classifier":
        shares = {"SN": 0.75, "asteroid": 0.25}
        return {**record, "diaObjectId": 170055002004914266, "ssObjectId": 0, "probabilities": shares}
    for key in ("oid", "objectId", "aid"):
        if key in record:
            record[key] = (
                f"{record[key][:-1]}{ascii_lowercase[number]}" if isinstance(record[key], str) else record[key]
            )
    return record


SENT = {name: of_its_own(name) for name in RECORDS}
OBJECTS = {name: object_id_of(record) for name, record in SENT.items() if name != "elasticc_classification"}


def positions(object_ids: list[str], api_url: str) -> dict[str, Position]:
    """A RESOLVER: each object at a place of its own."""
    return {name: Position(10.0 + 20 * list(OBJECTS.values()).index(name), 10.0) for name in object_ids}


def stream(
    broker: ScriptedBroker, group_id: str, rules: dict[str, Any] | None = None, **options: Any
) -> AlerceAlertStream:
    topic = {"HANDLER": HANDLER, "OPTIONS": {"CREATE": "always"} if rules is None else rules}
    given = {"TOPIC_HANDLERS": dict.fromkeys(KEYS, topic), "RESOLVER": f"{__name__}.positions", **options}
    return make(broker, group_id, **given)


def publish(broker: ScriptedBroker, topic: str, *messages: bytes) -> None:
    broker.create_topic(topic)
    for message in messages:
        broker.produce(topic, message, partition=0)
    broker.flush()


def probabilities(record: Mapping[str, Any]) -> dict[str, Any]:
    """Class → probability, as the record says."""
    given = record.get("lc_classification", record)
    found = given.get("probabilities", given.get("classifications"))
    return found if isinstance(found, dict) else {item["class_name"]: item["probability"] for item in found}


def rows(object_id: str) -> dict[str, Any]:
    """Class → probability, as the rows say."""
    return dict(Classification.objects.filter(object_id=object_id).values_list("class_name", "probability"))


class StubRegistry:
    """A schema registry over HTTP: the versions by their place in the alphabet, and what it was asked for."""

    def __init__(self) -> None:
        self.ids = {name: number for number, name in enumerate(sorted(shipped_versions()), start=700)}
        schemas = {number: shipped_versions()[name].schema for name, number in self.ids.items()}
        self.asked: list[int] = []
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                number = int(self.path.rpartition("/")[2])
                registry.asked.append(number)
                known = number in schemas
                body = json.dumps({"schema": json.dumps(schemas[number])} if known else {"error_code": 40403}).encode()
                self.send_response(200 if known else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


@pytest.fixture
def registry() -> Iterator[StubRegistry]:
    stub = StubRegistry()
    yield stub
    stub.close()


def check_rows(names: list[str]) -> None:
    """Of each version the classes and probabilities of its one object, and the Target that they belong to."""
    for name in names:
        classifier = SENT[name].get("classifier_name", TOPICS[name].partition("_20")[0])
        assert rows(OBJECTS[name]) == pytest.approx(probabilities(SENT[name])), name
        found = Classification.objects.filter(object_id=OBJECTS[name])
        assert set(found.values_list("classifier", "target__name")) == {(classifier, OBJECTS[name])}, name


@pytest.mark.parametrize("framing", ["container", "schemaless", "confluent"])
def test_every_version_in_every_framing(
    own_broker: ScriptedBroker, group_id: str, framing: Framing, registry: StubRegistry
) -> None:
    for name, topic in TOPICS.items():
        publish(own_broker, topic, encode(SENT[name], name, framing, registry.ids[name]))
    run_once(stream(own_broker, group_id, SCHEMA=registry.url if framing == "confluent" else None))
    assert not DeadLetter.objects.exists()
    # ELAsTiCC's classifications are read, and are of no object.
    assert counts() == {"done": len(OBJECTS), "rejected:unsupported": 1}
    check_rows(list(OBJECTS))
    assert Classification.objects.count() == sum(len(probabilities(SENT[name])) for name in OBJECTS)
    assert Target.objects.count() == len(OBJECTS)
    assert sorted(registry.asked) == (sorted(registry.ids.values()) if framing == "confluent" else [])


def test_framings_side_by_side_in_one_topic(own_broker: ScriptedBroker, group_id: str, registry: StubRegistry) -> None:
    """A bare message of Rubin may begin with a zero, as Confluent's framing does."""
    name, messages = "rubin_stamp_classifier", []
    for number, framing in enumerate(("confluent", "schemaless", "container", "json", "confluent", "schemaless")):
        record = {**SENT[name], "diaSourceId": 10**15 + number, "probabilities": {"SN": 0.75, "AGN": 0.25}}
        asteroid = {**record, "diaObjectId": 0, "ssObjectId": 21163611375810943}
        messages += [encode(sent, name, framing, registry.ids[name]) for sent in (record, asteroid)]  # type: ignore[arg-type]
    publish(own_broker, TOPICS[name], *messages)
    run_once(stream(own_broker, group_id, SCHEMA=registry.url))
    assert not DeadLetter.objects.exists()
    assert counts() == {"done": 6, "rejected:unsupported": 6}
    assert Classification.objects.count() == 12


def test_a_version_of_next_year(own_broker: ScriptedBroker, group_id: str, caplog: pytest.LogCaptureFixture) -> None:
    """Told once, read by its names, and learnt: bare messages that follow are read too."""
    ids = [36028941024305561 + number for number in range(3)]
    first, second, third = ({**RECORD, "oid": oid, "measurement_id": 7 * oid} for oid in ids)
    bare = io.BytesIO()
    fastavro.schemaless_writer(bare, fastavro.parse_schema(NEXT), third)
    topic, known = "stamp_classifier_20270101", {"CREATE": "never"}
    for oid in ids:
        Target.objects.create(name=ztf_name(str(oid)), type="SIDEREAL", ra=1.0, dec=2.0)
    publish(own_broker, topic, container(NEXT, first), container(NEXT, second), bare.getvalue())
    run_once(stream(own_broker, group_id, known))
    for oid in ids:
        assert rows(ztf_name(str(oid))) == RECORD["probabilities"]
    assert sum("a schema that is not known yet" in record.getMessage() for record in caplog.records) == 1


def test_bytes_of_no_known_schema_are_kept_and_never_stored_as_something_else(
    own_broker: ScriptedBroker, group_id: str
) -> None:
    bare = io.BytesIO()
    fastavro.schemaless_writer(bare, fastavro.parse_schema(NEXT), RECORD)
    right = encode(SENT["stamp_classifier_2025"], "stamp_classifier_2025", "schemaless")
    publish(own_broker, TOPICS["stamp_classifier_2025"], bare.getvalue(), right, right[:-3], right + b"\x00")
    run_once(stream(own_broker, group_id))
    assert counts() == {"done": 1, "dead": 3}
    assert [bytes(letter.raw or b"") for letter in DeadLetter.objects.order_by("offset")] == [
        bare.getvalue(), right[:-3], right + b"\x00",
    ]  # fmt: skip
    check_rows(["stamp_classifier_2025"])
    assert set(Classification.objects.values_list("object_id", flat=True)) == {OBJECTS["stamp_classifier_2025"]}


def test_bad_records_are_counted_and_store_nothing_that_is_not_so(own_broker: ScriptedBroker, group_id: str) -> None:
    oid = "ZTF24zzzzzzz"
    Target.objects.create(name=oid, type="SIDEREAL", ra=1.0, dec=2.0)
    bad = [
        {"oid": oid, "error": "no features"},
        {"oid": oid, "probabilities": {"error": "no stamps"}},
        {"oid": oid, "probabilities": {}},
        {"diaObjectId": 0, "ssObjectId": 0, "probabilities": {"SN": 1.0}},
        {"oid": oid, "lc_classification": {"probabilities": {}, "class": "", "hierarchical": {}}, "features": None},
    ]
    odd = [
        {"oid": oid, "candid": "2454460970015010006", "probabilities": {"SN": 0.25, "AGN": 0.25}},
        {"oid": oid, "candid": 2454460970015010007, "probabilities": {"Kilonova": 0.75, "SN": 0.75}},
    ]
    nan = b'{"oid": "%s", "candid": 2454460970015010008, "probabilities": {"SN": NaN, "AGN": 0.5}}' % oid.encode()
    publish(own_broker, "stamp_classifier_20261101", *(json.dumps(record).encode() for record in [*bad, *odd]), nan)
    run_once(stream(own_broker, group_id, {"CREATE": "never"}))
    assert counts() == {"done": 3, "rejected:unsupported": 3, "rejected:probability": 2}
    stored = Classification.objects.values_list("alert_id", "class_name", "probability", "ranking")
    assert set(stored) == {
        ("stamp_classifier:2454460970015010006", "AGN", 0.25, 1), ("stamp_classifier:2454460970015010006", "SN", 0.25, 2),
        ("stamp_classifier:2454460970015010007", "Kilonova", 0.75, 1), ("stamp_classifier:2454460970015010007", "SN", 0.75, 2),
        ("stamp_classifier:2454460970015010008", "AGN", 0.5, 1), ("stamp_classifier:2454460970015010008", "SN", None, None),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["lc_classifier_2021", "lc_classifier_2024"])
def test_features_and_the_hierarchy_are_found_again(own_broker: ScriptedBroker, group_id: str, name: str) -> None:
    """Names with ``/`` and ``-`` are no Python names: Django's look-ups take them in a dict."""
    publish(own_broker, TOPICS[name], encode(SENT[name], name))
    run_once(stream(own_broker, group_id))
    best = Classification.objects.get(ranking=1)
    assert {key: best.features[key] for key in FEATURES} == FEATURES
    assert best.features["hierarchical"] == LIGHT_CURVE["hierarchical"]
    for key, value in (
        ("W1-W2", 0.2),
        ("Power_rate_1/2", 1.4),
        ("MHPS_ratio_1", 1.9),
        ("hierarchical__top__Transient", 0.7),
    ):
        assert Classification.objects.filter(**{f"features__{key}__gt": value}).get() == best
        assert not Classification.objects.filter(**{f"features__{key}__gt": value + 1}).exists()
    assert Classification.objects.filter(**{"features__g-r_max_corr": None}).get() == best


def test_an_asteroid_of_rubin_is_no_sidereal_target(own_broker: ScriptedBroker, group_id: str) -> None:
    """It moves: it makes no Target, the one where it happens to be is another object, and the one of its name is it."""
    record = RECORDS["rubin_stamp_classifier"]
    there = Target.objects.create(name="a star", type="SIDEREAL", ra=record["ra"], dec=record["dec"])
    other = {**record, "ssObjectId": record["ssObjectId"] + 1, "diaSourceId": record["diaSourceId"] + 1}
    asteroid = Target.objects.create(name=str(other["ssObjectId"]), type="NON_SIDEREAL", scheme="MPC_MINOR_PLANET")
    publish(own_broker, "rubin_stamp_classifier", *(encode(sent, "rubin_stamp_classifier") for sent in (record, other)))
    rules = {"CREATE": "always", "CLASSES": ["asteroid"], "MATCH_RADIUS_ARCSEC": 5}
    run_once(stream(own_broker, group_id, rules))
    assert counts() == {"done": 1, "rejected:unsupported": 1}
    assert set(Target.objects.values_list("pk", flat=True)) == {there.pk, asteroid.pk}
    assert set(Classification.objects.values_list("target", flat=True)) == {asteroid.pk}


def test_raw_alerts_of_lsst_come_on_the_same_stream(
    own_broker: ScriptedBroker, group_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    """``sn_candidates`` holds what Rubin sent: a packet makes the Target, and ALeRCE's class of it finds that Target."""
    record = SENT["rubin_stamp_classifier"]
    source = {
        "diaSourceId": record["diaSourceId"], "diaObjectId": record["diaObjectId"], "ssObjectId": 0, "ra": record["ra"],
        "dec": record["dec"], "midpointMjdTai": 61000.5, "band": "r", "psfFlux": 3000.0, "psfFluxErr": 30.0,
    }  # fmt: skip
    types = {int: "long", float: "double", str: "string"}
    packet = {
        "type": "record", "namespace": "lsst.v10_0", "name": "alert",
        "fields": [{"name": "diaSourceId", "type": "long"}, {"name": "diaSource", "type": {
            "type": "record", "name": "diaSource", "fields": [
                {"name": key, "type": types[type(value)]} for key, value in source.items()]}}],
    }  # fmt: skip
    raw = container(packet, {"diaSourceId": record["diaSourceId"], "diaSource": source})
    publish(own_broker, "sn_candidates", raw)
    topics = {
        "rubin_stamp_classifier": {"HANDLER": HANDLER, "OPTIONS": {"CREATE": "never"}},
        "sn_candidates": {"HANDLER": TARGETS, "OPTIONS": {"CREATE": "always"}},
    }
    made = stream(own_broker, group_id, TOPIC_HANDLERS=topics)
    restored = made.restore_alert(
        topic="sn_candidates", partition=0, offset=0, key=None, headers=(), timestamp=None, raw=raw
    )
    assert restored.content == decode_auto(raw)
    run_once(made)
    publish(own_broker, "rubin_stamp_classifier", encode(record, "rubin_stamp_classifier", "schemaless"))
    run_once(stream(own_broker, group_id, TOPIC_HANDLERS=topics))
    target = Target.objects.get()
    assert (target.name, target.ra, target.dec) == (str(record["diaObjectId"]), record["ra"], record["dec"])
    assert PhotometryReducedDatum.objects.get().target == target
    assert set(Classification.objects.values_list("target", flat=True)) == {target.pk}
    assert "a schema that is not known yet" not in caplog.text


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "SCRAM-SHA-256"])
def test_scram_login_on_a_real_kafka(real_kafka: RunningKafka, topic: str, group_id: str, mechanism: str) -> None:
    """With a password, to rows; the group's name begins with the user's."""
    name = "lc_classifier_2024"
    real_kafka.create_topic(f"{topic}_20261231")
    for framing in ("container", "schemaless"):
        real_kafka.produce(f"{topic}_20261231", encode(SENT[name], name, framing))  # type: ignore[arg-type]
    real_kafka.flush()
    entry = {
        "NAME": "alerce_stream.streams.AlerceAlertStream",
        "LABEL": "test",
        "OPTIONS": {
            "USERNAME": USER, "PASSWORD": PASSWORD, "PROTOCOL": "SASL_PLAINTEXT", "MECHANISM": mechanism,
            "BOOTSTRAP_SERVERS": real_kafka.sasl_servers, "GROUP_ID": f"{USER}-{group_id}",
            "TOPIC_HANDLERS": {topic: {"HANDLER": HANDLER, "OPTIONS": {"CREATE": "always"}}},
            "RESOLVER": f"{__name__}.positions",
        },
    }  # fmt: skip
    made = get_alert_streams([entry])[0]
    run_once(made)
    assert counts() == {"done": 2}
    assert rows(OBJECTS[name]) == pytest.approx(probabilities(SENT[name]))
