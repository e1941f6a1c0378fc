"""What is written beside Targets and points, and that nothing is written twice."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from guardian.shortcuts import assign_perm, get_objects_for_group, get_perms
from tom_dataproducts.models import PhotometryReducedDatum
from tom_targets.models import BaseTarget, Target, TargetExtra, TargetList, TargetName

from tests.unit.ingest.samples import HERMES, json_alert, ztf_packet
from tom_alertstreams.alerts import Alert, Outcome
from tom_alertstreams.ingest import targets
from tom_alertstreams.ingest.handlers import ingest_targets
from tom_alertstreams.ingest.matching import KnownTarget
from tom_alertstreams.ingest.models import TargetAlert
from tom_alertstreams.ingest.options import IngestOptions
from tom_alertstreams.ingest.times import from_jd

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

HOOKED: list[tuple[str, bool]] = []


def hook(target: Target, created: bool) -> None:
    HOOKED.append((target.name, created))
    if target.name == "ZTF0":
        raise ValueError("a hook with a fault")


@pytest.fixture
def hooked(settings: Any) -> list[tuple[str, bool]]:
    settings.HOOKS = {"target_post_save": f"{__name__}.hook"}
    HOOKED.clear()
    return HOOKED


def ingest(*contents: dict[str, Any], **options: Any) -> list[Outcome]:
    alerts = [json_alert(content) for content in contents]
    return ingest_targets(alerts, options=IngestOptions(**{"create": "always", **options}))


def test_permissions_groups_list_and_name(django_assert_max_num_queries: Callable[[int], Any]) -> None:
    packets = [ztf_packet(f"ZTF{n}", n + 1, ra=10.0 * n) for n in range(20)]
    with django_assert_max_num_queries(45):
        ingest(*packets, permissions="PRIVATE", groups=["Observers"], target_list="Bright", name="my {object_id}")
    assert set(BaseTarget.objects.values_list("permissions", flat=True)) == {"PRIVATE"}
    assert TargetList.objects.get(name="Bright").targets.count() == 20
    assert BaseTarget.objects.filter(name="my ZTF3").get().aliases.get().name == "ZTF3"
    group = Group.objects.get(name="Observers")
    user = User.objects.create(username="u")
    user.groups.add(group)
    target = Target.objects.get(name="my ZTF3")
    for action in ("view", "change", "delete"):
        assert get_objects_for_group(group, f"tom_targets.{action}_target", Target).count() == 20
        assert user.has_perm(f"tom_targets.{action}_target", target)


def test_points_are_shown_to_the_groups_of_their_target(settings: Any) -> None:
    settings.TARGET_PERMISSIONS_ONLY = False
    observers = Group.objects.create(name="Observers")
    others = BaseTarget.objects.create(name="ZTF1", type="SIDEREAL", ra=10.0, dec=20.0, permissions="PRIVATE")
    old = PhotometryReducedDatum.objects.create(target=others, timestamp=from_jd(2461000.5), brightness=1, bandpass="g")

    def seen() -> list[tuple[str, datetime]]:
        rows = get_objects_for_group(observers, "tom_dataproducts.view_photometryreduceddatum")
        return sorted(rows.values_list("target__name", "timestamp"))

    ingest(ztf_packet("ZTF0", 1), ztf_packet("ZTF1", 2, ra=10.0), groups=["Observers", "Second"])
    first = from_jd(2461000.75)
    assert seen() == [("ZTF0", first)]  # the other Target was there before, and is not theirs
    # A later point of a Target that was theirs from the beginning, and of one that has become theirs.
    assign_perm("tom_targets.view_target", observers, Target.objects.get(name="ZTF1"))
    ingest(ztf_packet("ZTF0", 3, jd=2461003.5), ztf_packet("ZTF1", 4, jd=2461003.5), groups=["Observers"])
    later = from_jd(2461003.5)
    assert seen() == [("ZTF0", first), ("ZTF0", later), ("ZTF1", later)]
    assert "view_photometryreduceddatum" not in get_perms(observers, old)
    ingest(ztf_packet("ZTF0", 5, jd=2461004.5))
    assert len(seen()) == 3
    settings.TARGET_PERMISSIONS_ONLY = True
    ingest(ztf_packet("ZTF2", 6, ra=30.0), groups=["Observers"])
    assert len(seen()) == 3


def test_points_are_shown_in_bulk(settings: Any, django_assert_max_num_queries: Callable[[int], Any]) -> None:
    settings.TARGET_PERMISSIONS_ONLY = False
    packets = [ztf_packet(f"ZTF{n}", n + 1, ra=n % 360, dec=n / 10) for n in range(300)]
    with django_assert_max_num_queries(75):
        ingest(*packets, groups=["Observers"])
    rows = get_objects_for_group(Group.objects.get(), "tom_dataproducts.view_photometryreduceddatum")
    assert rows.count() == 300


def test_the_settings_decide_who_sees_what(settings: Any) -> None:
    settings.TARGET_DEFAULT_PERMISSION = "PUBLIC"
    ingest(ztf_packet())
    assert BaseTarget.objects.get().permissions == "PUBLIC"


def test_the_number_of_queries_does_not_grow(django_assert_max_num_queries: Callable[[int], Any]) -> None:
    with django_assert_max_num_queries(40):
        ingest(*[ztf_packet(f"ZTF{n}", n + 1, ra=n % 360, dec=n / 10) for n in range(300)])
    assert BaseTarget.objects.count() == 300


def test_existing_targets_keep_what_they_are() -> None:
    known = BaseTarget.objects.create(
        name="ZTF26aaaaaaa", type="SIDEREAL", ra=150.0001, dec=20.0, pm_ra=5.0, permissions="PRIVATE"
    )
    ingest(ztf_packet(), permissions="OPEN", groups=["Observers"])
    known.refresh_from_db()
    assert (known.ra, known.pm_ra, known.permissions) == (150.0001, 5.0, "PRIVATE")
    assert not Group.objects.filter(name="Observers").exists()


def test_only_what_the_rules_select_is_put_on_the_list() -> None:
    BaseTarget.objects.create(name="ZTF0", type="SIDEREAL", ra=1.0, dec=1.0)
    ingest(ztf_packet("ZTF0", 1, rb=0.1), ztf_packet("ZTF1", 2, rb=0.9, ra=3.0), min_rb=0.5, target_list="Good")
    assert [target.name for target in TargetList.objects.get().targets.all()] == ["ZTF1"]


def test_hook_runs_once_for_each_created_target_after_the_commit(
    hooked: list[tuple[str, bool]], django_capture_on_commit_callbacks: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        ingest(ztf_packet("ZTF0", 1), ztf_packet("ZTF0", 2, jd=2461003.5), ztf_packet("ZTF1", 3, ra=3.0))
        assert hooked == []
    assert hooked == [("ZTF0", True), ("ZTF1", True)]
    assert "target_post_save failed for ZTF0" in caplog.text
    with django_capture_on_commit_callbacks(execute=True):
        ingest(ztf_packet("ZTF1", 4, ra=3.0, jd=2461004.5))
    assert len(hooked) == 2


def test_a_child_model_is_saved_one_by_one(hooked: list[tuple[str, bool]]) -> None:
    taken = BaseTarget.objects.create(name="ZTF0b", type="SIDEREAL", ra=1.0, dec=1.0)
    hooked.clear()
    wanted = [KnownTarget(None, "ZTF0b", 1.0, 1.0), KnownTarget(None, "ZTF1", 3.0, 4.0)]
    created = targets._create_one_by_one(wanted, IngestOptions())
    assert {known.name for known in created} == {"ZTF1"}
    assert wanted[0].pk == taken.pk
    assert hooked == []  # that is for HOOKS to say


def test_a_target_that_another_process_creates_first_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def create_late(new: Any, options: IngestOptions) -> set[KnownTarget]:
        BaseTarget.objects.create(name="ZTF26aaaaaaa", type="SIDEREAL", ra=150.0, dec=20.0)
        return targets.create_targets(new, options)

    monkeypatch.setattr("tom_alertstreams.ingest.writer.create_targets", create_late)
    ingest(ztf_packet())
    row = TargetAlert.objects.get()
    assert (row.target_id, row.match_method, row.points) == (BaseTarget.objects.get().pk, "name", 1)


def test_extra_fields_with_a_default_are_written(settings: Any) -> None:
    settings.EXTRA_FIELDS = [{"name": "priority", "type": "number", "default": 3}, {"name": "note", "type": "string"}]
    ingest(ztf_packet())
    extra = TargetExtra.objects.get()
    assert (extra.key, extra.value, extra.float_value) == ("priority", "3", 3.0)


@pytest.mark.parametrize(
    ("names", "kept"),
    [
        (None, {"event_id": "GRB 230409B", "redshift": "0.3"}),
        ([], {}),
        (["redshift"], {"redshift": "0.3"}),
        (
            ["redshift", "title", "data.targets.1.name", "data.targets.0", "data.event_id.x", "host_name"],
            {"redshift": "0.3", "title": "GRB 230409B: Swift/UVOT Detection", "data.targets.1.name": "SN 2023b"},
        ),
    ],
)
def test_extras_that_are_kept(names: list[str] | None, kept: dict[str, str]) -> None:
    ingest(HERMES, keep_extras=names)
    assert dict(BaseTarget.objects.get(name="GRB 230409B").targetextra_set.values_list("key", "value")) == kept


def test_values_at_a_path_are_kept_as_the_tom_stores_them() -> None:
    packet = ztf_packet(
        drb=0.75, rbversion="t17", near=True, nothing=None, cutout=[1], large=2**63 - 1, inf=float("inf")
    )
    names = [
        f"candidate.{name}" for name in ("drb", "rbversion", "near", "nothing", "cutout", "large", "inf", "absent")
    ]
    ingest(packet, keep_extras=names)
    rows = {extra.key.partition(".")[2]: extra for extra in TargetExtra.objects.all()}
    assert {name: row.value for name, row in rows.items()} == {
        "drb": "0.75", "rbversion": "t17", "near": "True", "large": str(2**63 - 1),
    }  # fmt: skip
    assert rows["drb"].float_value == 0.75
    # A known Target keeps what it has, and gets what it lacks.
    ingest(ztf_packet(candid=2, drb=0.5, magnr=17), keep_extras=["candidate.drb", "candidate.magnr"])
    assert set(TargetExtra.objects.filter(key__in=["candidate.drb", "candidate.magnr"]).values_list("value")) == {
        ("0.75",), ("17",),
    }  # fmt: skip


def test_the_typed_columns_of_extras_are_those_of_the_toolkit() -> None:
    values = [True, False, 0, 7, 0.25, 2**63 - 1, "", "SN", "False", "2026-10-01T12:00:00+00:00"]
    extras = {str(number): value for number, value in enumerate(values)}
    known = [BaseTarget.objects.create(name=name, type="SIDEREAL") for name in ("added", "replaced")]
    for target in known:
        targets.write_extras({target.pk: extras}, replace=target.name == "replaced")
    Target(name="saved", type="SIDEREAL").save(extras=extras)
    columns = ("key", "value", "float_value", "bool_value", "time_value")
    saved, *ours = (set(TargetExtra.objects.filter(target__name=name).values_list(*columns)) for name in
                    ("saved", "added", "replaced"))  # fmt: skip
    assert [rows ^ saved for rows in ours] == [set(), set()]


def test_extras_count_more_than_the_defaults_of_a_new_target(settings: Any) -> None:
    settings.EXTRA_FIELDS = [{"name": "redshift", "type": "number", "default": 0}]
    ingest(HERMES)
    assert dict(TargetExtra.objects.filter(key="redshift").values_list("target__name", "value")) == {
        "GRB 230409B": "0.3", "SN 2023b": "0",
    }  # fmt: skip


def test_extras_of_a_known_target_are_added_and_not_replaced() -> None:
    known = BaseTarget.objects.create(name="GRB 230409B", type="SIDEREAL", ra=1.0, dec=1.0)
    TargetExtra.objects.create(target=known, key="redshift", value="0.5")
    ingest(HERMES)
    assert dict(known.targetextra_set.values_list("key", "value")) == {"redshift": "0.5", "event_id": "GRB 230409B"}


def test_every_target_of_a_message_gets_its_points() -> None:
    ingest(HERMES)
    counts = dict(TargetAlert.objects.values_list("object_id", "points"))
    assert counts == {"GRB 230409B": 2, "SN 2023b": 0}


def test_an_alias_that_is_taken_stays_where_it_is() -> None:
    other = BaseTarget.objects.create(name="other", type="SIDEREAL", ra=1.0, dec=1.0)
    BaseTarget.objects.create(name="GRB 230409B", type="SIDEREAL", ra=2.0, dec=1.0)
    TargetName.objects.create(target=other, name="AT 2023xyz")
    ingest(HERMES)
    assert TargetName.objects.get(name="AT 2023xyz").target_id == other.pk


class TestPhotometry:
    """One measurement is one row, whoever wrote it first."""

    def stored(self, **fields: Any) -> None:
        known, _ = BaseTarget.objects.get_or_create(name="ZTF26aaaaaaa", type="SIDEREAL", ra=150.0, dec=20.0)
        row = {"brightness": 18.5, "brightness_error": 0.1, "unit": "mag", "bandpass": "g", "source_name": "ALeRCE"}
        PhotometryReducedDatum.objects.create(target=known, timestamp=from_jd(2461000.75), **row | fields)

    def test_what_the_toms_alerce_service_wrote_is_not_written_again(self) -> None:
        self.stored()
        ingest(ztf_packet())
        assert PhotometryReducedDatum.objects.count() == 1
        assert TargetAlert.objects.get().points == 0

    def test_what_was_streamed_is_found_by_the_toms_alerce_service(self) -> None:
        ingest(ztf_packet())
        _, created = PhotometryReducedDatum.objects.get_or_create(
            timestamp=from_jd(2461000.75), target=BaseTarget.objects.get(), brightness=18.5, brightness_error=0.1,
            unit="mag", bandpass="g", defaults={"source_name": "ALeRCE"},
        )  # fmt: skip
        assert not created

    @pytest.mark.parametrize(
        ("fields", "rows"),
        [
            ({"brightness": 18.5009}, 1),  # of another source: that one may round
            ({"brightness": 18.5011}, 2),
            ({"brightness": 18.5004, "source_name": "ZTF"}, 1),
            ({"brightness": 18.5006, "source_name": "ZTF"}, 2),
            ({"bandpass": "r"}, 2),
            ({"timestamp": from_jd(2461000.75) + timedelta(milliseconds=990)}, 1),
            ({"timestamp": from_jd(2461000.75) - timedelta(milliseconds=990)}, 1),
            ({"timestamp": from_jd(2461000.75) + timedelta(milliseconds=1010)}, 2),
            ({"timestamp": from_jd(2461000.75) - timedelta(milliseconds=4), "source_name": "ZTF"}, 1),
            ({"timestamp": from_jd(2461000.75) + timedelta(milliseconds=6), "source_name": "ZTF"}, 2),
            ({"brightness": None, "limit": 18.5}, 2),
            ({"instrument": "ZTF camera"}, 1),
        ],
    )
    def test_nearly_the_same(self, fields: dict[str, Any], rows: int) -> None:
        known = BaseTarget.objects.create(name="ZTF26aaaaaaa", type="SIDEREAL", ra=150.0, dec=20.0)
        row = {"timestamp": from_jd(2461000.75), "brightness": 18.5, "unit": "mag", "bandpass": "g"} | fields
        PhotometryReducedDatum.objects.create(target=known, **row)
        ingest(ztf_packet())
        assert PhotometryReducedDatum.objects.count() == rows

    def test_history_that_comes_again_and_again(self) -> None:
        history = [{"jd": 2460990.75 + n, "fid": 2, "magpsf": None, "diffmaglim": 20.5} for n in range(5)]
        packets = [ztf_packet(candid=n + 1, jd=2461000.75 + n) | {"prv_candidates": history} for n in range(3)]
        ingest(*packets)
        ingest(ztf_packet(candid=9, jd=2461005.75) | {"prv_candidates": history})
        assert PhotometryReducedDatum.objects.count() == 5 + 4
        assert list(TargetAlert.objects.order_by("pk").values_list("points", flat=True)) == [6, 1, 1, 1]

    def test_magnitudes_and_times_are_not_rounded(self) -> None:
        ingest(ztf_packet(magpsf=17.446657180786133, jd=2458574.6289815))
        row = PhotometryReducedDatum.objects.get()
        assert row.brightness == 17.446657180786133
        assert row.timestamp == from_jd(2458574.6289815)


def test_moments_are_stored_as_the_orm_stores_them() -> None:
    """SQLite compares them as texts."""
    ingest(ztf_packet())
    made = BaseTarget.objects.create(name="by the ORM", type="SIDEREAL", ra=1.0, dec=1.0)
    with connection.cursor() as cursor:
        cursor.execute("SELECT CAST(created AS text), CAST(modified AS text) FROM tom_targets_basetarget ORDER BY id")
        ours, its = cursor.fetchall()
    assert ["+" in text for text in ours] == ["+" in text for text in its]
    assert BaseTarget.objects.filter(created__lte=made.created).count() == 2


LASAIR = {
    "object_id": "objectId",
    "alert_id": "candid",
    "ra": "ra",
    "dec": "dec",
    "jd": "jd",
    "mag": "mag",
    "band": "band",
}
EARLIER = [
    {"jd": 2460990.75 + day, "fid": 1, "magpsf": 18.9, "sigmapsf": 0.1, "isdiffpos": "t", "diffmaglim": 20.0}
    for day in range(8)
]


def of_lasair() -> Alert:
    """Columns that somebody chose, of the alert that the survey's own packet tells with its history."""
    packet = ztf_packet()
    row = {"objectId": packet["objectId"], "candid": packet["candid"], "band": "g", "mag": 18.5}
    return json_alert(
        row | {key: packet["candidate"][key] for key in ("ra", "dec", "jd")}, topic="lasair", stream="lasair"
    )


