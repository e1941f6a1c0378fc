"""ZTF alert packets (Avro, schema 3.x and 4.x), from ZTF itself or handed on by a broker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tom_alertstreams.alerts import Alert
from tom_alertstreams.exceptions import PermanentError, RejectAlert
from tom_alertstreams.ingest.options import IngestOptions
from tom_alertstreams.ingest.reports import PhotometryPoint, TargetReport
from tom_alertstreams.ingest.times import from_jd

from .values import mapping, mappings, number, text

#: Filter id → band, as the TOM Toolkit's ALeRCE service names them.
BANDS: Final = {1: "g", 2: "r", 3: "i"}

#: A detection this near to a known Solar System object (arcsec) is taken for it.
SOLAR_SYSTEM_RADIUS_ARCSEC: Final = 5.0


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
    history = mappings(packet.get("prv_candidates"))
    points = [point for row in (candidate, *history) if (point := _point(row)) is not None]
    newest = _point(candidate)
    return [
        TargetReport(
            object_id=object_id,
            kind="survey",
            ra=number(candidate.get("ra")),
            dec=number(candidate.get("dec")),
            time=newest.time if newest else None,
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
    jd, band = number(row.get("jd")), BANDS.get(int(number(row.get("fid")) or 0))
    if jd is None or band is None:
        return None
    magnitude, error, limit = (number(row.get(key)) for key in ("magpsf", "sigmapsf", "diffmaglim"))
    positive = row.get("isdiffpos") in ("t", "1", True, 1)
    value: dict[str, Any] = {}
    if candid := text(row.get("candid")):
        value["candid"] = candid
    if magnitude is not None and not positive:
        value |= {"isdiffpos": text(row.get("isdiffpos")), "magpsf": magnitude, "sigmapsf": error}
        magnitude = None
    if magnitude is None:
        if limit is None or limit < 0:  # ZTF writes -999 for "none"
            return None
        return PhotometryPoint(from_jd(jd), band, limit=limit, source="ZTF", value=value)
    return PhotometryPoint(from_jd(jd), band, magnitude, error, source="ZTF", value=value)


def _summary(newest: PhotometryPoint | None, points: int) -> str:
    if newest is None:
        return f"ZTF packet, {points} points"
    if newest.magnitude is not None:
        return f"{newest.band} = {newest.magnitude:.2f} mag, {points} points"
    return f"{newest.band} > {newest.limit:.2f} mag, {points} points"
