"""``detachalert``: a wrong match is undone, with all that it brought."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.management import CommandError, call_command
from guardian.shortcuts import get_objects_for_group
from tom_dataproducts.models import PhotometryReducedDatum
from tom_targets.models import BaseTarget, TargetName

from tests.unit.ingest.samples import json_alert, ztf_packet
from tom_alertstreams.ingest.handlers import ingest_targets
from tom_alertstreams.ingest.models import TargetAlert
from tom_alertstreams.ingest.options import IngestOptions

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

ALWAYS = IngestOptions(create="always")


def ingest(object_id: str, candid: int, **candidate: Any) -> None:
    ingest_targets([json_alert(ztf_packet(object_id, candid, **candidate))], options=ALWAYS)


def detach(*arguments: str) -> str:
    out = io.StringIO()
    call_command("detachalert", *arguments, stdout=out)
    return out.getvalue()


@pytest.fixture
def taken_for_another() -> BaseTarget:
    """The second object is an arcsecond from the first, and was taken for it."""
    ingest("ZTF26aaaaaaa", 1)
    ingest("ZTF26bbbbbbb", 2, dec=20.0 + 1 / 3600, jd=2461001.75)
    ingest("ZTF26bbbbbbb", 3, dec=20.0 + 1 / 3600, jd=2461002.75)
    target = BaseTarget.objects.get()
    assert PhotometryReducedDatum.objects.filter(target=target).count() == 3
    return target


def test_gets_a_target_of_its_own_with_its_points(taken_for_another: BaseTarget) -> None:
    assert detach("ZTF26bbbbbbb") == (
        "moved 2 alerts, 2 photometry points and 0 classifications from ZTF26aaaaaaa to the new Target ZTF26bbbbbbb.\n"
    )
    made = BaseTarget.objects.get(name="ZTF26bbbbbbb")
    assert (made.ra, made.dec, made.permissions) == (150.0, 20.0 + 1 / 3600, taken_for_another.permissions)
    assert PhotometryReducedDatum.objects.filter(target=made).count() == 2
    assert PhotometryReducedDatum.objects.filter(target=taken_for_another).count() == 1
    assert set(TargetAlert.objects.filter(target=made).values_list("alert_id", flat=True)) == {"2", "3"}
    assert not TargetName.objects.exists()


def test_its_next_alerts_follow(taken_for_another: BaseTarget) -> None:
    detach("ZTF26bbbbbbb")
    ingest("ZTF26bbbbbbb", 4, dec=20.0 + 1 / 3600, jd=2461003.75)
    assert TargetAlert.objects.get(alert_id="4").target.name == "ZTF26bbbbbbb"  # type: ignore[union-attr]


def test_to_another_target(taken_for_another: BaseTarget) -> None:
    other = BaseTarget.objects.create(name="SN 2026a", type="SIDEREAL", ra=150.001, dec=20.0)
    assert "to SN 2026a." in detach("ZTF26bbbbbbb", "--to", "SN 2026a")
    ingest("ZTF26bbbbbbb", 4, dec=20.0 + 1 / 3600, jd=2461003.75)
    assert TargetAlert.objects.get(alert_id="4").target == other


def test_a_measurement_that_the_other_target_has_already_is_not_there_twice(taken_for_another: BaseTarget) -> None:
    other = BaseTarget.objects.create(name="SN 2026a", type="SIDEREAL", ra=150.001, dec=20.0)
    same, nearly = PhotometryReducedDatum.objects.filter(source_location="ZTF26bbbbbbb").order_by("timestamp")
    for row, seconds in ((same, 0), (nearly, 0.5)):
        PhotometryReducedDatum.objects.create(
            target=other, timestamp=row.timestamp + timedelta(seconds=seconds), brightness=row.brightness, bandpass="g",
            source_name="ALeRCE",
        )  # fmt: skip
    assert "2 photometry points" in detach("ZTF26bbbbbbb", "--to", "SN 2026a")
    assert PhotometryReducedDatum.objects.filter(target=other).count() == 2
    assert PhotometryReducedDatum.objects.filter(target=taken_for_another).count() == 1


def test_whoever_saw_it_sees_it() -> None:
    options = IngestOptions(create="always", permissions="PRIVATE", groups=["observers"])
    for packet in (ztf_packet("ZTF26aaaaaaa", 1), ztf_packet("ZTF26bbbbbbb", 2, dec=20.0 + 1 / 3600, jd=2461001.75)):
        ingest_targets([json_alert(packet)], options=options)
    detach("ZTF26bbbbbbb")
    group = Group.objects.get(name="observers")
    assert set(get_objects_for_group(group, "tom_targets.view_target").values_list("name", flat=True)) == {
        "ZTF26aaaaaaa", "ZTF26bbbbbbb",
    }  # fmt: skip


def test_an_alias_of_a_third_target_is_told(taken_for_another: BaseTarget) -> None:
    third = BaseTarget.objects.create(name="third", type="SIDEREAL", ra=1.0, dec=1.0)
    TargetName.objects.update(target=third)
    BaseTarget.objects.create(name="SN 2026a", type="SIDEREAL", ra=150.001, dec=20.0)
    with pytest.raises(CommandError, match="is an alias of third"):
        detach("ZTF26bbbbbbb", "--to", "SN 2026a")


def test_a_dry_run_moves_nothing(taken_for_another: BaseTarget) -> None:
    assert detach("ZTF26bbbbbbb", "--dry-run").startswith("would move 2 alerts, 2 photometry points")
    assert BaseTarget.objects.count() == 1
    assert TargetAlert.objects.filter(target=taken_for_another).count() == 3


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["ZTF26zzzzzzz"], "No alert of ZTF26zzzzzzz"),
        (["ZTF26aaaaaaa"], "was made of ZTF26aaaaaaa"),
        (["ZTF26bbbbbbb", "--to", "nobody"], "no other Target nobody"),
        (["ZTF26bbbbbbb", "--from", "nobody"], "has gone to nobody"),
    ],
)
def test_what_cannot_be_undone_is_told(taken_for_another: BaseTarget, arguments: list[str], told: str) -> None:
    with pytest.raises(CommandError, match=told):
        detach(*arguments)
    assert TargetAlert.objects.filter(target=taken_for_another).count() == 3
