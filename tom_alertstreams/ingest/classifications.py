"""What classifiers said of a Target over time, the newest first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db.models import Count, Exists, F, OuterRef, QuerySet, Window
from django.db.models.functions import RowNumber

from .models import Classification, TargetAlert

#: How many probabilities are read of one classifier, and of all together; the newest.
PER_CLASSIFIER: Final = 1_000
IN_ALL: Final = 5_000


@dataclass(frozen=True)
class ClassProbability:
    """One class."""

    class_name: str
    #: Between 0 and 1; None where the classifier gives none.
    probability: float | None
    #: 1 is the most probable class; None where the classifier does not say.
    ranking: int | None


@dataclass(frozen=True)
class Classified:
    """What one classifier made of one alert."""

    version: str
    #: When (UTC); None where the alert does not say.
    time: datetime | None
    #: The most probable class first.
    classes: tuple[ClassProbability, ...]
    #: Primary keys of its rows.
    rows: frozenset[int]


@dataclass(frozen=True)
class ClassifierHistory:
    """What one classifier said of one object of a Target."""

    classifier: str
    #: The provider's name of the object.
    object_id: str
    #: The newest first. Never empty.
    classified: tuple[Classified, ...]
    #: How many probabilities were read.
    shown: int
    #: How many are stored.
    stored: int

    @property
    def newest(self) -> Classified:
        """The latest; of several at one time that of the highest version."""
        return self.classified[0]


def classifications_of(target: Any, streams: Iterable[str] | None = None) -> QuerySet[Classification]:
    """The classifications of a Target.

    :param streams: labels of streams; without them those of all providers.
    """
    rows = Classification.objects.filter(target_id=target.pk)
    if streams is None:
        return rows
    labels = [label[:100] for label in streams]
    brought = TargetAlert.objects.filter(
        alert_id=OuterRef("alert_id"), object_id=OuterRef("object_id"), stream__in=labels
    )
    return rows.filter(Exists(brought))


def histories(
    rows: QuerySet[Classification], *, per_classifier: int = PER_CLASSIFIER, in_all: int = IN_ALL
) -> list[ClassifierHistory]:
    """Classifications by classifier and object, in one query. The classifier that spoke last comes first.

    :param per_classifier: how many probabilities to read of one classifier. Older ones are counted only.
    :param in_all: how many to read in all.
    """
    groups = [F("classifier"), F("object_id")]
    newest_first = [F("time").desc(nulls_last=True), F("pk").desc()]
    read = (
        rows.annotate(
            place=Window(RowNumber(), partition_by=groups, order_by=newest_first),
            stored=Window(Count("pk"), partition_by=groups),
        )
        .filter(place__lte=per_classifier)
        .order_by("place", "pk")
        .values(*_COLUMNS)[:in_all]  # without the features, which are many
    )
    grouped: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in read:
        grouped.setdefault((row["classifier"], row["object_id"]), []).append(row)
    found = [
        ClassifierHistory(classifier, object_id, _classified(group), shown=len(group), stored=group[0]["stored"])
        for (classifier, object_id), group in grouped.items()
    ]
    return sorted(found, key=lambda h: (*_moment(h.newest.time), natural_order(h.classifier)), reverse=True)


_COLUMNS: Final = (
    "pk", "classifier", "object_id", "alert_id", "version", "time", "class_name", "probability", "ranking", "stored",
)  # fmt: skip


def features_of(newest: Iterable[Classified]) -> dict[int, Mapping[str, Any]]:
    """What classifiers looked at, by the primary key of the row that holds it, in one query."""
    keys = [pk for item in newest for pk in item.rows]
    return dict(Classification.objects.filter(pk__in=keys).exclude(features={}).values_list("pk", "features"))


def natural_order(text: str) -> tuple[tuple[int, int | str], ...]:
    """To sort versions as people do: ``1.10.0`` after ``1.9.0``, and a classifier's name by the date in it."""
    return tuple((1, int(part)) if part.isdecimal() else (0, part) for part in re.split(r"([0-9]+)", text) if part)


def _classified(rows: Iterable[Mapping[str, Any]]) -> tuple[Classified, ...]:
    alerts: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        alerts.setdefault((row["alert_id"], row["version"]), []).append(row)
    found = [_one(group) for group in alerts.values()]
    return tuple(sorted(found, key=_age, reverse=True))


def _one(rows: list[Mapping[str, Any]]) -> Classified:
    rows.sort(key=lambda row: (row["ranking"] is None, row["ranking"] or 0, -(row["probability"] or 0.0), row["pk"]))
    return Classified(
        version=rows[0]["version"],
        time=rows[0]["time"],
        classes=tuple(ClassProbability(row["class_name"], row["probability"], row["ranking"]) for row in rows),
        rows=frozenset(row["pk"] for row in rows),
    )


def _age(item: Classified) -> tuple[Any, ...]:
    return (*_moment(item.time), natural_order(item.version), max(item.rows))


def _moment(time: datetime | None) -> tuple[bool, float]:
    return time is not None, time.timestamp() if time else 0.0
