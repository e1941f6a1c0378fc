"""Records of any of ALeRCE's schemas: each field is filled by its name, in the type that the schema gives it."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from alerce_stream.decoding import shipped_schemas
from alerce_stream.messages import ALERT_FIELDS, OBJECT_FIELDS
from alerce_stream.ztf_numbers import SID, ztf_number

from .features import ABSENT, FEATURES
from .stories import BRANCHES, SimulatedObject, probabilities

_STAMP_CLASSES: Final = ("SN", "AGN", "VS", "asteroid", "bogus", "satellite")


@dataclass(frozen=True)
class Look:
    """One classifier has looked at an object, and what it found."""

    item: SimulatedObject
    alert_number: int
    classifier: str
    class_name: str
    probabilities: Mapping[str, float]
    least: float
    sent: datetime
    dice: random.Random


@lru_cache(maxsize=64)
def fields_of(schema: str) -> Mapping[str, Any]:
    """Name of each field of a shipped schema → its type; of several types the first that is not null."""
    return {field["name"]: _main(field["type"]) for field in shipped_schemas()[schema]["fields"]}


def has_numbers(schema: str) -> bool:
    """Whether its objects have no names, as Rubin's."""
    return any(fields_of(schema).get(name) == "long" for name in OBJECT_FIELDS if name != "oid")


def names_objects(schema: str) -> bool:
    """Whether its records name an object, and not only an alert."""
    return not set(OBJECT_FIELDS).isdisjoint(fields_of(schema))


def is_named_inside(schema: str) -> bool:
    """Whether its records name their classifier."""
    return bool({"classifier_name", "classifierName"} & fields_of(schema).keys())


def classes_of(schema: str, *, stamp: bool) -> tuple[str, ...]:
    """The classes that it knows."""
    if not stamp:
        return tuple(BRANCHES)
    given = fields_of(schema).get("probabilities")
    if isinstance(given, Mapping) and given.get("type") == "record":
        return tuple(field["name"] for field in given["fields"])
    return _STAMP_CLASSES[:-1]


def record_of(schema: str, look: Look) -> dict[str, Any]:
    """The record that tells it."""
    return {name: _value(name, kind, look) for name, kind in fields_of(schema).items()}


def _main(kind: Any) -> Any:
    if isinstance(kind, list):
        kind = next(each for each in kind if each != "null")
    if isinstance(kind, Mapping) and kind["type"] in ("string", "long", "double", "float", "int"):
        return kind["type"]
    return kind


def _value(name: str, kind: Any, look: Look) -> Any:
    if name in OBJECT_FIELDS:
        # Of Rubin's two ids one is 0: what moves has none among the fixed stars.
        moving = look.item.class_name == "asteroid"
        absent = (name == "ssObjectId" and not moving) or (name == "diaObjectId" and moving)
        oid = look.item.oid
        return 0 if absent else ztf_number(oid) if kind == "long" and oid.startswith("ZTF") else _typed(kind, oid)
    if name in ALERT_FIELDS:
        return _typed(kind, look.alert_number)
    if name == "features":
        return _features(kind, look)
    if name in _MADE:
        return _MADE[name](look)
    return _typed(kind, 1)


def _typed(kind: Any, value: str | int) -> Any:
    return int(value) if kind in ("long", "int") else float(value) if kind in ("double", "float") else str(value)


def _features(kind: Any, look: Look) -> dict[str, float | None]:
    names = [field["name"] for field in kind["fields"]] if kind["type"] == "record" else FEATURES
    return {name: None if name in ABSENT else round(look.dice.gauss(0.3, 0.2), 3) for name in names}


def _hierarchy(look: Look) -> dict[str, Any]:
    """Step by step: the branch, and within each branch the class."""
    branches = sorted(set(BRANCHES.values()))
    best = BRANCHES[look.class_name]
    children = {}
    for branch in branches:
        inside = [name for name in BRANCHES if BRANCHES[name] == branch]
        children[branch] = probabilities(look.dice, inside, look.class_name if branch == best else inside[0], 0.5)
    return {"top": probabilities(look.dice, branches, best, max(look.least, 0.5)), "children": children}


def _list(look: Look) -> list[dict[str, Any]]:
    """For ELAsTiCC, whose classes are numbers, and for the classifiers of ATLAS; each schema takes what it knows."""
    numbered = enumerate(look.probabilities.items())
    return [{"class_name": name, "classId": number, "probability": value} for number, (name, value) in numbered]


def _milliseconds(look: Look) -> int:
    return int(look.sent.timestamp() * 1000)


_MADE: Final[Mapping[str, Callable[[Look], Any]]] = {
    "probabilities": lambda look: dict(look.probabilities),
    "classifications": _list,
    "lc_classification": lambda look: {
        "probabilities": dict(look.probabilities), "class": look.class_name, "hierarchical": _hierarchy(look),
    },
    "sid": lambda look: SID,
    "ra": lambda look: look.item.position.ra,
    "dec": lambda look: look.item.position.dec,
    "midpointMjdTai": lambda look: round(40587 + look.sent.timestamp() / 86400, 6),
    "classifier_name": lambda look: look.classifier,
    "classifierName": lambda look: look.classifier,
    "brokerName": lambda look: "ALeRCE",
    "classifierParams": lambda look: "",
    "classifier_version": lambda look: "1.0.0",
    "brokerVersion": lambda look: "1.0.0",
    "elasticcPublishTimestamp": _milliseconds,
    "brokerIngestTimestamp": _milliseconds,
    "brokerPublishTimestamp": _milliseconds,
}  # fmt: skip
