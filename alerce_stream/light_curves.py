"""Light curves from ALeRCE's API: detections, limits and forced photometry as points.

Brightness, error, band, time and source are those of the TOM Toolkit's own ALeRCE service, so that a light curve that was
queried by hand and the same one fetched here have the same rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote, urljoin

from tom_alertstreams.ingest.parsers.fluxes import brightness
from tom_alertstreams.ingest.parsers.values import magnitude, magnitude_error, mapping, number, observed, text
from tom_alertstreams.ingest.parsers.ztf import BANDS
from tom_alertstreams.ingest.reports import PhotometryPoint
from tom_alertstreams.ingest.times import from_mjd

from .api import NotFound, get_json, not_as_expected

#: What the toolkit's service calls it.
SOURCE: Final = "ALeRCE"
#: Kept beside the magnitude of the difference image: the source's own where ALeRCE has corrected for the reference.
_CORRECTED: Final = ("magpsf_corr", "sigmapsf_corr", "sigmapsf_corr_ext")
#: What forced photometry may say of itself: nothing, and that the reference has no source nearby.
_SOUND: Final = frozenset({"0", "57"})
#: The flux that stands for none.
_NO_FLUX: Final = 99_999.0

Row = Mapping[str, Any]


def has_light_curve(object_id: str) -> bool:
    """The API has light curves of ZTF's objects only."""
    return object_id.startswith("ZTF")


def fetch_points(object_id: str, api_url: str, *, rate: float, detection_snr: float) -> tuple[PhotometryPoint, ...]:
    """The whole light curve of an object.

    :param rate: requests a second.
    :param detection_snr: forced photometry of at least so many times its error is a detection.
    :raises NotFound: the API does not know the object.
    :raises LookUpUnavailable: it does not answer, or not as it should.
    """
    url = f"{api_url}/objects/{quote(object_id, safe='')}/lightcurve"
    try:
        content = get_json(url, rate=rate)
    except NotFound as error:
        raise NotFound(f"ALeRCE's API does not know {object_id}: 404 for {url}.") from error
    detections, limits = (_rows(url, mapping(content).get(name)) for name in ("detections", "non_detections"))
    # Not below API_URL: only the second version of the API has it.
    url = urljoin(api_url, f"/v2/lightcurve/forced-photometry/{quote(object_id, safe='')}")
    try:
        forced = _rows(url, get_json(url, rate=rate))
    except NotFound:
        forced = []
    return points_of(detections, limits, forced, detection_snr)


def _rows(url: str, content: object) -> list[Row]:
    if not isinstance(content, list) or not all(isinstance(row, Mapping) for row in content):
        raise not_as_expected(url, "no light curve")
    return content


def points_of(
    detections: Iterable[Row], limits: Iterable[Row], forced: Iterable[Row], detection_snr: float
) -> tuple[PhotometryPoint, ...]:
    """One point for each exposure: of a detection, else of forced photometry that detects something, else of a limit.

    A detection below the reference (``isdiffpos`` -1) is no brightness of the source: its exposure has no point.
    """
    found = [(row, point) for row in detections if (point := _detection(row)) is not None]
    detected = _exposures(point for _, point in found)
    below = [point for row in forced if (point := _forced(row, detection_snr)) is not None]
    below = [point for point in below if _exposure(point) not in detected]
    revealed = _exposures(point for point in below if point.magnitude is not None)
    above = [point for row in limits if (point := _limit(row)) is not None and _exposure(point) not in revealed]
    limited = _exposures(above)
    return (
        *(point for row, point in found if _is_positive(row)),
        *above,
        *(point for point in below if point.magnitude is not None or _exposure(point) not in limited),
    )


def _detection(row: Row) -> PhotometryPoint | None:
    moment, band, size = observed(row.get("mjd"), from_mjd), _band(row), magnitude(row.get("magpsf"))
    if moment is None or band is None or size is None:
        return None
    value: dict[str, Any] = {name: kept for name in _CORRECTED if (kept := magnitude(row.get(name))) is not None}
    if candid := text(row.get("candid")):
        value["candid"] = candid
    if row.get("dubious") is True:
        value["dubious"] = True
    return PhotometryPoint(moment, band, size, magnitude_error(row.get("sigmapsf")), source=SOURCE, value=value)


def _limit(row: Row) -> PhotometryPoint | None:
    moment, band, limit = observed(row.get("mjd"), from_mjd), _band(row), magnitude(row.get("diffmaglim"))
    if moment is None or band is None or limit is None or limit < 0:
        return None
    return PhotometryPoint(moment, band, limit=limit, source=SOURCE)


def _forced(row: Row, snr: float) -> PhotometryPoint | None:
    """The API has the magnitude of the absolute flux, the error of that, and the flux's sign."""
    moment, band, size = observed(row.get("mjd"), from_mjd), _band(row), magnitude(row.get("mag"))
    error = magnitude_error(row.get("e_mag"))
    extra = mapping(row.get("extra_fields"))
    if moment is None or band is None or size is None or error is None:
        return None
    if not _SOUND.issuperset((text(extra.get("procstatus")) or "0").split(",")):
        return None
    zero_point = number(extra.get("magzpsci"))
    if zero_point is not None and abs(10 ** (0.4 * (zero_point - size)) - _NO_FLUX) < 1:
        return None
    # In units of the absolute flux.
    flux = 1.0 if _is_positive(row) else -1.0
    measured = brightness(flux, error * math.log(10) / 2.5, snr, zero_point=size)
    if measured is None:
        return None
    return PhotometryPoint(
        moment, band, measured.magnitude, measured.magnitude_error, measured.limit, source=SOURCE, value=measured.value
    )


def _is_positive(row: Row) -> bool:
    return row.get("isdiffpos") in (1, "1", "t", True)


def _band(row: Row) -> str | None:
    return BANDS.get(int(number(row.get("fid")) or 0))


def _exposures(points: Iterable[PhotometryPoint]) -> set[tuple[str, int]]:
    """The seconds of these points and those beside them: each table of ALeRCE's rounds times in its own way."""
    return {
        (point.band, second + beside) for point in points for beside in (-1, 0, 1) for _, second in [_exposure(point)]
    }


def _exposure(point: PhotometryPoint) -> tuple[str, int]:
    return point.band, int(point.time.timestamp())
