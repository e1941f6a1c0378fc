"""Alert packets of LSST (Avro, schemas v7 to v11), as Rubin sends them and as brokers such as Fink hand them on.

What is absent is null, an id of 0, or an object whose fields are all null: only the ids tell what a packet is about.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from tom_alertstreams.alerts import Alert
from tom_alertstreams.exceptions import RejectAlert
from tom_alertstreams.ingest.options import IngestOptions
from tom_alertstreams.ingest.reports import PhotometryPoint, TargetReport
from tom_alertstreams.ingest.times import from_mjd_tai

from .fluxes import NJY_ZERO_POINT, brightness
from .orbits import orbital_elements
from .values import mapping, mappings, number, observed, text


@dataclass(frozen=True)
class Survey:
    """How a survey with Rubin's packets calls what is in its sources."""

    name: str = "LSST"
    time: str = "midpointMjdTai"
    #: In the diaObject; ELAsTiCC has none.
    first_time: str = "firstDiaSourceMjdTai"
    band: str = "band"
    flux: str = "psfFlux"
    error: str = "psfFluxErr"
    dec: str = "dec"
    #: AB magnitude of a source of flux 1.
    zero_point: float = NJY_ZERO_POINT


LSST: Final = Survey()

#: Above this a date is no MJD but its seconds, as in packets of the time of schema v7.
_LAST_MJD: Final = 1_000_000.0
_SECONDS_A_DAY: Final = 86_400.0


def recognises(content: object) -> bool:
    """Content has a diaSource with a time as LSST calls it."""
    return isinstance(content, Mapping) and LSST.time in mapping(content.get("diaSource"))


def parse(alert: Alert, packet: Mapping[str, Any], options: IngestOptions) -> list[TargetReport]:
    """One report with the new detection and the history that comes with it.

    :raises RejectAlert: ``unsupported`` where the detection belongs to no object.
    """
    return [report(packet, LSST, options.detection_snr)]


def report(packet: Mapping[str, Any], survey: Survey, snr: float) -> TargetReport:
    """What a packet says.

    A detection with an ssObjectId moves: it goes by its designation, and has the orbit of the Minor Planet Center.
    """
    source = mapping(packet["diaSource"])
    newest = _point(source, survey, snr)
    points = _points(packet, survey, snr)
    orbit = _orbit(packet)
    moving = _id(source.get("ssObjectId"))
    if moving:
        object_id = _designation(packet, orbit) or moving
        aliases = (moving,) if object_id != moving else ()
    else:
        object_id = _id(source.get("diaObjectId")) or _id(mapping(packet.get("diaObject")).get("diaObjectId"))
        aliases = ()
    if not object_id:
        raise RejectAlert("unsupported")
    errors = [error for key in ("raErr", "decErr") if (error := number(source.get(key))) is not None]
    return TargetReport(
        object_id=object_id,
        kind="survey",
        ra=number(source.get("ra")),
        dec=number(source.get(survey.dec)),
        position_error_deg=max(errors, default=None),
        moving=bool(moving),
        elements=orbital_elements(orbit) if moving else None,
        aliases=aliases,
        time=_time(source, survey),
        # Of what stays in its place: a Solar System object belongs to no diaObject.
        first_seen=None if moving else _moment(mapping(packet.get("diaObject")).get(survey.first_time)),
        photometry=points,
        alert_id=_alert_id(packet, source, newest),
        summary=_summary(newest, len(points), survey),
    )


def _points(packet: Mapping[str, Any], survey: Survey, snr: float) -> tuple[PhotometryPoint, ...]:
    """What was detected; and what was measured at the place of the object in exposures where it was not."""
    sources = (mapping(packet["diaSource"]), *mappings(packet.get("prvDiaSources")))
    points = [point for row in sources if (point := _point(row, survey, snr)) is not None]
    exposures = {(point.time, point.band) for point in points if not point.withdrawn}
    for row in mappings(packet.get("prvDiaForcedSources")):
        point = _point(row, survey, snr)
        if point is not None and (point.withdrawn or (point.time, point.band) not in exposures):
            points.append(point)
    return tuple(points)


def _point(row: Mapping[str, Any], survey: Survey, snr: float) -> PhotometryPoint | None:
    """The measurement of a source, or None where time, band, flux or its error are missing."""
    moment, band = _time(row, survey), text(row.get(survey.band))
    measured = brightness(row.get(survey.flux), row.get(survey.error), snr, survey.zero_point)
    if moment is None or not band or measured is None:
        return None
    if source_id := _id(row.get("diaSourceId")):
        measured.value["diaSourceId"] = source_id
    return PhotometryPoint(
        moment,
        band,
        measured.magnitude,
        measured.magnitude_error,
        measured.limit,
        source=survey.name,
        value=measured.value,
        withdrawn=(number(row.get("timeWithdrawnMjdTai")) or 0.0) > 0,
    )


def _time(row: Mapping[str, Any], survey: Survey) -> datetime | None:
    return _moment(row.get(survey.time))


def _moment(value: object) -> datetime | None:
    date = number(value)
    if date is not None and date > _LAST_MJD:
        date /= _SECONDS_A_DAY
    return observed(date, from_mjd_tai)


def _id(value: object) -> str:
    """An id as text, exact; empty for null and 0."""
    word = text(value)
    return "" if word == "0" else word


def _orbit(packet: Mapping[str, Any]) -> Mapping[str, Any]:
    return mapping(packet.get("mpc_orbits")) or mapping(packet.get("MPCORB"))


def _designation(packet: Mapping[str, Any], orbit: Mapping[str, Any]) -> str:
    named = (orbit.get("designation"), mapping(packet.get("ssSource")).get("designation"), orbit.get("mpcDesignation"))
    return next((word for word in map(text, named) if word), "")


def _alert_id(packet: Mapping[str, Any], source: Mapping[str, Any], newest: PhotometryPoint | None) -> str:
    """The id of the detection. That it is withdrawn is another alert than that it was seen."""
    alert_id = next(
        (
            word
            for holder, key in ((source, "diaSourceId"), (packet, "diaSourceId"), (packet, "alertId"))
            if (word := _id(holder.get(key)))
        ),
        "",
    )
    return f"{alert_id} withdrawn" if alert_id and newest is not None and newest.withdrawn else alert_id


def _summary(newest: PhotometryPoint | None, points: int, survey: Survey) -> str:
    if newest is None:
        return f"{survey.name} packet, {points} points"
    sign, size = (">", newest.limit) if newest.magnitude is None else ("=", newest.magnitude)
    return f"{newest.band} {sign} {size:.2f} mag, {points} points"
