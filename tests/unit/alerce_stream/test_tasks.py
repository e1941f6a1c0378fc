"""Light curves are fetched in jobs: who asks for one and when, and what becomes of it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import stamina
from django.contrib.auth.models import Group
from django.core.checks import run_checks
from django.core.management import call_command
from django.db import OperationalError, transaction
from django.test import override_settings
from django.utils import timezone
from django_tasks.backends.database.management.commands.db_worker import Worker
from django_tasks.backends.database.models import DBTaskResult
from guardian.shortcuts import get_objects_for_group
from tom_dataproducts.models import PhotometryReducedDatum
from tom_targets.models import Target, TargetName

from alerce_stream.handlers import ingest_classifications, look_up
from alerce_stream.models import LightCurveFetch
from alerce_stream.options import AlerceOptions
from alerce_stream.resolver import Position
from alerce_stream.testing import StubApi, light_curve
from tests.streams import entry
from tests.unit.alerce_stream.samples import STAMP, of
from tom_alertstreams.alerts import Alert, Outcome

pytestmark = pytest.mark.both_databases
NAME = "ZTF26aaaaaaa"
HANDLER = "alerce_stream.handlers.ingest_classifications"
DATABASE = {"default": {"BACKEND": "django_tasks.backends.database.DatabaseBackend"}}
IMMEDIATE = {"default": {"BACKEND": "django_tasks.backends.immediate.ImmediateBackend"}}
#: With it a task begins where it is enqueued, if we do not see to it.
HASTY = {"default": {**IMMEDIATE["default"], "ENQUEUE_ON_COMMIT": False}}


@pytest.fixture
def api() -> Iterator[StubApi]:
    with stamina.set_testing(True), StubApi({NAME: Position(150.0, 20.0)}) as running:
        yield running


@pytest.fixture
def queue() -> Iterator[None]:
    with override_settings(TASKS=DATABASE):
        yield


def stamp(name: str = NAME, candid: int = 1, **probabilities: float) -> Alert:
    return of({"objectId": name, "candid": candid, "probabilities": probabilities or STAMP}, offset=candid)


def handle(alerts: list[Alert], api: StubApi, **given: Any) -> list[Outcome]:
    """As the loop calls it: the look-up, then one transaction."""
    options = AlerceOptions(**{"api_url": api.url, "rate": 100, "classes": ["SN"], "light_curves": True, **given})
    found = look_up(alerts, options=options)
    with transaction.atomic():
        return ingest_classifications(alerts, found, options=options)


def work() -> list[str]:
    """Run the jobs that are due, as a worker would; how they ended."""
    worker = Worker(queue_names=["default"], interval=0, batch=True, backend_name="default", startup_delay=False)
    ended = []
    for row in DBTaskResult.objects.ready():
        row.claim()
        worker.run_task(row)
        row.refresh_from_db()
        ended.append(f"{row.status} {row.return_value or row.traceback}")
    return ended


def points() -> int:
    return int(PhotometryReducedDatum.objects.count())


def simulated() -> int:
    curve, _ = light_curve(NAME)
    return len(curve["detections"]) + len(curve["non_detections"])


@pytest.mark.django_db
class TestAsking:
    def test_a_created_target(self, api: StubApi, queue: None) -> None:
        assert [outcome.kind for outcome in handle([stamp()], api)] == ["done"]
        assert points() == 0
        assert api.light_curve_requests == []
        (ended,) = work()
        assert ended.startswith(f"SUCCEEDED {NAME}: {simulated()} points")
        assert points() == simulated()
        row = LightCurveFetch.objects.get()
        assert (row.target.name, row.object_id, row.points, row.problem) == (NAME, NAME, simulated(), "")
        assert row.fetched_at is not None
        assert set(PhotometryReducedDatum.objects.values_list("source_name", "source_location")) == {("ALeRCE", NAME)}

    def test_only_where_it_is_asked_for(self, api: StubApi, queue: None) -> None:
        Target.objects.create(name="ZTF26bbbbbbb", type="SIDEREAL", ra=10.0, dec=20.0)
        handle([stamp()], api, light_curves=False)
        handle([stamp(candid=2)], api, light_curves=["AGN"])
        refused = stamp("ZTF26bbbbbbb", 3, AGN=0.9, SN=0.1)  # its Target is known, the rules do not select it
        assert [outcome.kind for outcome in handle([refused], api)] == ["done"]
        assert not DBTaskResult.objects.exists()
        handle([stamp(candid=4)], api, light_curves=["SN"])
        assert DBTaskResult.objects.count() == 1

    def test_a_known_target_once_and_again_after_hours(self, api: StubApi, queue: None) -> None:
        target = Target.objects.create(name="SN 2026abc", type="SIDEREAL", ra=10.0, dec=20.0)
        TargetName.objects.create(target=target, name=NAME)
        for candid in range(1, 4):
            handle([stamp(candid=candid), stamp(candid=candid + 10)], api)
        assert DBTaskResult.objects.count() == 1
        assert LightCurveFetch.objects.get().target_id == target.pk
        work()
        assert set(PhotometryReducedDatum.objects.values_list("target", flat=True)) == {target.pk}
        LightCurveFetch.objects.update(asked_at=timezone.now() - timedelta(hours=13))
        handle([stamp(candid=20)], api)
        assert DBTaskResult.objects.count() == 1
        handle([stamp(candid=21)], api, light_curves_hours=12)
        assert DBTaskResult.objects.count() == 2
        (ended,) = work()
        assert "0 of them new" in ended
        assert points() == simulated()

    def test_objects_of_other_surveys_have_none(self, api: StubApi, queue: None) -> None:
        content = {
            "diaObjectId": 313853499177140359,
            "diaSourceId": 5,
            "ra": 40.0,
            "dec": -30.0,
            "probabilities": STAMP,
        }
        assert [outcome.kind for outcome in handle([of(content, "rubin_stamp_classifier")], api)] == ["done"]
        assert not DBTaskResult.objects.exists()

    def test_groups_see_the_points(self, api: StubApi, queue: None) -> None:
        with override_settings(TARGET_PERMISSIONS_ONLY=False):
            handle([stamp()], api, groups=["Supernovae"])
            work()
        group = Group.objects.get(name="Supernovae")
        seen = get_objects_for_group(group, "tom_dataproducts.view_photometryreduceddatum")
        assert seen.count() == points() == simulated()

    @pytest.mark.parametrize("value", ["SN", 1, [""], [3], None])
    def test_options_are_checked(self, value: Any) -> None:
        with pytest.raises(ValueError, match="LIGHT_CURVES is"):
            AlerceOptions(light_curves=value)

    @pytest.mark.parametrize("value", [0, "24", True, None])
    def test_hours_are_checked(self, value: Any) -> None:
        with pytest.raises(ValueError, match="LIGHT_CURVES_HOURS is"):
            AlerceOptions(light_curves_hours=value)


@pytest.mark.django_db(transaction=True)
class TestCommit:
    @pytest.mark.parametrize("tasks", [DATABASE, IMMEDIATE, HASTY], ids=["database", "immediate", "hasty"])
    def test_a_job_begins_after_the_commit(self, api: StubApi, tasks: dict[str, Any]) -> None:
        with override_settings(TASKS=tasks):
            with transaction.atomic():
                handle([stamp()], api)
                assert api.light_curve_requests == []
            work()
        assert api.light_curve_requests == [NAME]
        assert points() == simulated()

    @pytest.mark.parametrize("tasks", [DATABASE, IMMEDIATE, HASTY], ids=["database", "immediate", "hasty"])
    def test_a_batch_that_is_rolled_back_asks_for_nothing(self, api: StubApi, tasks: dict[str, Any]) -> None:
        with override_settings(TASKS=tasks):
            with transaction.atomic():
                handle([stamp()], api)
                transaction.set_rollback(True)
            assert work() == []
        assert not LightCurveFetch.objects.exists()
        assert api.light_curve_requests == []

    def test_the_job_commits_with_the_alerts(self, api: StubApi, queue: None) -> None:
        """Not after them: a process that dies in between would lose it."""
        with transaction.atomic():
            handle([stamp()], api)
            assert DBTaskResult.objects.count() == 1

    @pytest.mark.parametrize("tasks", [DATABASE, IMMEDIATE], ids=["database", "immediate"])
    def test_tryalert_asks_for_nothing(self, api: StubApi, tmp_path: Path, tasks: dict[str, Any]) -> None:
        file = tmp_path / "alert.json"
        file.write_text(json.dumps({"objectId": NAME, "candid": 1, "probabilities": STAMP}))
        options = {"CLASSES": ["SN"], "API_URL": api.url, "LIGHT_CURVES": True}
        streams = [entry("127.0.0.1:1", "group", {"stamp_classifier": {"HANDLER": HANDLER, "OPTIONS": options}})]
        out = io.StringIO()
        with override_settings(TASKS=tasks, ALERT_STREAMS=streams):
            call_command("tryalert", str(file), "--topic", "stamp_classifier", stdout=out, no_color=True)
        assert "alerce_stream.LightCurveFetch: 1 inserted" in out.getvalue()
        assert api.light_curve_requests == []
        assert not DBTaskResult.objects.exists()
        assert not LightCurveFetch.objects.exists()
        assert not Target.objects.exists()


@pytest.mark.django_db
class TestFailing:
    def later(self) -> None:
        """Time passes until the next try."""
        DBTaskResult.objects.filter(status="NEW").update(run_after=timezone.now())

    def test_an_api_that_is_down_is_asked_again(self, api: StubApi, queue: None) -> None:
        handle([stamp()], api)
        api.fail(503)
        (ended,) = work()
        assert ended.startswith(f"SUCCEEDED {NAME}: tried again at ")
        assert "503" in LightCurveFetch.objects.get().problem
        assert work() == []  # not yet
        (second,) = DBTaskResult.objects.filter(status="NEW")
        assert timedelta(minutes=9) < second.run_after - timezone.now() < timedelta(minutes=11)
        self.later()
        work()
        (third,) = DBTaskResult.objects.filter(status="NEW")
        assert timedelta(minutes=19) < third.run_after - timezone.now() < timedelta(minutes=21)
        api.recover()
        self.later()
        work()
        assert points() == simulated()
        assert LightCurveFetch.objects.get().problem == ""
        assert not DBTaskResult.objects.filter(status="NEW").exists()

    def test_a_database_that_is_locked_is_tried_again(
        self, api: StubApi, queue: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def locked(*_: Any) -> Any:
            raise OperationalError("database is locked")

        handle([stamp()], api)
        with monkeypatch.context() as patch:
            patch.setattr("alerce_stream.tasks.write_photometry", locked)
            (ended,) = work()
        assert "tried again" in ended
        assert LightCurveFetch.objects.get().problem == "database is locked"
        self.later()
        work()
        assert points() == simulated()

    def test_it_is_given_up_after_two_days_and_says_so(self, api: StubApi, queue: None) -> None:
        handle([stamp()], api)
        del api.positions[NAME]
        tries = 0
        asked = LightCurveFetch.objects.get().asked_at
        with pytest.MonkeyPatch.context() as patch:
            now = asked
            patch.setattr("alerce_stream.tasks.timezone.now", lambda: now)
            while job := DBTaskResult.objects.filter(status="NEW").first():
                now = job.run_after or asked
                DBTaskResult.objects.filter(pk=job.pk).update(run_after=None)
                (ended,) = work()
                tries += 1
        assert ended.startswith("FAILED")
        assert "NotFound" in ended
        assert timedelta(hours=42) < now - asked <= timedelta(hours=48)
        assert tries == 13
        assert f"does not know {NAME}" in LightCurveFetch.objects.get().problem

    def test_without_a_queue_that_can_wait_it_fails_at_once(
        self, api: StubApi, caplog: pytest.LogCaptureFixture, django_capture_on_commit_callbacks: Any
    ) -> None:
        with override_settings(TASKS=IMMEDIATE), django_capture_on_commit_callbacks(execute=True):
            handle([stamp()], api)
            api.fail(503)
        assert f"The light curve of {NAME} was not fetched: ALeRCE's API answered 503" in caplog.text
        assert Target.objects.count() == 1
        assert "503" in LightCurveFetch.objects.get().problem

    def test_a_target_that_was_deleted_meanwhile(self, api: StubApi, queue: None) -> None:
        handle([stamp()], api)
        Target.objects.all().delete()
        (ended,) = work()
        assert "not there any more" in ended
        assert api.light_curve_requests == []

    def test_jobs_that_pile_up_fetch_once(self, api: StubApi, queue: None) -> None:
        for candid in (1, 2, 3):  # nobody works for days
            handle([stamp(candid=candid)], api)
            LightCurveFetch.objects.update(asked_at=timezone.now() - timedelta(hours=30))
        assert len(work()) == 3
        assert api.light_curve_requests == [NAME]


class TestCheck:
    def found(self, light_curves: Any, tasks: dict[str, Any]) -> dict[str, str]:
        options = {"CLASSES": ["SN"], "PERMISSIONS": "PUBLIC", "LIGHT_CURVES": light_curves}
        streams = [entry("b:1", "g", {"stamp_classifier": {"HANDLER": HANDLER, "OPTIONS": options}}, label="alerce")]
        with override_settings(TASKS=tasks, ALERT_STREAMS=streams):
            return {str(message.id): message.msg for message in run_checks(tags=["alertstreams"])}

    def test_jobs_that_would_run_inside_readstreams(self) -> None:
        assert self.found(False, IMMEDIATE) == {}
        found = self.found(["SN"], IMMEDIATE)
        assert found["tom_alertstreams.W024"].startswith("alerce, topic stamp_classifier: LIGHT_CURVES is set")
        assert "tom_alertstreams.W024" not in self.found(True, DATABASE)

    def test_a_queue_that_is_not_there(self) -> None:
        tasks = {"default": {**DATABASE["default"], "QUEUES": ["slow"]}}
        assert "queue default" in self.found(True, tasks)["tom_alertstreams.W024"]

    def test_rules_that_select_nothing(self) -> None:
        for rules in ({"create": "never", "classes": ["SN"]}, {"create": "rules"}):
            assert "LIGHT_CURVES fetches nothing" in " ".join(AlerceOptions(**rules, light_curves=True).findings())
        for rules in ({"create": "always"}, {"classes": ["SN"]}):
            assert "LIGHT_CURVES" not in " ".join(AlerceOptions(**rules, light_curves=True).findings())
