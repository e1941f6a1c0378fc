"""GCN notices in JSON: one core schema, of which every mission fills in what it has.

The identity of an event is its mission (else the instrument, else the mission named by topic or schema) with an id,
else with the trigger time: ids alone are as short as "1". An id may be a list; any of its members will do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from tom_alertstreams.alerts import Alert
from tom_alertstreams.exceptions import RejectAlert
from tom_alertstreams.ingest.options import IngestOptions
from tom_alertstreams.ingest.reports import ClassificationReport, TargetReport

from .missions import canonical_mission
from .values import mapping, mappings, number, text, texts, time

#: What alert_tense says of alerts that are no observation.
NOT_OBSERVED: Final = frozenset({"test", "injection", "planned", "commanded"})

_SCHEMA: Final = re.compile(r"/gcn/notices/([^/]+)/")
_TOPIC: Final = re.compile(r"gcn\.notices\.([^.]+)")

#: Keys that only notices have, for those that arrive without ``$schema``.
_NOTICE_KEYS: Final = ("alert_datetime", "alert_type", "alert_tense", "trigger_time")


def recognises(content: object) -> bool:
    """Content says so by its schema, or has the keys of a notice."""
    if not isinstance(content, Mapping):
        return False
    return "/gcn/notices/" in text(content.get("$schema")) or any(key in content for key in _NOTICE_KEYS)


def parse(alert: Alert, notice: Mapping[str, Any], options: IngestOptions) -> list[TargetReport]:
    """One report; of a search with several coincident events, one for each event.

    :raises RejectAlert: ``test`` for what was not observed, ``unsupported`` for what names no event.
    """
    mission = _mission(alert, notice)
    if text(notice.get("alert_tense")).lower() in NOT_OBSERVED:
        raise RejectAlert("test", _first_name(mission, notice))
    if not mission:
        raise RejectAlert("unsupported")
    if coincident := mappings(notice.get("coincident_events")):
        return [_report(alert, mission, _coincident(notice, event)) for event in coincident]
    return [_report(alert, mission, notice)]


def _report(alert: Alert, mission: str, notice: Mapping[str, Any]) -> TargetReport:
    keys = event_keys(mission, notice)
    event_names = texts(notice.get("event_name"))
    names = (*event_names, *keys)
    if not names:
        raise RejectAlert("unsupported", mission)
    retraction = text(notice.get("alert_type")).lower() == "retraction"
    return TargetReport(
        object_id=names[0],
        kind="notice",
        ra=number(notice.get("ra")),
        dec=number(notice.get("dec")),
        position_error_deg=position_error_deg(notice.get("ra_dec_error")),
        aliases=names[1:],
        event_keys=keys,
        time=time(notice.get("alert_datetime")) or alert.timestamp,
        classifications=_classifications(mission, notice),
        extras=_extras(notice),
        retraction=retraction,
        summary=_summary(mission, notice),
    )


def _mission(alert: Alert, notice: Mapping[str, Any]) -> str:
    """The mission, else the instrument, else the segment that topic or schema has for it; canonical spelling."""
    named = text(notice.get("mission")) or text(notice.get("instrument"))
    if not named:
        found = _TOPIC.match(alert.topic) or _SCHEMA.search(text(notice.get("$schema")))
        named = found.group(1) if found else ""
    return "" if named == "core" else canonical_mission(named)


def event_keys(mission: str, notice: Mapping[str, Any]) -> tuple[str, ...]:
    """Mission with each id, else with the trigger time."""
    ids = texts(notice.get("id"))
    if not ids and (trigger := time(notice.get("trigger_time"))) is not None:
        ids = (trigger.replace(tzinfo=None).isoformat(),)
    return tuple(f"{mission} {word}" for word in ids)


def _first_name(mission: str, notice: Mapping[str, Any]) -> str:
    return next(iter((*texts(notice.get("event_name")), *event_keys(mission, notice))), mission)


def position_error_deg(value: object) -> float | None:
    """The radius (degrees) of a circle, or the larger half-axis of an ellipse [a, b, angle]."""
    if isinstance(value, list | tuple):
        axes = [axis for item in value[:2] if (axis := number(item)) is not None]
        return max(axes, default=None)
    return number(value)


def _coincident(notice: Mapping[str, Any], event: Mapping[str, Any]) -> dict[str, Any]:
    """A coincident event as a notice of its own: its id and position, the rest from the notice around it."""
    shared = {key: notice.get(key) for key in ("alert_datetime", "alert_type", "trigger_time", "ref_ID")}
    return {**shared, **mapping(event.get("localization")), "id": event.get("id")}


def _classifications(mission: str, notice: Mapping[str, Any]) -> tuple[ClassificationReport, ...]:
    rows = [
        (name, probability)
        for name, value in mapping(notice.get("classification")).items()
        if (probability := number(value)) is not None
    ]
    rows.sort(key=lambda row: -row[1])
    issued = time(notice.get("alert_datetime"))
    return tuple(
        ClassificationReport(mission, name, probability, ranking=rank, time=issued)
        for rank, (name, probability) in enumerate(rows, start=1)
    )


def _extras(notice: Mapping[str, Any]) -> dict[str, Any]:
    extras: dict[str, Any] = {}
    if (trigger := time(notice.get("trigger_time"))) is not None:
        extras["trigger_time"] = trigger.isoformat()
    if (error := position_error_deg(notice.get("ra_dec_error"))) is not None:
        extras["position_error_deg"] = error
    for key in ("messenger", "far", "p_astro", "follow_up_event", "known_source", "ref_ID"):
        value = notice.get(key)
        if isinstance(value, str | int | float) and not isinstance(value, bool) and value != "":
            extras[key] = value
    return extras


def _summary(mission: str, notice: Mapping[str, Any]) -> str:
    words = [mission, text(notice.get("instrument")), text(notice.get("alert_type")) or "notice"]
    error = position_error_deg(notice.get("ra_dec_error"))
    if error is not None:
        words.append(f"within {error:.2g} deg")
    return " ".join(dict.fromkeys(word for word in words if word))
