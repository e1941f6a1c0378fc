"""Messages that list targets and their photometry: Hermes (``hermes.*`` on SCiMMA), and BOOM's GCN notices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tom_alertstreams.alerts import Alert
from tom_alertstreams.exceptions import RejectAlert
from tom_alertstreams.ingest.options import IngestOptions
from tom_alertstreams.ingest.reports import ClassificationReport, OrbitalElements, PhotometryPoint, TargetReport

from .coordinates import dec_deg, ra_deg
from .orbits import orbital_elements
from .values import magnitude as magnitude_of
from .values import magnitude_error, mapping, mappings, number, text, texts, time

#: Units of brightness that are magnitudes, in lower case. Fluxes are left out.
MAGNITUDES: Final = frozenset({"ab mag", "vega mag", "ab", "vega", "mag"})

_DEGREES: Final = {
    "degrees": 1.0, "degree": 1.0, "deg": 1.0, "arcminutes": 1 / 60, "arcmin": 1 / 60, "arcseconds": 1 / 3600,
    "arcsec": 1 / 3600, "milliarcseconds": 1 / 3_600_000, "mas": 1 / 3_600_000,
}  # fmt: skip

#: What BOOM calls ZTF's bands, and what everybody else does.
_BANDS_OF_BOOM: Final = {"ztfg": "g", "ztfr": "r", "ztfi": "i"}


def recognises(content: object) -> bool:
    """Content has data with a list of targets."""
    return isinstance(content, Mapping) and isinstance(mapping(content.get("data")).get("targets"), list)


def parse(alert: Alert, message: Mapping[str, Any], options: IngestOptions) -> list[TargetReport]:
    """One report per target that has a name; a moving object must have an orbit.

    :raises RejectAlert: ``unsupported`` where no target is left.
    """
    data = mapping(message.get("data"))
    photometry = mappings(data.get("photometry"))
    reports = [
        _report(alert, message, target, [row for row in photometry if _target_of(row) == _name(target)])
        for target in mappings(data.get("targets"))
        if _name(target) and (not _is_moving(target) or _elements(target) is not None)
    ]
    if not reports:
        raise RejectAlert("unsupported")
    return reports


def _name(target: Mapping[str, Any]) -> str:
    return text(target.get("name")) or text(target.get("event_name"))


def _target_of(row: Mapping[str, Any]) -> str:
    return text(row.get("target_name")) or text(row.get("event_name"))


def _is_moving(target: Mapping[str, Any]) -> bool:
    """Orbital elements are given and at least one of them has a value."""
    return any(value not in (None, "") for value in mapping(target.get("orbital_elements")).values())


def _elements(target: Mapping[str, Any]) -> OrbitalElements | None:
    return orbital_elements(mapping(target.get("orbital_elements")))


def _report(
    alert: Alert, message: Mapping[str, Any], target: Mapping[str, Any], rows: list[Mapping[str, Any]]
) -> TargetReport:
    broker = "BOOM" if "/boom/" in text(message.get("$schema")) else "Hermes"
    source = text(message.get("submitter")) or broker
    points = tuple(point for row in rows if (point := _point(row, source, broker)) is not None)
    title = text(message.get("title")) or "message"
    ra, dec = ra_deg(target.get("ra")), dec_deg(target.get("dec"))
    return TargetReport(
        object_id=_name(target),
        kind="notice",
        ra=ra,
        dec=dec,
        # Submitters name sources; one who knows the position only roughly says so.
        position_error_deg=_error_deg(target) or 0.0,
        moving=_is_moving(target),
        elements=_elements(target),
        aliases=texts(target.get("aliases")),
        time=alert.timestamp,
        photometry=points,
        classifications=_classifications(target, broker),
        extras=_extras(target, mapping(message.get("data"))),
        summary=f"{title}, {len(points)} points" if points else title,
    )


def _error_deg(target: Mapping[str, Any]) -> float | None:
    """The larger of the two errors, in degrees; without a unit they are degrees."""
    errors = [
        value * _DEGREES.get(text(target.get(f"{key}_units")).lower(), 1.0)
        for key in ("ra_error", "dec_error")
        if (value := number(target.get(key))) is not None
    ]
    return max(errors, default=None)


def _point(row: Mapping[str, Any], source: str, broker: str) -> PhotometryPoint | None:
    """A magnitude or a limit; None for fluxes, and where time or band are missing."""
    moment = time(_first(row, "date_obs", "observation_start"))
    band = next(iter((*texts(row.get("bandpass")), *texts(row.get("filter")))), "")
    if moment is None or not band:
        return None
    if broker == "BOOM":
        band = _BANDS_OF_BOOM.get(band, band)
    magnitude = magnitude_of(_first(row, "brightness", "mag"))
    error = magnitude_error(_first(row, "brightness_error", "mag_error"))
    limit = magnitude_of(_first(row, "limiting_brightness", "limiting_mag"))
    if not _is_magnitude(row, "brightness_unit", "mag_system"):
        magnitude = None
    if not _is_magnitude(row, "limiting_brightness_unit", "brightness_unit", "mag_system"):
        limit = None
    if magnitude is None and limit is None:
        return None
    value: dict[str, Any] = {"unit": text(row.get("brightness_unit")) or text(row.get("mag_system"))}
    if magnitude is not None and limit is not None:
        value["limiting_brightness"] = limit
        limit = None
    return PhotometryPoint(
        time=moment,
        band=band,
        magnitude=magnitude,
        magnitude_error=error if magnitude is not None else None,
        limit=limit,
        telescope=text(row.get("telescope")) or text(row.get("mission")),
        instrument=text(row.get("instrument")),
        source=source,
        exposure_s=number(row.get("exposure_time")),
        value={key: word for key, word in value.items() if word != ""},
    )


def _first(row: Mapping[str, Any], *keys: str) -> Any:
    return next((row[key] for key in keys if row.get(key) not in (None, "")), None)


def _is_magnitude(row: Mapping[str, Any], *keys: str) -> bool:
    """The first unit given is a magnitude; none given: Hermes' default, AB magnitudes."""
    unit = text(_first(row, *keys)).lower()
    return not unit or unit in MAGNITUDES


def _classifications(target: Mapping[str, Any], classifier: str) -> tuple[ClassificationReport, ...]:
    rows = [
        (name, number(item.get("probability")))
        for item in mappings(target.get("classifications"))
        if (name := text(item.get("classification")))
    ]
    rows.sort(key=lambda row: -(row[1] or 0.0))
    return tuple(
        ClassificationReport(classifier, name, probability, ranking=rank)
        for rank, (name, probability) in enumerate(rows, start=1)
    )


def _extras(target: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    extras: dict[str, Any] = {}
    for key in ("redshift", "host_name", "host_redshift"):
        if target.get(key) not in (None, "") and (word := text(target[key]) or number(target[key])) is not None:
            extras[key] = word
    if event := text(data.get("event_id")):
        extras["event_id"] = event
    return extras
