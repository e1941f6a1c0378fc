"""Somebody renames, merges and deletes Targets in the TOM: what ingest knows of them goes along."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from tom_targets.models import BaseTarget, Target, TargetName

from tests.unit.ingest.samples import json_alert, notice, ztf_packet
from tom_alertstreams.ingest.detaching import detach
from tom_alertstreams.ingest.handlers import ingest_targets
from tom_alertstreams.ingest.models import Classification, TargetAlert, TargetPosition
from tom_alertstreams.ingest.options import IngestOptions

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

NAME = "ZTF26aaaaaaa"


def ingest(*contents: dict[str, Any], **options: Any) -> None:
    alerts = [json_alert(content) for content in contents]
    ingest_targets(alerts, options=IngestOptions(**{"create": "always", **options}))


def sidereal(name: str, ra: float | None = 10.0, dec: float | None = 10.0) -> Target:
    return Target.objects.create(name=name, type="SIDEREAL", ra=ra, dec=dec, permissions="PUBLIC")


def rename(old: str, new: str) -> Target:
    target = Target.objects.get(name=old)
    target.name = new
    target.save()
    return target


def gone_to() -> list[tuple[str, str]]:
    return list(TargetAlert.objects.order_by("pk").values_list("target__name", "match_method"))


def merge(primary: Target, secondary: Target) -> None:
    """As the button of the TOM does."""
    client = Client()
    client.force_login(User.objects.create_superuser("merger"))
    page = reverse("targets:merge", args=(primary.pk, secondary.pk))
    answer = client.post(page, {"name_select": primary.pk, "confirm": "Merge"})
    assert answer.headers["Location"].rstrip("/").endswith(f"/{primary.pk}")
    assert not Target.objects.filter(pk=secondary.pk).exists()


class TestRenamed:
    def test_its_alerts_still_come_to_it(self) -> None:
        ingest(ztf_packet())
        renamed = rename(NAME, "SN 2026abc")
        ingest(ztf_packet(candid=2, jd=2461001.5), ztf_packet(candid=3, jd=2461002.5), match_radius_arcsec=0)
        assert gone_to() == [("SN 2026abc", "created"), ("SN 2026abc", "alias"), ("SN 2026abc", "alias")]
        # From now on there is an alias.
        assert [alias.name for alias in renamed.aliases.all()] == [NAME]

    def test_one_that_somebody_had_made(self) -> None:
        sidereal(NAME)
        ingest(ztf_packet())
        rename(NAME, "SN 2026abc")
        ingest(ztf_packet(candid=2, jd=2461001.5), match_radius_arcsec=0)
        assert gone_to() == [("SN 2026abc", "name"), ("SN 2026abc", "alias")]

    def test_who_has_the_name_now_has_its_alerts(self) -> None:
        ingest(ztf_packet())
        rename(NAME, "SN 2026abc")
        sidereal(NAME)
        ingest(ztf_packet(candid=2, jd=2461001.5))
        assert gone_to() == [("SN 2026abc", "created"), (NAME, "name")]

    def test_of_two_that_had_the_name_the_newer_one(self) -> None:
        for number in (1, 2):
            sidereal(NAME)
            ingest(ztf_packet(candid=number))
            rename(NAME, f"SN 2026{number}")
        ingest(ztf_packet(candid=3, jd=2461001.5), match_radius_arcsec=0)
        assert gone_to()[-1] == ("SN 20262", "alias")

    def test_a_position_that_somebody_has_parted_from_it_leads_nowhere(self) -> None:
        sidereal("SN 2026abc", 150.0, 20.0)
        ingest(ztf_packet())
        TargetName.objects.all().delete()
        ingest(ztf_packet(candid=2, jd=2461001.5), match_radius_arcsec=0)
        assert gone_to() == [("SN 2026abc", "position"), (NAME, "created")]

    def test_what_was_detached_goes_where_it_was_put(self) -> None:
        sidereal("SN 2026abc", 150.0, 20.0)
        ingest(ztf_packet())
        detach(NAME)
        rename(NAME, "SN 2026xyz")
        ingest(ztf_packet(candid=2, jd=2461001.5))
        assert gone_to() == [("SN 2026xyz", "name"), ("SN 2026xyz", "alias")]

    def test_a_retraction_that_came_first_names_none(self) -> None:
        ingest(notice(alert_type="retraction", ra=None, dec=None))
        ingest(ztf_packet("1000001"))
        assert gone_to()[-1] == ("1000001", "created")

    def test_only_names_that_nothing_has_are_looked_for(self) -> None:
        def looked_for(*contents: dict[str, Any]) -> int:
            with CaptureQueriesContext(connection) as queries:
                ingest(*contents)
            return len([query for query in queries if "DISTINCT" in query["sql"]])

        assert looked_for(ztf_packet(), ztf_packet("ZTF26bbbbbbb", 2, ra=10.0)) in (1, 2)  # once more with the locks
        assert looked_for(ztf_packet(candid=3, jd=2461001.5)) == 0


class TestMerged:
    @pytest.fixture
    def secondary(self) -> Target:
        """With two alerts, one of which was matched by its position, and a classification."""
        ingest(ztf_packet(candid=1), ztf_packet("ZTF26bbbbbbb", 2, dec=20.0 + 1 / 3600, jd=2461001.75))
        found = Target.objects.get()
        Classification.objects.create(object_id=NAME, alert_id="1", classifier="c", class_name="SN", target=found)
        return found

    def test_alerts_and_classifications_go_to_the_primary(self, secondary: Target) -> None:
        primary = sidereal("SN 2026abc")
        merge(primary, secondary)
        rows = TargetAlert.objects.order_by("pk").values_list("target", "match_method", "separation_arcsec")
        assert list(rows) == [(primary.pk, "name", None)] * 2
        assert Classification.objects.get().target_id == primary.pk
        assert list(TargetPosition.objects.values_list("target", "ra", "dec")) == [(primary.pk, 10.0, 10.0)]
        # What comes next follows them, wherever it is.
        ingest(ztf_packet(candid=3, jd=2461002.5), ztf_packet("ZTF26bbbbbbb", 4, jd=2461003.5))
        assert gone_to()[2:] == [("SN 2026abc", "alias")] * 2

    def test_a_primary_without_a_position_gets_that_of_the_other(self, secondary: Target) -> None:
        primary = sidereal("SN 2026abc", None, None)
        merge(primary, secondary)
        assert list(TargetPosition.objects.values_list("target", "ra", "dec")) == [(primary.pk, 150.0, 20.0)]

    def test_whose_name_had_been_changed(self, secondary: Target) -> None:
        primary = sidereal("SN 2026abc")
        merge(primary, rename(secondary.name, "AT 2026abc"))
        ingest(ztf_packet(candid=3, jd=2461002.5), match_radius_arcsec=0)
        assert gone_to()[-1] == ("SN 2026abc", "alias")

    def test_a_merged_object_can_be_detached(self, secondary: Target) -> None:
        merge(sidereal("SN 2026abc"), secondary)
        TargetName.objects.filter(name=NAME).delete()
        moved = detach(NAME)
        assert (moved.from_name, moved.to_name, moved.alerts, moved.points) == ("SN 2026abc", NAME, 1, 1)

    def test_it_stays_the_second_candidate_of_others_and_not_of_itself(self) -> None:
        near, far = sidereal("near", 150.0, 20.0), sidereal("far", 150.0, 20.0 + 1 / 3600)
        ingest(ztf_packet())
        again = sidereal("far again")
        merge(again, far)
        assert TargetAlert.objects.get().second_candidate_id == again.pk
        User.objects.all().delete()
        merge(again, near)
        row = TargetAlert.objects.get()
        assert (row.target_id, row.second_candidate_id) == (again.pk, None)

    def test_the_primary_of_a_notice_is_not_moved_where_somebody_had_made_it(self) -> None:
        ingest(notice())
        primary = sidereal("GRB 260930A", 100.0, -30.0)
        merge(primary, Target.objects.get(name="Swift 1000001"))
        ingest(notice(alert_type="update", ra=100.01, alert_datetime="2026-10-01T01:00:00Z"))
        primary.refresh_from_db()
        assert (primary.ra, gone_to()[-1]) == (100.0, ("GRB 260930A", "event"))


class TestDeleted:
    def test_its_alerts_go_with_it(self) -> None:
        ingest(ztf_packet(), ztf_packet("ZTF26bbbbbbb", 2, ra=10.0))
        Target.objects.get(name=NAME).delete()
        assert gone_to() == [("ZTF26bbbbbbb", "created")]

    def test_both_of_two_that_were_to_be_merged(self) -> None:
        ingest(ztf_packet(), ztf_packet("ZTF26bbbbbbb", 2, ra=10.0))
        TargetName.objects.create(target=BaseTarget.objects.get(name="ZTF26bbbbbbb"), name=NAME)
        Target.objects.all().delete()
        assert not TargetAlert.objects.exists()

    def test_one_look_at_the_aliases_tells_that_it_was_not_merged(self) -> None:
        ingest(ztf_packet())
        target = Target.objects.get()
        with CaptureQueriesContext(connection) as queries:
            target.delete()
        asked = [query["sql"] for query in queries if query["sql"].startswith(("SELECT", "UPDATE"))]
        assert len([sql for sql in asked if TargetName._meta.db_table in sql]) == 1
        assert not [sql for sql in asked if sql.startswith("SELECT") and TargetAlert._meta.db_table in sql]