def of_the_survey(topic: str = "ztf") -> Alert:
    return json_alert(ztf_packet() | {"prv_candidates": EARLIER}, topic=topic)


def ingest_one(alert: Alert, **options: Any) -> Outcome:
    fields = LASAIR if alert.stream == "lasair" else None
    return ingest_targets([alert], options=IngestOptions(**{"create": "always", "fields": fields, **options}))[0]


def test_a_copy_by_another_stream_brings_the_points_that_are_missing() -> None:
    alerts = [of_lasair(), of_the_survey(), of_lasair(), of_the_survey()]
    for alert, points in zip(alerts, (1, 9, 9, 9), strict=True):
        assert ingest_one(alert).kind == "done"
        assert PhotometryReducedDatum.objects.filter(target=BaseTarget.objects.get()).count() == points
    row = TargetAlert.objects.get()
    assert (row.stream, row.match_method) == ("lasair", "created")


def test_a_copy_brings_its_points_to_where_the_alert_has_gone() -> None:
    ingest_one(of_lasair())
    right = BaseTarget.objects.create(name="right", type="SIDEREAL", ra=10.0, dec=20.0)
    TargetAlert.objects.update(target=right)
    ingest_one(of_the_survey())
    assert PhotometryReducedDatum.objects.filter(target=right).count() == 9


