"""ALeRCE's messages in the normal form of ingest, whichever classifier, year and schema they come from.

Over the years an object was called oid, objectId, aid, diaObjectId; an alert candid, measurement_id, diaSourceId; and
probabilities came as a record, a map or a list. What is read here goes by those names, not by the version of a schema.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from tom_alertstreams.alerts import Alert
from tom_alertstreams.exceptions import DecodeError, PermanentError, RejectAlert
from tom_alertstreams.ingest.cleaning import check_name
from tom_alertstreams.ingest.reports import ClassificationReport, TargetReport

from .topics import classifier_of
from .ztf_numbers import SID, ztf_name

#: Where the id of the object is, the first that is given.
OBJECT_FIELDS: Final = ("oid", "objectId", "aid", "diaObjectId", "ssObjectId")
#: Where the id of the alert is that was classified.
ALERT_FIELDS: Final = ("candid", "measurement_id", "diaSourceId", "alertId")
#: Beside the features of a light curve: its classification step by step, keys "top" and "children".
HIERARCHY: Final = "hierarchical"

#: Floats of 32 bits may exceed 1 a little where they are added up.
_TOLERANCE: Final = 1e-3
#: What the probabilities of one classifier add up to: 1, taken generously.
_PLAUSIBLE_SUM: Final = (0.5, 1.5)
_PLAUSIBLE_OBJECT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+-]{2,63}")
#: ZTF's have 15 digits and more. As a text of four bytes the first probability after a small number might be read.
_PLAUSIBLE_ALERT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+-]{7,63}")
#: Degrees, and days (MJD) between 1968 and 2050.
_PLAUSIBLE_NUMBERS: Final = {
    "ra": (0.0, 360.0), "dec": (-90.0, 90.0), "mjd": (40_000.0, 70_000.0), "midpointMjdTai": (40_000.0, 70_000.0),
}  # fmt: skip
_PLAUSIBLE_CLASS: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_ /.:+()-]{0,63}")

Probabilities = list[tuple[str, float | None]]


def parse(alert: Alert) -> TargetReport:
    """What a message says of its object.

    :raises RejectAlert: ``unsupported``: it classifies no object; ``probability``: it gives no probability at all.
    :raises PermanentError: it contradicts itself, holds several records, or names an object as no Target can be named.
    """
    content = _record(alert.content)
    object_id = object_id_of(content)
    found = _classified(content)
    if found is None or not object_id:
        # Among them {"error": …}, which ALeRCE sends for an object that its model could not classify, and ELAsTiCC's
        # classifications, which name a simulated alert and no object.
        raise RejectAlert("unsupported", object_id)
    check_name(object_id)  # the database is asked for it before ingest sees the report
    probabilities, likeliest = found
    classifier = _text(content, "classifier_name", "classifierName") or classifier_of(alert.topic)
    version = _text(content, "classifier_version", "brokerVersion")
    classifications = _ranked(
        probabilities,
        likeliest,
        classifier=classifier,
        version=version,
        features=_features(content),
    )
    if not classifications:
        raise RejectAlert("probability", object_id)
    alert_id = _first_id(content, ALERT_FIELDS)
    ra, dec = _number(content.get("ra")), _number(content.get("dec"))
    return TargetReport(
        object_id=object_id,
        kind="survey",
        ra=None if dec is None else ra,
        dec=None if ra is None else dec,
        time=alert.timestamp,
        classifications=classifications,
        moving=_is_moving(content),
        # The alert of the survey itself has the same id, and what other classifiers and versions say of it has.
        alert_id=":".join(filter(None, (classifier, version, alert_id))) if alert_id else "",
        summary=_summary(classifications[0]),
    )


def object_id_of(content: Mapping[str, Any]) -> str:
    """The object's name, or "" where the message gives none. A ZTF object has its name where ``oid`` is its number."""
    name = ztf_name(_id(content.get("oid"))) if content.get("sid") in (None, SID) else ""
    return name or _first_id(content, OBJECT_FIELDS)


def _is_moving(content: Mapping[str, Any]) -> bool:
    """Rubin's stamp classifier names an asteroid by its ssObjectId alone, and gives no orbit that a Target needs."""
    return bool(_id(content.get("ssObjectId"))) and not _first_id(content, OBJECT_FIELDS[:-1])


def is_plausible(content: object) -> bool:
    """Ids, position, time, classes and probabilities can be true: what garbage from a wrong schema does not look like."""
    return (
        isinstance(content, Mapping)
        and _ids_can_be_true(content)
        and _numbers_can_be_true(content)
        and _classes_can_be_true(content)
    )


def _ids_can_be_true(content: Mapping[str, Any]) -> bool:
    for fields, pattern in ((OBJECT_FIELDS, _PLAUSIBLE_OBJECT), (ALERT_FIELDS, _PLAUSIBLE_ALERT)):
        for value in map(content.get, fields):
            if isinstance(value, str) and not pattern.fullmatch(value):
                return False
            if isinstance(value, int) and value < 0:
                return False
    return bool(_first_id(content, (*OBJECT_FIELDS, *ALERT_FIELDS)))


def _numbers_can_be_true(content: Mapping[str, Any]) -> bool:
    given = [(_number(content.get(field)), *limits) for field, limits in _PLAUSIBLE_NUMBERS.items()]
    return all(number is None or least <= number <= most for number, least, most in given)


