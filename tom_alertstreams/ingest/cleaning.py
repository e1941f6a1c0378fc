"""Reports made fit for a database, or refused one by one, so that no value fails the whole batch."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar

from tom_alertstreams.exceptions import PermanentError

from .reports import ClassificationReport, PhotometryPoint, TargetReport

Item = TypeVar("Item")

#: Length of Target.name and TargetName.name.
MAX_NAME: Final = 100
#: Length of TargetAlert.alert_id and event_key.
MAX_KEY: Final = 200
_NUMBERS: Final = frozenset({float, type(None), dict})


def cleaned(report: TargetReport) -> TargetReport:
    """The report with coordinates in range, texts without NUL, and names that fit.

    :raises PermanentError: the object's name or its position cannot be stored.
    """
    check_name(report.object_id)
    ra, dec = _position(report)
    error = _finite(report.position_error_deg)
    return _with(
        report,
        ra=ra,
        dec=dec,
        position_error_deg=error if error is not None and error >= 0 else None,
        aliases=_names(report.aliases),
        event_keys=_names(report.event_keys),
        alert_id=clean_text(report.alert_id) if len(report.alert_id) <= MAX_KEY else "",
        photometry=_all(report.photometry, _point),
        classifications=_all(report.classifications, _classification),
        extras=_extras(report.extras) if report.extras else report.extras,
        summary=clean_text(report.summary)[:255],
    )


def _extras(extras: Mapping[str, Any]) -> dict[str, Any]:
    return {clean_text(key)[:200]: clean_json(value) for key, value in extras.items()}


def _with(item: Item, **values: Any) -> Item:
    """The item with these values: itself where it has them all, for nearly all are clean and a copy takes its time."""
    has = item.__dict__
    changed = {name: value for name, value in values.items() if value is not has[name]}
    return replace(item, **changed) if changed else item  # type: ignore[type-var]


def _all(items: tuple[Item, ...], clean: Callable[[Item], Item | None]) -> tuple[Item, ...]:
    """The items that can be stored; the same tuple where nothing changes."""
    if not items:
        return items
    found = tuple(kept for item in items if (kept := clean(item)) is not None)
    same = len(found) == len(items) and all(map(operator.is_, found, items))
    return items if same else found


def check_name(name: str) -> None:
    """A Target can be called this.

    :raises PermanentError: it cannot.
    """
    if not name or len(name) > MAX_NAME:
        raise PermanentError(f"The object's name has {len(name)} characters; a Target's has 1 to {MAX_NAME}.")
    if "\x00" in name or not _is_encodable(name):
        raise PermanentError("The object's name holds characters that no database stores.")


def clean_text(text: str) -> str:
    """Text without NUL and lone surrogates."""
    if text.isascii() and "\x00" not in text:
        return text
    return text.replace("\x00", "").encode("utf-8", "replace").decode()


def clean_json(value: Any) -> Any:
    """A value that JSON and every database hold: NaN and infinities become null, bytes are left out."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, Mapping):
        if _is_clean(value):
            return value
        return {clean_text(str(key)): clean_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean_json(item) for item in value]
    return value if value is None or isinstance(value, bool | int) else None


def _is_clean(value: Mapping[Any, Any]) -> bool:
    """Whether it is a dict of names and finite numbers throughout, as the features of a light curve are.

    They are hundreds, so they are looked at as a whole: one by one takes ten times as long.
    """
    if (
        type(value) is not dict
        or not _NUMBERS.issuperset(map(type, value.values()))
        or not {str}.issuperset(map(type, value))
    ):
        return False
    names = "".join(value)
    if not names.isascii() or "\x00" in names:
        return False
    # The sum of numbers one of which is none, or infinite, is so too.
    if not math.isfinite(sum([item for item in value.values() if type(item) is float])):
        return False
    return all(_is_clean(item) for item in value.values() if type(item) is dict)


def _position(report: TargetReport) -> tuple[float | None, float | None]:
    ra, dec = report.ra, report.dec
    if ra is None or dec is None:
        return None, None
    if not (0 <= ra <= 360 and -90 <= dec <= 90):  # false for NaN too
        raise PermanentError(f"The position RA {ra!r}, Dec {dec!r} (degrees) is not on the sky.")
    return (0.0 if ra == 360 else float(ra)), float(dec)


def _names(names: tuple[str, ...]) -> tuple[str, ...]:
    return names if all(map(_is_name, names)) else tuple(filter(_is_name, names))


def _is_name(name: str) -> bool:
    try:
        check_name(name)
    except PermanentError:
        return False
    return True


def _is_encodable(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _point(point: PhotometryPoint) -> PhotometryPoint | None:
    """The point with a magnitude or else a limit; None without either: such rows would be told apart by nothing."""
    magnitude, limit = _finite(point.magnitude), _finite(point.limit)
    if not point.band or (magnitude is None and limit is None):
        return None
    return _with(
        point,
        band=clean_text(point.band)[:32],
        magnitude=magnitude,
        magnitude_error=_finite(point.magnitude_error),
        limit=limit if magnitude is None else None,
        telescope=clean_text(point.telescope)[:255],
        instrument=clean_text(point.instrument)[:255],
        source=clean_text(point.source)[:100],
        exposure_s=_finite(point.exposure_s),
        value=clean_json(point.value) if point.value else point.value,
    )


def _finite(value: float | None) -> float | None:
    # A float: one whole number among them, and psycopg dumps no list of the column.
    return float(value) if value is not None and math.isfinite(value) else None


def _is_fit(item: ClassificationReport) -> bool:
    """Nothing is to be done: an alert brings up to fifteen of them, and nearly all are so."""
    texts = f"{item.classifier}{item.class_name}{item.version}"
    if len(texts) > 50 or not texts.isascii() or "\x00" in texts:
        return False
    fit = item.probability is None or (type(item.probability) is float and math.isfinite(item.probability))
    return fit and (not item.features or _is_clean(item.features))


def _classification(item: ClassificationReport) -> ClassificationReport:
    if _is_fit(item):
        return item
    return _with(
        item,
        classifier=clean_text(item.classifier)[:100],
        class_name=clean_text(item.class_name)[:100],
        version=clean_text(item.version)[:50],
        probability=_finite(item.probability),
        features=clean_json(item.features) if item.features else item.features,
    )
