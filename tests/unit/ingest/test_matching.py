"""Whose Target is it: names before positions, and positions right everywhere on the sky."""

from __future__ import annotations

import random

import astropy.units as u
import pytest
from astropy.coordinates import SkyCoord
from django.db import transaction
from tom_targets.models import BaseTarget, TargetName

from tests.unit.ingest.samples import json_alert, notice, ztf_packet
from tom_alertstreams.alerts import Alert, Outcome
from tom_alertstreams.ingest.handlers import ingest_targets
from tom_alertstreams.ingest.models import TargetAlert
from tom_alertstreams.ingest.options import IngestOptions
from tom_alertstreams.ingest.sky import DeclinationIndex, separation_arcsec

ALWAYS = IngestOptions(create="always")
ARCSEC = 1 / 3600


def ingest(*alerts: Alert, options: IngestOptions = ALWAYS) -> list[Outcome]:
    return ingest_targets(list(alerts), options=options)


def sidereal(name: str, ra: float, dec: float) -> BaseTarget:
    return BaseTarget.objects.create(name=name, type="SIDEREAL", ra=ra, dec=dec)


class TestSky:
    def test_separations_are_astropys(self) -> None:
        rng = random.Random(5)
        centres = [(rng.uniform(0, 360), rng.choice([rng.uniform(-90, 90), 90, -90, 89.9999])) for _ in range(300)]
        near = [((ra + rng.uniform(-2, 2) * ARCSEC) % 360, max(-90, min(90, dec + rng.uniform(-2, 2) * ARCSEC)))
                for ra, dec in centres]  # fmt: skip
        first = SkyCoord(centres, unit="deg")
        expected = first.separation(SkyCoord(near, unit="deg")).to_value(u.arcsec)
        for (ra, dec), (other_ra, other_dec), value in zip(centres, near, expected, strict=True):
            assert separation_arcsec(ra, dec, other_ra, other_dec) == pytest.approx(value, abs=1e-6)

    def test_neighbours_are_astropys(self) -> None:
        rng = random.Random(7)
        positions = [(rng.uniform(0, 360), rng.choice([1, -1]) * (90 - rng.uniform(0, 0.002))) for _ in range(400)]
        positions += [((360 + rng.uniform(-3, 3) * ARCSEC) % 360, rng.uniform(-3, 3) * ARCSEC) for _ in range(200)]
        index: DeclinationIndex[int] = DeclinationIndex()
        index.extend([(ra, dec, n) for n, (ra, dec) in enumerate(positions)])
        sky = SkyCoord(positions, unit="deg")
        for n, (ra, dec) in enumerate(positions):
            separations = sky.separation(sky[n]).to_value(u.arcsec)
            assert {item for _, item in index.within(ra, dec, 1.5)} == {
                i for i, s in enumerate(separations) if s <= 1.5
            }


