"""ZTF alert packets (Avro, schema 3.x and 4.x), from ZTF itself or handed on by a broker."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from tom_alertstreams.alerts import Alert
from tom_alertstreams.exceptions import PermanentError, RejectAlert
from tom_alertstreams.ingest.options import IngestOptions
from tom_alertstreams.ingest.reports import PhotometryPoint, TargetReport
from tom_alertstreams.ingest.times import from_jd

from .fluxes import brightness
from .values import magnitude, magnitude_error, mapping, mappings, number, observed, text

#: Filter id → band, as the TOM Toolkit's ALeRCE service names them.
BANDS: Final = {1: "g", 2: "r", 3: "i"}

#: A detection this near to a known Solar System object (arcsec) is taken for it.
SOLAR_SYSTEM_RADIUS_ARCSEC: Final = 5.0

#: What forced photometry may say of itself: nothing, and that the reference has no source nearby.
_SOUND: Final = frozenset({"0", "57"})
#: Forced photometry has this where it has no value.
_NO_VALUE: Final = -99_999.0


def recognises(content: object) -> bool:
    """Content is a ZTF packet: an object id and a candidate."""
    return isinstance(content, Mapping) and "objectId" in content and isinstance(content.get("candidate"), Mapping)


def parse(alert: Alert, packet: Mapping[str, Any], options: IngestOptions) -> list[TargetReport]:
    """One report with the new detection and the history that comes with it.

    :raises RejectAlert: ``unsupported`` where the detection is of a Solar System object.
    """
    candidate = mapping(packet["candidate"])
    object_id = text(packet["objectId"])
    if not object_id:
        raise PermanentError("This ZTF packet has no objectId.")
    distance = number(candidate.get("ssdistnr"))
    if distance is not None and 0 <= distance <= SOLAR_SYSTEM_RADIUS_ARCSEC:
        raise RejectAlert("unsupported", object_id)
    # Brokers that rewrite packets with Spark leave the candid in the candidate only.
    candid = text(packet.get("candid")) or text(candidate.get("candid"))
    rows = (candidate, *mappings(packet.get("prv_candidates")))
    forced = [
        point
        for row in mappings(packet.get("fp_hists"))
        if (point := _forced_point(row, options.detection_snr)) is not None
    ]
    points = _one_an_exposure([point for row in rows if (point := _point(row)) is not None], forced)
    newest = _point(candidate)
    return [
        TargetReport(
            object_id=object_id,
            kind="survey",
            ra=number(candidate.get("ra")),
            dec=number(candidate.get("dec")),
            time=newest.time if newest else None,
            first_seen=observed(candidate.get("jdstarthist"), from_jd),
            photometry=tuple(points),
            alert_id=candid,
            summary=_summary(newest, len(points)),
        )
    ]


def _point(row: Mapping[str, Any]) -> PhotometryPoint | None:
    """The measurement of a candidate, or None where it holds none.

    A detection below the reference (``isdiffpos`` f or 0) is no brightness of the source: the limit of that image
    stands for it, the measurement stays beside it.
    """
    moment, band = _time(row), _band(row)
    if moment is None or band is None:
        return None
    size, error = magnitude(row.get("magpsf")), magnitude_error(row.get("sigmapsf"))
    limit = magnitude(row.get("diffmaglim"))
    value: dict[str, Any] = {}
    if candid := text(row.get("candid")):
        value["candid"] = candid
    if size is not None and row.get("isdiffpos") not in ("t", "1", True, 1):
        value |= {"isdiffpos": text(row.get("isdiffpos")), "magpsf": size, "sigmapsf": error}
        size = None
    if size is not None:
        return PhotometryPoint(moment, band, size, error, source="ZTF", value=value)
    if limit is None or limit < 0:
        return None
    return PhotometryPoint(moment, band, limit=limit, source="ZTF", value=value)


def _forced_point(row: Mapping[str, Any], snr: float) -> PhotometryPoint | None:
    """What was measured at the place of the object (``fp_hists``), or None where it is unsound or missing."""
    moment, band, zero_point = _time(row), _band(row), magnitude(row.get("magzpsci"))
    if moment is None or band is None or zero_point is None:
        return None
    flux, error = number(row.get("forcediffimflux")), number(row.get("forcediffimfluxunc"))
    if flux == _NO_VALUE or not _SOUND.issuperset((text(row.get("procstatus")) or "0").split(",")):
        return None
    measured = brightness(flux, error, snr, zero_point)
    if measured is None:
        return None
    return PhotometryPoint(
        moment, band, measured.magnitude, measured.magnitude_error, measured.limit, source="ZTF", value=measured.value
    )


def _one_an_exposure(points: list[PhotometryPoint], forced: list[PhotometryPoint]) -> list[PhotometryPoint]:
    """The candidates, forced photometry where there is none, and in place of a limit where it detects something."""
    candidates = {_exposure(point) for point in points if point.magnitude is not None or "magpsf" in point.value}
    limits = {_exposure(point) for point in points} - candidates
    found = {_exposure(point) for point in forced if point.magnitude is not None} & limits
    kept = [point for point in points if _exposure(point) not in found]
    taken = candidates | (limits - found)
    return kept + [point for point in forced if _exposure(point) not in taken]


def _exposure(point: PhotometryPoint) -> tuple[datetime, str]:
    return point.time, point.band


def _time(row: Mapping[str, Any]) -> datetime | None:
    return observed(row.get("jd"), from_jd)


def _band(row: Mapping[str, Any]) -> str | None:
    return BANDS.get(int(number(row.get("fid")) or 0))


def _summary(newest: PhotometryPoint | None, points: int) -> str:
    if newest is None:
        return f"ZTF packet, {points} points"
    if newest.magnitude is not None:
        return f"{newest.band} = {newest.magnitude:.2f} mag, {points} points"
    return f"{newest.band} > {newest.limit:.2f} mag, {points} points"
