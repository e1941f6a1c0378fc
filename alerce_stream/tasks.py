"""The job that fetches a light curve, and how alerts ask for it. It runs in ``manage.py db_worker``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, OperationalError, router, transaction
from django.utils import timezone
from django_tasks import Task, task
from django_tasks.backends.database.backend import DatabaseBackend
from tom_targets.models import BaseTarget, TargetName

from tom_alertstreams.exceptions import LookUpUnavailable
from tom_alertstreams.ingest.bulk import any_of
from tom_alertstreams.ingest.cleaning import clean_text, cleaned
from tom_alertstreams.ingest.photometry import write_photometry
from tom_alertstreams.ingest.reports import PhotometryPoint, TargetReport
from tom_alertstreams.ingest.targets import newest_point, show_points
from tom_alertstreams.logs import get_logger

from .light_curves import fetch_points, has_light_curve
from .models import LightCurveFetch
from .options import AlerceOptions

logger = get_logger(__name__)

#: Seconds until a job that failed is tried again, then twice as many, …
_FIRST_DELAY_S: Final = 600.0
_LONGEST_DELAY_S: Final = 6 * 3600.0
#: … and it is given up so many seconds after it was asked for.
_GIVE_UP_AFTER_S: Final = 48 * 3600.0


def ask_for_light_curves(object_ids: Iterable[str], options: AlerceOptions) -> None:
    """Enqueue a job for each Target of these names whose light curve was not asked for lately.

    Inside the transaction of the batch: the jobs begin after its commit, and not at all where it is rolled back.
    """
    targets = _targets_of(sorted(set(filter(has_light_curve, object_ids))))
    now = timezone.now()
    rows = LightCurveFetch.objects.filter(any_of("target_id", sorted(targets)))
    lately = rows.filter(asked_at__gt=now - timedelta(hours=options.light_curves_hours))
    due = sorted(targets.keys() - set(lately.values_list("target_id", flat=True)))
    if not due:
        return
    LightCurveFetch.objects.bulk_create(
        [LightCurveFetch(target_id=pk, object_id=targets[pk], asked_at=now) for pk in due],
        update_conflicts=True,
        unique_fields=["target"],
        update_fields=["object_id", "asked_at"],
    )
    _enqueue([_job(pk, targets[pk], now, options) for pk in due])


def _targets_of(names: Sequence[str]) -> dict[int, str]:
    """Targets (pk) that go by these names, with the name."""
    aliases = TargetName.objects.filter(any_of("name", names)).values_list("target_id", "name")
    own = BaseTarget.objects.filter(any_of("name", names)).values_list("pk", "name")
    return {**dict(aliases), **dict(own)}


def _job(target_id: int, object_id: str, asked_at: datetime, options: AlerceOptions) -> dict[str, Any]:
    return {
        "target_id": target_id,
        "object_id": object_id,
        "asked_at": asked_at.isoformat(),
        "api_url": options.address,
        "rate": options.requests_a_second,
        "detection_snr": options.detection_snr,
        "groups": list(options.groups),
    }


def _enqueue(jobs: Sequence[Mapping[str, Any]], run_after: datetime | None = None) -> None:
    job_of = fetch_light_curve if run_after is None else fetch_light_curve.using(run_after=run_after)
    if _jobs_are_in_our_database():
        # Rows like those of the alerts: they commit with them, so none is lost where the process dies right after.
        _enqueue_each(replace(job_of, enqueue_on_commit=False), jobs)
    else:
        transaction.on_commit(partial(_enqueue_each, job_of, jobs), robust=True)


def _enqueue_each(job_of: Task[Any, str], jobs: Sequence[Mapping[str, Any]]) -> None:
    for job in jobs:
        job_of.enqueue(**job)


def _jobs_are_in_our_database() -> bool:
    if not isinstance(fetch_light_curve.get_backend(), DatabaseBackend):
        return False
    from django_tasks.backends.database.models import DBTaskResult

    return router.db_for_write(DBTaskResult) == DEFAULT_DB_ALIAS


@task()
def fetch_light_curve(
    target_id: int,
    object_id: str,
    asked_at: str,
    api_url: str,
    rate: float,
    detection_snr: float,
    groups: list[str],
    attempt: int = 1,
) -> str:
    """Fetch the light curve of an object and write what its Target does not have.

    :param asked_at: ISO 8601.
    :returns: what was done, in words.
    :raises LookUpUnavailable: ALeRCE's API did not answer, or does not know the object, and it is not tried again.
    :raises OperationalError: the database was locked or in conflict, likewise.
    """
    rows = LightCurveFetch.objects.filter(pk=target_id)
    if not rows.exists():
        return f"{object_id}: its Target is not there any more."
    if rows.filter(fetched_at__gte=asked_at).exists():
        return f"{object_id}: fetched meanwhile."
    try:
        points = fetch_points(object_id, api_url, rate=rate, detection_snr=detection_snr)
        new = _write(target_id, object_id, points, groups)
    except (LookUpUnavailable, OperationalError) as error:
        rows.update(problem=clean_text(str(error)))
        again = _next_try(asked_at, attempt)
        if again is None:
            logger.warning("The light curve of %s was not fetched: %s", object_id, error)
            raise
        job = {
            "target_id": target_id, "object_id": object_id, "asked_at": asked_at, "api_url": api_url, "rate": rate,
            "detection_snr": detection_snr, "groups": groups, "attempt": attempt + 1,
        }  # fmt: skip
        _enqueue([job], run_after=again)
        return f"{object_id}: tried again at {again:%Y-%m-%d %H:%M} UTC. {error}"
    return f"{object_id}: {len(points)} points, {new} of them new."


def _next_try(asked_at: str, attempt: int) -> datetime | None:
    """When to try again; None: never."""
    if not fetch_light_curve.get_backend().supports_defer:
        return None
    now = timezone.now()
    again = now + timedelta(seconds=min(_FIRST_DELAY_S * 2 ** (attempt - 1), _LONGEST_DELAY_S))
    return again if again <= datetime.fromisoformat(asked_at) + timedelta(seconds=_GIVE_UP_AFTER_S) else None


def _write(target_id: int, object_id: str, points: tuple[PhotometryPoint, ...], groups: Sequence[str]) -> int:
    """Write the points that the Target does not have; return how many those are."""
    report = cleaned(TargetReport(object_id, kind="survey", photometry=points))
    with transaction.atomic():
        # Who writes points of a Target holds its row, as streams do.
        list(BaseTarget.objects.filter(pk=target_id).select_for_update(no_key=True).values_list("pk"))
        rows = LightCurveFetch.objects.filter(pk=target_id)
        if not rows.exists():
            return 0  # the Target was deleted meanwhile
        shown = bool(groups) and not getattr(settings, "TARGET_PERMISSIONS_ONLY", True)
        since = newest_point() if shown else 0
        (new,) = write_photometry([(target_id, report.photometry, object_id)], set())
        if shown and new:
            show_points(since, [target_id], groups)
        rows.update(fetched_at=timezone.now(), points=new, problem="")
    return new
