"""The tab on a Target's page: what ALeRCE's classifiers say of it, and said before."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final
from urllib.parse import quote

from django.conf import settings
from django.utils.safestring import SafeString

from tom_alertstreams.conf import read_streams
from tom_alertstreams.ingest.classifications import (
    ClassifierHistory,
    classifications_of,
    features_of,
    histories,
)
from tom_alertstreams.ingest.probability_plot import probability_plot

from .messages import HIERARCHY

_ZTF: Final = re.compile(r"ZTF[0-9]{2}[a-z]{7}")
_LSST: Final = re.compile(r"[0-9]+")


@dataclass(frozen=True)
class Branch:
    """A class of the upper level of a hierarchical classifier, and those below it."""

    name: str
    probability: Any
    #: (class, probability within this branch).
    children: tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Panel:
    """What the tab shows of one classifier."""

    history: ClassifierHistory
    hierarchy: tuple[Branch, ...]
    #: (name, value): never a mapping, which templates would look names up in.
    features: tuple[tuple[str, str], ...]

    @property
    def explorer_url(self) -> str:
        """The object in ALeRCE's explorer."""
        return explorer_url(self.history.object_id)

    @property
    def plot(self) -> SafeString:
        """Probability against time, as HTML."""
        return probability_plot(self.history)


class TargetTab:
    """The tab of one Target. Nothing is read before it is shown: the page asks for the tab twice, first for its label."""

    def __init__(self, target: Any) -> None:
        self._target = target

    @cached_property
    def panels(self) -> list[Panel]:
        """One for each classifier and object, in two queries however many classifications there are."""
        found = histories(classifications_of(self._target, stream_labels()))
        features = features_of(history.newest for history in found)
        return [_panel(history, features) for history in found]


def tab(context: Any) -> dict[str, Any]:
    """What the tab's template gets. One name only: the page lays it over its own.

    :param context: of the Target's page, which nobody sees who may not view the Target.
    """
    return {"alerce": TargetTab(context["object"])}


def stream_labels() -> list[str]:
    """Labels of the streams in settings.py that read ALeRCE, or are handled by this app; also of those switched off."""
    entries = getattr(settings, "ALERT_STREAMS", None) or ()
    streams, _ = read_streams([{**entry, "ACTIVE": True} for entry in entries if isinstance(entry, Mapping)])
    return [
        stream.label
        for stream in streams
        if any(path.startswith("alerce_stream.") for path in (stream.name, *(topic.handler for topic in stream.topics)))
    ]


def explorer_url(object_id: str) -> str:
    """Where ALeRCE's explorer shows an object; for names it may not know, its search."""
    name = quote(object_id, safe="")
    if _ZTF.fullmatch(object_id):
        return f"https://alerce.online/object/{name}"
    if _LSST.fullmatch(object_id):
        return f"https://lsst.alerce.online/object/{name}?survey=lsst"
    return f"https://alerce.online/?oid={name}"


def _panel(history: ClassifierHistory, features: Mapping[int, Mapping[str, Any]]) -> Panel:
    looked_at = next((features[pk] for pk in sorted(history.newest.rows) if pk in features), {})
    return Panel(
        history,
        hierarchy=tuple(_branches(looked_at.get(HIERARCHY))),
        features=tuple((str(name), _text(value)) for name, value in looked_at.items() if name != HIERARCHY),
    )


def _branches(hierarchy: object) -> Iterable[Branch]:
    levels = hierarchy if isinstance(hierarchy, Mapping) else {}
    top, children = levels.get("top"), levels.get("children")
    for name, probability in _most_probable_first(top):
        below = children.get(name) if isinstance(children, Mapping) else None
        yield Branch(name, probability, tuple(_most_probable_first(below)))


def _most_probable_first(level: object) -> list[tuple[str, float]]:
    """What is no number is left out: alerts come from outside."""
    pairs = level.items() if isinstance(level, Mapping) else ()
    known = [(str(name), float(value)) for name, value in pairs if isinstance(value, int | float)]
    return sorted(known, key=lambda pair: -pair[1])


def _text(value: object) -> str:
    """As in the alert."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
