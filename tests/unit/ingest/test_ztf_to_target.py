"""The road of a ZTF packet: a Target with a light curve, once."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from tom_dataproducts.models import PhotometryReducedDatum
from tom_targets.models import Target

from tests.unit.ingest.samples import alert_of, json_alert, ztf_packet
from tom_alertstreams.ingest.handlers import ingest_targets
from tom_alertstreams.ingest.models import TargetAlert
from tom_alertstreams.ingest.options import IngestOptions

ALWAYS = IngestOptions(create="always")

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


def test_a_packet_becomes_a_target_with_its_light_curve() -> None:
    packet = ztf_packet()
    packet["prv_candidates"] = [
        {"jd": 2460990.75, "fid": 2, "candid": None, "magpsf": None, "isdiffpos": None, "diffmaglim": 20.5},
        {"jd": 2460995.75, "fid": 2, "candid": 33, "magpsf": 19.0, "sigmapsf": 0.2, "isdiffpos": "1"},
    ]
    outcomes = ingest_targets([json_alert(packet)], options=ALWAYS)
    assert [outcome.kind for outcome in outcomes] == ["done"]
    target = Target.objects.get()
    assert (target.name, target.type, target.ra, target.dec) == ("ZTF26aaaaaaa", "SIDEREAL", 150.0, 20.0)
    rows = PhotometryReducedDatum.objects.order_by("timestamp")
    assert [(row.bandpass, row.brightness, row.limit) for row in rows] == [
        ("r", None, 20.5), ("r", 19.0, None), ("g", 18.5, None),
    ]  # fmt: skip
    assert rows[2].timestamp == datetime(2025, 11, 21, 6, tzinfo=timezone.utc)
    assert {row.unit for row in rows} == {"mag"}
    provenance = TargetAlert.objects.get()
    assert (provenance.target_id, provenance.match_method, provenance.points) == (target.pk, "created", 3)
    assert provenance.alert_id == "3300000000000000001"


def test_redelivery_adds_no_row() -> None:
    first = json_alert(ztf_packet())
    again = alert_of(first.raw, topic="ztf_mirror", stream="mirror")
    for alert in (first, first.fresh(), again):
        assert ingest_targets([alert], options=ALWAYS)[0].kind == "done"
    assert Target.objects.count() == PhotometryReducedDatum.objects.count() == TargetAlert.objects.count() == 1


def test_redelivery_does_not_bring_back_what_somebody_deleted() -> None:
    alert = json_alert(ztf_packet())
    ingest_targets([alert], options=ALWAYS)
    PhotometryReducedDatum.objects.all().delete()
    ingest_targets([alert.fresh()], options=ALWAYS)
    assert not PhotometryReducedDatum.objects.exists()
