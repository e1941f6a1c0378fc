"""The handlers that are measured."""

from __future__ import annotations

import json
from typing import Any

from tom_dataproducts.models import PhotometryReducedDatum
from tom_targets.models import Target

from tom_alertstreams.alerts import Alert, Outcome
from tom_alertstreams.handlers import Mark, alert_handler, batch_handler
from tom_alertstreams.ingest.handlers import ingest_reports
from tom_alertstreams.ingest.options import IngestOptions
from tom_alertstreams.ingest.reports import PhotometryPoint, TargetReport
from tom_alertstreams.ingest.times import from_mjd


def store(message: Any) -> None:
    """A per-alert handler of 1.x as users write it: get_or_create of a Target and of a photometry row."""
    row = json.loads(message.value())
    target, _ = Target.objects.get_or_create(
        name=row["objectId"], defaults={"type": "SIDEREAL", "ra": row["ra"], "dec": row["dec"]}
    )
    PhotometryReducedDatum.objects.get_or_create(
        target=target,
        timestamp=from_mjd(row["mjd"]),
        bandpass=row["band"],
        brightness=row["mag"],
        defaults={"brightness_error": row["mag_error"], "unit": "mag", "source_name": "bench", "value": {}},
    )


def nothing(message: Any) -> None:
    """A 1.x handler that does nothing with the alert but look at it."""
    json.loads(message.value())


@alert_handler
def look(alert: Alert) -> None:
    """Nothing, of each."""
    _ = alert.content


@batch_handler
def look_at_all(alerts: list[Alert]) -> None:
    """Nothing, of all."""
    for alert in alerts:
        _ = alert.content


@batch_handler(**({"cutouts": False} if "cutouts" in Mark.__dataclass_fields__ else {}))
def look_without_cutouts(alerts: list[Alert]) -> None:
    """Nothing, of all, but of packets without their images."""
    for alert in alerts:
        _ = alert.content


@batch_handler(options=IngestOptions)
def ingest_flat(alerts: list[Alert], *, options: IngestOptions) -> list[Outcome]:
    """The alerts of corpus.py as Targets, where ingest_targets has no FIELDS."""
    return ingest_reports([[_report(alert.content)] for alert in alerts], alerts, options)


def _report(row: dict[str, Any]) -> TargetReport:
    point = PhotometryPoint(from_mjd(row["mjd"]), row["band"], row["mag"], row["mag_error"], source="bench")
    return TargetReport(
        object_id=row["objectId"],
        kind="survey",
        ra=row["ra"],
        dec=row["dec"],
        time=point.time,
        photometry=(point,),
        alert_id=str(row["candid"]),
    )