def _classes_can_be_true(content: Mapping[str, Any]) -> bool:
    try:
        found = _classified(content)
    except PermanentError:
        return False
    if found is None:
        return True
    given = [value for _, value in found[0] if value is not None]
    if given and not _PLAUSIBLE_SUM[0] <= sum(given) <= _PLAUSIBLE_SUM[1]:
        return False
    names = [name for name, _ in found[0]] + ([found[1]] if found[1] else [])
    return all(_PLAUSIBLE_CLASS.fullmatch(name) for name in names)


# --- ids ---------------------------------------------------------------------------------------------------------------


def _record(content: object) -> Mapping[str, Any]:
    if isinstance(content, Sequence) and not isinstance(content, str | bytes):
        if len(content) > 1:
            raise PermanentError(f"The message holds {len(content)} records; ALeRCE sends one.")
        content = content[0] if content else None
    if not isinstance(content, Mapping):
        raise DecodeError(f"The message is {type(content).__name__} and no record; ALeRCE sends Avro or JSON records.")
    return content


def _first_id(content: Mapping[str, Any], fields: Iterable[str]) -> str:
    return next((text for field in fields if (text := _id(content.get(field)))), "")


def _id(value: object) -> str:
    """As text, every digit kept; 0 stands for absent. A float is none: it cannot hold 64 bits."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return ""
    text = str(value).strip()
    return "" if text == "0" else text


# --- probabilities -----------------------------------------------------------------------------------------------------


def _classified(content: Mapping[str, Any]) -> tuple[Probabilities, str] | None:
    """Class → probability, and the class that the classifier names; None where nothing is classified.

    :raises PermanentError: something that is no probability.
    """
    inner = content.get("lc_classification")
    holder = inner if isinstance(inner, Mapping) else content
    given = holder.get("probabilities", holder.get("classifications"))
    if isinstance(given, Mapping):
        if "error" in given:
            return None
        pairs = list(given.items())
    elif isinstance(given, Sequence) and not isinstance(given, str | bytes):
        pairs = [(_class_of(item), item["probability"]) for item in map(_class_item, given)]
    else:
        return None
    likeliest = holder.get("class")
    return [(str(name), _probability(name, value)) for name, value in pairs], str(likeliest or "")


def _class_item(item: object) -> Mapping[str, Any]:
    if not isinstance(item, Mapping) or "probability" not in item:
        raise PermanentError(f"A class without a probability: {item!r:.100}.")
    return item


def _class_of(item: Mapping[str, Any]) -> str:
    name = item.get("class_name", item.get("classId"))
    if name is None or name == "":
        raise PermanentError(f"A probability without a class: {dict(item)!r:.100}.")
    return str(name)


def _probability(name: object, value: object) -> float | None:
    """None and NaN mean that the classifier gives none."""
    if value is None:
        return None
    number = _number(value)
    if number is None and isinstance(value, float) and math.isnan(value):
        return None
    if number is None or not -_TOLERANCE <= number <= 1 + _TOLERANCE:
        raise PermanentError(f"The probability of class {name!s:.64} is {value!r:.32}, and not between 0 and 1.")
    # A float of 32 bits holds 7 digits: 0.9 arrives as 0.8999999761581421, and MIN_PROBABILITY 0.9 must accept it.
    return min(1.0, max(0.0, float(f"{number:.7g}")))


def _ranked(
    probabilities: Probabilities, likeliest: str, *, classifier: str, version: str, features: Mapping[str, Any]
) -> tuple[ClassificationReport, ...]:
    """The most probable class first, ties as the classifier says. The features stay with that one: they are many."""
    known = [(name, value) for name, value in probabilities if value is not None]
    known.sort(key=lambda pair: (-pair[1], pair[0] != likeliest, pair[0]))
    ranked: list[tuple[str, float | None, int | None]] = [(name, p, n) for n, (name, p) in enumerate(known, start=1)]
    if not ranked and likeliest:
        ranked = [(likeliest, None, 1)]
    if not ranked:
        return ()
    named = {name for name, _, _ in ranked}
    ranked += [(name, None, None) for name, value in probabilities if value is None and name not in named]
    return tuple(
        ClassificationReport(
            classifier=classifier,
            class_name=name,
            probability=probability,
            version=version,
            ranking=rank,
            features=features if rank == 1 else {},
        )
        for name, probability, rank in ranked
    )


def _features(content: Mapping[str, Any]) -> dict[str, Any]:
    """The features as they came, names like ``W1-W2`` and ``Power_rate_1/2`` included, and the hierarchy beside them."""
    features = content.get("features")
    kept = dict(features) if isinstance(features, Mapping) else {}
    inner = content.get("lc_classification")
    if isinstance(inner, Mapping) and inner.get(HIERARCHY):
        kept[HIERARCHY] = inner[HIERARCHY]
    return kept


# --- small things ------------------------------------------------------------------------------------------------------


def _text(content: Mapping[str, Any], *fields: str) -> str:
    return next((value for field in fields if isinstance(value := content.get(field), str) and value), "")


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer of hundreds of digits
        return None
    return number if math.isfinite(number) else None


def _summary(best: ClassificationReport) -> str:
    probability = "" if best.probability is None else f" {best.probability:.2f}"
    return f"{best.classifier}: {best.class_name}{probability}"
