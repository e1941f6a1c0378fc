"""Alerts whose fields FIELDS names: any flat JSON or Avro, such as the columns a user chose at Lasair."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from tom_alertstreams.alerts import Alert
from tom_alertstreams.exceptions import PermanentError, RejectAlert
from tom_alertstreams.ingest.fields import Fields
from tom_alertstreams.ingest.options import IngestOptions
from tom_alertstreams.ingest.reports import PhotometryPoint, TargetReport
from tom_alertstreams.ingest.times import from_jd, from_mjd, from_mjd_tai

from .coordinates import dec_deg, ra_deg
from .fluxes import brightness
from .values import magnitude, magnitude_error, observed, text, texts, time

Reader = Callable[[str | None], Any]


def parse(alert: Alert, content: Any, options: IngestOptions) -> list[TargetReport]:
    """One report with one point, or without any where time, band or brightness are missing.

    :raises RejectAlert: ``unsupported`` for what has no fields.
    :raises PermanentError: the object has no name.
    """
    fields: Fields = options.fields
    if not isinstance(content, Mapping):
        raise RejectAlert("unsupported")
    get = fields.reader(content)
    object_id = text(get(fields.object_id))
    if not object_id:
        raise PermanentError(f"The alert has no {fields.object_id}, which FIELDS names as object_id.")
    moment = _time(get, fields)
    point = _point(get, fields, moment, options.detection_snr, alert.stream)
    return [
        TargetReport(
            object_id=object_id,
            kind="survey",
            ra=ra_deg(get(fields.ra)),
            dec=dec_deg(get(fields.dec)),
            aliases=tuple(name for field in fields.aliases for name in texts(get(field))),
            time=moment,
            photometry=() if point is None else (point,),
            alert_id=text(get(fields.alert_id)),
            summary=_summary(point),
        )
    ]


def _time(get: Reader, fields: Fields) -> datetime | None:
    """UTC; None where there is none, or what is there is no date."""
    if fields.time is not None:
        return time(get(fields.time))
    if fields.mjd is not None:
        return observed(get(fields.mjd), from_mjd)
    if fields.jd is not None:
        return observed(get(fields.jd), from_jd)
    return observed(get(fields.mjd_tai), from_mjd_tai)


def _point(get: Reader, fields: Fields, moment: datetime | None, snr: float, source: str) -> PhotometryPoint | None:
    """A magnitude where the alert gives one, else what the flux says."""
    band = text(get(fields.band))
    if moment is None or not band:
        return None
    of_flux = brightness(get(fields.flux_njy), get(fields.flux_error_njy), snr) if fields.flux_njy else None
    value = of_flux.value if of_flux is not None else {}
    if (seen := magnitude(get(fields.mag))) is not None:
        return PhotometryPoint(moment, band, seen, magnitude_error(get(fields.mag_error)), source=source, value=value)
    if of_flux is None:
        return None
    return PhotometryPoint(
        moment, band, of_flux.magnitude, of_flux.magnitude_error, of_flux.limit, source=source, value=value
    )


def _summary(point: PhotometryPoint | None) -> str:
    if point is None:
        return "no photometry"
    sign, size = (">", point.limit) if point.magnitude is None else ("=", point.magnitude)
    return f"{point.band} {sign} {size:.2f} mag"