def test_a_copy_by_another_topic_in_one_batch() -> None:
    packet = ztf_packet(fid=2, jd=2461001.75)
    bare, whole = json_alert(ztf_packet()), of_the_survey("mirror")
    ingest_targets([bare, whole, json_alert(packet | {"candid": 5})], options=IngestOptions(create="always"))
    assert PhotometryReducedDatum.objects.count() == 10
    assert sorted(TargetAlert.objects.values_list("topic", "points")) == [("ztf", 1), ("ztf", 1)]


def test_a_copy_that_the_rules_refuse_updates_no_known_target_where_that_is_so_wished() -> None:
    ingest_one(of_lasair())
    assert ingest_one(of_the_survey(), min_rb=0.99, follow_known=False).kind == "done"
    assert PhotometryReducedDatum.objects.count() == 1
    ingest_one(of_the_survey(), min_rb=0.99)
    assert PhotometryReducedDatum.objects.count() == 9


def test_what_a_copy_brings_is_shown_to_the_groups(settings: Any) -> None:
    settings.TARGET_PERMISSIONS_ONLY = False
    for alert in (of_lasair(), of_the_survey()):
        ingest_one(alert, groups=["Observers"])
    rows = get_objects_for_group(Group.objects.get(), "tom_dataproducts.view_photometryreduceddatum")
    assert rows.count() == 9


def test_the_same_alerts_again_by_the_same_topic_are_not_looked_at(
    django_assert_max_num_queries: Callable[[int], Any],
) -> None:
    alerts = [json_alert(ztf_packet(f"ZTF{n}", n + 1, ra=n) | {"prv_candidates": EARLIER}) for n in range(50)]
    ingest_targets(alerts, options=IngestOptions(create="always"))
    PhotometryReducedDatum.objects.all().delete()
    with django_assert_max_num_queries(2):
        ingest_targets([alert.fresh() for alert in alerts], options=IngestOptions(create="always"))
    assert not PhotometryReducedDatum.objects.exists()