@pytest.mark.both_databases
@pytest.mark.django_db
class TestFollowing:
    @pytest.mark.parametrize(
        ("known", "seen"),
        [
            ((359.9999, 0.0), (0.0001, 0.0)),  # 0.72 arcsec across RA 0
            ((10.0, 89.9999), (190.0, 89.9999)),  # 0.72 arcsec across the pole
            ((200.0, -90.0), (20.0, -90.0)),
            ((100.0, 75.0), (100.001, 75.0)),  # 0.93 arcsec, though 3.6 arcsec in right ascension
        ],
    )
    def test_the_same_position(self, known: tuple[float, float], seen: tuple[float, float]) -> None:
        target = sidereal("SN 2026a", *known)
        ingest(json_alert(ztf_packet(ra=seen[0], dec=seen[1])))
        row = TargetAlert.objects.get()
        assert (row.target_id, row.match_method) == (target.pk, "position")
        assert row.separation_arcsec == pytest.approx(separation_arcsec(*known, *seen))
        # From now on the survey's name leads to it.
        assert TargetName.objects.get().name == "ZTF26aaaaaaa"
        target.refresh_from_db()
        assert (target.name, target.ra, target.dec) == ("SN 2026a", *known)

    def test_just_outside(self) -> None:
        sidereal("SN 2026a", 150.0, 20.0 + 1.6 * ARCSEC)
        ingest(json_alert(ztf_packet()))
        assert TargetAlert.objects.get().match_method == "created"

    def test_nearest_wins_and_the_second_is_flagged(self) -> None:
        far, near = sidereal("far", 150.0, 20.0 + 1.2 * ARCSEC), sidereal("near", 150.0, 20.0 - 0.4 * ARCSEC)
        ingest(json_alert(ztf_packet()))
        row = TargetAlert.objects.get()
        assert (row.target_id, row.second_candidate_id) == (near.pk, far.pk)

    def test_radius_0_is_names_only(self) -> None:
        sidereal("SN 2026a", 150.0, 20.0)
        ingest(json_alert(ztf_packet()), options=IngestOptions(create="always", match_radius_arcsec=0))
        assert BaseTarget.objects.count() == 2

    def test_name_and_alias_come_before_position(self) -> None:
        sidereal("at the position", 150.0, 20.0)
        named = sidereal("ZTF26aaaaaaa", 10.0, 10.0)
        other = sidereal("SN 2026b", 20.0, 10.0)
        TargetName.objects.create(target=other, name="ZTF26bbbbbbb")
        ingest(json_alert(ztf_packet()), json_alert(ztf_packet("ZTF26bbbbbbb", 2)))
        rows = TargetAlert.objects.order_by("alert_id")
        found = {(row.target_id, row.match_method) for row in rows}
        assert found == {(named.pk, "name"), (other.pk, "alias")}

    def test_the_surveys_own_name_comes_before_other_names(self) -> None:
        sidereal("SN 2026abc", 10.0, 10.0)
        TargetName.objects.create(target=sidereal("mine", 150.0, 20.0), name="ZTF26aaaaaaa")
        options = IngestOptions(create="always", fields={"object_id": "oid", "aliases": "tns"})
        ingest(json_alert({"oid": "ZTF26aaaaaaa", "tns": "SN 2026abc"}), options=options)
        ingest(json_alert({"oid": "ZTF26bbbbbbb", "tns": "SN 2026abc"}), options=options)
        rows = TargetAlert.objects.order_by("pk").values_list("target__name", "match_method")
        assert list(rows) == [("mine", "alias"), ("SN 2026abc", "name")]

    def test_moving_targets_are_never_matched_by_position(self) -> None:
        BaseTarget.objects.create(name="comet", type="NON_SIDEREAL", ra=150.0, dec=20.0)
        ingest(json_alert(ztf_packet()))
        assert TargetAlert.objects.get().match_method == "created"

    def test_a_rough_position_matches_nothing(self) -> None:
        sidereal("star", 100.0, -30.0)
        ingest(json_alert(notice()), json_alert(notice(id="2", ra_dec_error=None)))
        assert BaseTarget.objects.count() == 3

    def test_a_good_notice_position_matches(self) -> None:
        star = sidereal("star", 100.0, -30.0)
        ingest(json_alert(notice(ra_dec_error=1 * ARCSEC)))
        assert TargetAlert.objects.get().target_id == star.pk


@pytest.mark.both_databases
@pytest.mark.django_db
class TestWithinOneBatch:
    def test_two_alerts_of_one_new_object(self) -> None:
        ingest(json_alert(ztf_packet(candid=1)), json_alert(ztf_packet(candid=2, jd=2461001.75)))
        assert BaseTarget.objects.count() == 1
        assert list(TargetAlert.objects.order_by("pk").values_list("match_method", flat=True)) == ["created", "name"]

    def test_two_surveys_one_new_object(self) -> None:
        ingest(json_alert(ztf_packet(candid=1)), json_alert(ztf_packet("LSST1", candid=2, dec=20.0 + 1 * ARCSEC)))
        target = BaseTarget.objects.get()
        assert [name.name for name in target.aliases.all()] == ["LSST1"]

    def test_the_same_as_one_by_one(self) -> None:
        rng = random.Random(3)
        alerts = [
            json_alert(ztf_packet(f"ZTF26{n % 7}", candid=n + 1, ra=rng.uniform(-2, 2) * ARCSEC % 360, dec=0.0))
            for n in range(40)
        ]
        results = []
        for batches in ([alerts], [[alert] for alert in alerts]):
            with transaction.atomic():
                for batch in batches:
                    ingest(*batch)
                rows = TargetAlert.objects.order_by("offset")
                results.append(list(rows.values_list("target__name", "match_method", "points")))
                transaction.set_rollback(True)
        assert results[0] == results[1]
        assert len({name for name, _, _ in results[0]}) > 1
