"""From an alert of ALeRCE's to a light curve, with the commands that users run: ``readstreams`` and ``db_worker``."""

from __future__ import annotations

from pathlib import Path

import pytest

from alerce_stream.resolver import Position
from alerce_stream.testing import StubApi, encode, light_curve
from tests.brokers import ScriptedBroker
from tests.processes import Tom, output, running, wait_until

NAMES = [f"ZTF26aaaaa{letter}a" for letter in "bcd"]


@pytest.mark.timeout(200)
def test_from_an_alert_to_a_light_curve(own_broker: ScriptedBroker, group_id: str, tmp_path: Path) -> None:
    tom = Tom(tmp_path, settings="tests.acceptance.jobs_settings")
    tom.migrate()
    positions = {name: Position(20.0 * n, 30.0) for n, name in enumerate(NAMES)}
    own_broker.create_topic("stamp_classifier_20261101")
    for candid, name in enumerate(NAMES):
        record = {"objectId": name, "candid": candid + 1, "probabilities": {
            "SN": 0.9, "AGN": 0.1, "VS": 0.0, "asteroid": 0.0, "bogus": 0.0, "satellite": 0.0}}  # fmt: skip
        own_broker.produce("stamp_classifier_20261101", encode(record, "stamp_classifier_2025"))
    own_broker.flush()
    with StubApi(positions) as api:
        options = {"CLASSES": ["SN"], "LIGHT_CURVES": True, "PERMISSIONS": "PUBLIC"}
        handler = {"HANDLER": "alerce_stream.handlers.ingest_classifications", "OPTIONS": options}
        tom.streams = [
            {
                "NAME": "alerce_stream.streams.AlerceAlertStream",
                "OPTIONS": {
                    "USERNAME": "", "BOOTSTRAP_SERVERS": own_broker.bootstrap_servers, "GROUP_ID": group_id,
                    "API_URL": api.url, "RATE": 50, "PROTOCOL": "PLAINTEXT", "CONFIG": own_broker.CONSUMER_CONFIG,
                    "TOPIC_HANDLERS": {"stamp_classifier": handler},
                },
            }
        ]  # fmt: skip
        checked = tom.run("check")
        assert checked.returncode == 0, checked.stdout
        assert "no issues" in checked.stdout
        with running(tom, "db_worker", "--interval", "0.1") as worker:  # while readstreams writes to the same database
            read = tom.run("readstreams", "--once")
            assert read.returncode == 0, read.stdout
            count = "SELECT count(*) FROM django_tasks_database_dbtaskresult WHERE status = 'SUCCEEDED'"
            wait_until(lambda: worker.poll() is not None or tom.query(count) == [(3,)], "the jobs")
            assert worker.poll() is None, output(worker)
    expected = sum(len(rows) for name in NAMES for rows in light_curve(name)[0].values())
    assert tom.query("SELECT count(*) FROM tom_dataproducts_photometryreduceddatum") == [(expected,)]
    assert tom.query("SELECT count(*) FROM alerce_stream_lightcurvefetch WHERE fetched_at IS NOT NULL") == [(3,)]
