"""Handlers that others have released for tom-alertstreams 1.x, unchanged, driven through our Hopskotch stream."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hop.io import Producer
from hop.models import AvroBlob
from tom_dataproducts.models import ReducedDatum
from tom_targets.models import Target

from tests.brokers import ScriptedBroker
from tests.streams import counts
from tom_alertstreams.alertstreams.alertstream import get_alert_streams
from tom_alertstreams.delivery.source import Control
from tom_alertstreams.delivery.supervisor import Supervisor
from tom_alertstreams.models import DeadLetter

ROOT = Path(__file__).resolve().parent.parent.parent
HOPSKOTCH = "tom_alertstreams.alertstreams.hopskotch.HopskotchAlertStream"
HERMES = "tom_hermes.alertstreams.ingester.hermes_alert_handler"
IGWN = "tom_nonlocalizedevents.alertstream_handlers.igwn_event_handler.handle_igwn_message"


def entry(broker: ScriptedBroker, group_id: str, handlers: dict[str, str]) -> dict[str, Any]:
    """An entry of ALERT_STREAMS."""
    options = {
        "URL": f"kafka://{broker.bootstrap_servers}/",
        "GROUP_ID": group_id,
        "START_POSITION": "EARLIEST",
        "TOPIC_HANDLERS": handlers,
        "CONFIG": dict(broker.CONSUMER_CONFIG),
    }
    return {"ACTIVE": True, "NAME": HOPSKOTCH, "LABEL": "test", "OPTIONS": options}


def publish(broker: ScriptedBroker, topic: str, content: Any) -> uuid.UUID:
    """Send what hop would send; return the message's id."""
    value, headers = Producer.pack(content)
    broker.produce(topic, value, headers=headers)
    broker.flush()
    return uuid.UUID(bytes=dict(headers)["_id"])


def hermes_message(name: str, date: str, **target: Any) -> dict[str, Any]:
    """A message as Hermes publishes it: one object, one magnitude."""
    return {
        "title": f"Photometry of {name}",
        "topic": "hermes.test",
        "submitter": "somebody",
        "authors": "Some Body",
        "message_text": "",
        "data": {
            "targets": [{"name": name, **target}],
            "photometry": [
                {
                    "target_name": name,
                    "date_obs": date,
                    "telescope": "1m0a",
                    "instrument": "fa15",
                    "bandpass": "r",
                    "brightness": 18.4,
                    "brightness_error": 0.02,
                    "brightness_unit": "AB mag",
                }
            ],
        },
    }


@pytest.mark.django_db(transaction=True)
@pytest.mark.both_databases
def test_tom_hermes(broker: ScriptedBroker, topic: str, group_id: str) -> None:
    """Three messages about two objects; the third spells a name otherwise, which tom_hermes matches."""
    pytest.importorskip("tom_hermes", reason="tom_hermes is not installed")
    messages = [
        hermes_message(
            "AT2026abc", "2026-03-01T05:00:00Z", ra=150.25, dec=-12.5, aliases=["ZTF26aaaaaaa"], host="NGC 1"
        ),
        hermes_message("AT2026xyz", "2026-03-01T06:00:00Z", ra=10.0, dec=80.0),
        hermes_message("AT 2026abc", "2026-03-02T05:00:00Z", ra=150.25, dec=-12.5),
    ]
    broker.create_topic(f"hermes.{topic}")
    ids = [publish(broker, f"hermes.{topic}", message) for message in messages]
    configured = entry(broker, group_id, {f"hermes.{topic}*": HERMES})
    for _ in range(2):  # a second reader finds nothing left to do
        streams = get_alert_streams([configured])
        assert Supervisor(streams, Control(once=True), shutdown_s=20).run() == 0
    assert not DeadLetter.objects.exists(), DeadLetter.objects.values_list("error", "traceback")
    assert counts() == {"done": 3}
    first, second = Target.objects.order_by("created")
    assert (first.name, first.ra, first.dec) == ("AT2026abc", 150.25, -12.5)
    assert [alias.name for alias in first.aliases.all()] == ["ZTF26aaaaaaa"]
    assert (second.name, second.ra, second.dec) == ("AT2026xyz", 10.0, 80.0)
    datums = ReducedDatum.objects.order_by("timestamp")
    assert [datum.target for datum in datums] == [first, second, first]
    assert {datum.source_name for datum in datums} == {f"Hermes:hermes.{topic}"}
    assert all(str(message_id) in datum.source_location for message_id, datum in zip(ids, datums, strict=True))


#: The TOM of its own in which tom_nonlocalizedevents works: it reads the database's address once, when it is imported.
PROGRAM = """
import django
from django.core.management import call_command

django.setup()
call_command("migrate", verbosity=0)
for _ in range(2):  # a second reader finds nothing left to do
    try:
        call_command("readstreams", once=True)
    except SystemExit as ended:
        assert ended.code == 0, ended.code
"""


@pytest.mark.timeout(300)
def test_tom_nonlocalizedevents(
    broker: ScriptedBroker, topic: str, group_id: str, samples: Path, postgres_url: str, tmp_path: Path
) -> None:
    """A sky map of 19,200 rows, inserted one by one, then an update and the retraction: each is handled once.

    The handler numbers the sequences of an event by counting them, so that a second call would show.
    """
    for module in ("tom_nonlocalizedevents", "psycopg2", "ligo.skymap"):
        if importlib.util.find_spec(module.partition(".")[0]) is None:
            pytest.skip(f"{module} is not installed")
    alert = json.loads((samples / "lvk" / "igwn_gwalert_preliminary.json").read_bytes())
    event = alert["superevent_id"]
    alert["event"]["skymap"] = base64.b64decode(alert["event"]["skymap"])
    broker.create_topic(topic)
    ids = [
        publish(broker, topic, AvroBlob([alert])),  # hop-client up to 0.6 sent a list
        publish(broker, topic, AvroBlob({**alert, "alert_type": "INITIAL"})),
        publish(broker, topic, {"alert_type": "RETRACTION", "superevent_id": event, "event": None, "urls": {}}),
    ]
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.contract.nle_settings",
        "TEST_DATABASE_URL": postgres_url,
        "EXAMPLE_TOM_RUN_DIR": str(tmp_path),
        # SQLAlchemy 2.1 would take psycopg 3 for an address without a driver.
        "SA_DB_CONNECTION_URL": postgres_url.replace("postgresql://", "postgresql+psycopg2://", 1),
        "TEST_ALERT_STREAMS": json.dumps([entry(broker, group_id, {topic: IGWN})]),
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with psycopg.connect(postgres_url) as database:

        def rows(query: str) -> list[tuple[Any, ...]]:
            return database.execute(query.encode()).fetchall()

        assert rows("SELECT outcome, code, sum(n) FROM tom_alertstreams_outcomecount GROUP BY 1, 2") == [
            ("done", "", 3)
        ], done.stderr
        assert rows("SELECT event_id, state FROM tom_nonlocalizedevents_nonlocalizedevent") == [(event, "RETRACTED")]
        assert rows(
            "SELECT sequence_id, event_subtype, hermes_message_id, localization_id IS NOT NULL "
            "FROM tom_nonlocalizedevents_eventsequence ORDER BY sequence_id"
        ) == [(1, "PRELIMINARY", ids[0], True), (2, "INITIAL", ids[1], True)]
        assert rows("SELECT count(*) FROM tom_nonlocalizedevents_eventlocalization") == [(1,)]
        assert rows("SELECT count(*) FROM tom_nonlocalizedevents_skymaptile") == [(19_200,)]
