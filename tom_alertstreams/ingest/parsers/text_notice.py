"""GCN notices as text (``gcn.classic.text.*``): ``KEY: value`` lines, values in several epochs on the lines below.

Mission and ids are those of the VOEvent of the same notice, so that both are one event.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any, Final

from tom_alertstreams.alerts import Alert
from tom_alertstreams.exceptions import RejectAlert
from tom_alertstreams.ingest.options import IngestOptions
from tom_alertstreams.ingest.reports import TargetReport
from tom_alertstreams.ingest.times import from_mjd

from .missions import canonical_mission, event_names
from .values import time
from .voevent import GRAVITATIONAL_WAVES

_HEAD: Final = re.compile(r"\s*TITLE:\s*GCN/(\S+) [^\n]*NOTICE\b")
_LINE: Final = re.compile(r"([A-Z0-9][A-Za-z0-9_]*):\s*(.*)")
_DEGREES: Final = re.compile(r"([+-]?\d+(?:\.\d*)?)\s*d\b")
_ERROR: Final = re.compile(r"(\d+(?:\.\d*)?)\s*\[\s*(deg|arcmin|arcsec)")
_DATE: Final = re.compile(r"(\d{1,2}) ([A-Z][a-z]{2}) (\d{4}|\d{2}) (\d\d:\d\d:\d\d(?:\.\d+)?)")
_TJD: Final = re.compile(r"(\d{1,6}) TJD")
_CLOCK: Final = re.compile(r"\{(\d\d):(\d\d):(\d\d(?:\.\d+)?)\}")

_PER_DEGREE: Final = {"deg": 1.0, "arcmin": 60.0, "arcsec": 3600.0}
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
#: What the position, its error and the time of the event are called, best first.
_PREFIXES: Final = ("GRB_", "SRC_", "EVENT_", "BURST_", "TRANS_", "")
_DATES: Final = ("GRB", "DISCOVERY", "EVENT", "TRIGGER", "BURST", "SRC")
#: Truncated Julian date 0 as MJD.
_TJD_ZERO: Final = 40_000


def recognises(content: object) -> bool:
    """Content is text that begins with the title of a notice."""
    return isinstance(content, str | bytes) and _HEAD.match(_text(content)[:2000]) is not None


def parse(alert: Alert, content: str | bytes, options: IngestOptions) -> list[TargetReport]:
    """One report.

    :raises RejectAlert: ``test``, ``nonlocalised`` for gravitational waves, ``unsupported`` for what names no event.
    """
    notice = _text(content)
    head = _HEAD.match(notice)
    mission = canonical_mission(head.group(1)) if head else ""
    fields = _fields(notice)
    kind = fields.get("NOTICE_TYPE", "")
    trigger = _trigger_time(fields)
    keys = _event_keys(mission, kind, fields, trigger)
    name = keys[0] if keys else mission
    if mission.upper() in GRAVITATIONAL_WAVES:
        raise RejectAlert("nonlocalised", name)
    if re.search(r"\btest\b", kind, re.IGNORECASE):
        raise RejectAlert("test", name)
    if not keys:
        raise RejectAlert("unsupported", mission)
    ra, dec = (_degrees(_first(fields, word)) for word in ("RA", "DEC"))
    error = _error_deg(_first(fields, "ERROR"))
    if ra == dec == 0 and not error:  # nothing is located yet, as in the VOEvent of the same notice
        ra = dec = error = None
    return [
        TargetReport(
            object_id=name,
            kind="notice",
            ra=ra,
            dec=dec,
            position_error_deg=error,
            aliases=keys[1:],
            event_keys=keys,
            time=_notice_date(fields.get("NOTICE_DATE", "")) or alert.timestamp,
            extras=_extras(trigger, error),
            retraction="retraction" in kind.lower(),
            summary=f"{mission}: {kind}" + (f" within {error:.2g} deg" if error is not None else ""),
        )
    ]


def _text(content: str | bytes) -> str:
    return content if isinstance(content, str) else content.decode("utf-8", "replace")


def _fields(notice: str) -> dict[str, str]:
    """Key → value with the lines below it; of a repeated key the first."""
    fields: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in notice.splitlines():
        found = _LINE.match(line)
        if found is None:
            lines.append(line.strip())
        else:
            lines = [found.group(2).strip()]
            fields.setdefault(found.group(1), lines)
    return {key: "\n".join(value) for key, value in fields.items()}


def _first(fields: dict[str, str], word: str) -> str:
    return next((fields[prefix + word] for prefix in _PREFIXES if prefix + word in fields), "")


def _event_keys(mission: str, kind: str, fields: dict[str, str], trigger: datetime | None) -> tuple[str, ...]:
    """The names of the event by its ids, else by its time."""
    ids = (fields.get(key, "").split(",")[0].strip() for key in ("TRIGGER_NUM", "EVENT_ID_NUM"))
    names = event_names(mission, kind, ids, fields.get("RUN_NUM", ""), fields.get("EVENT_NUM", ""))
    if not names and trigger is not None:
        names.append(f"{mission} {trigger.replace(tzinfo=None).isoformat()}")
    return tuple(names)


def _degrees(value: str) -> float | None:
    """The coordinate of J2000; the only one where no epoch is said."""
    lines = value.splitlines()
    line = next((line for line in lines if "J2000" in line), lines[0] if len(lines) == 1 else "")
    found = _DEGREES.match(line)
    return float(found.group(1)) if found else None


def _error_deg(value: str) -> float | None:
    """The radius in degrees, from the unit in brackets."""
    found = _ERROR.match(value)
    return float(found.group(1)) / _PER_DEGREE[found.group(2)] if found else None


def _notice_date(value: str) -> datetime | None:
    """UTC, of ``Fri 12 Apr 24 05:34:35 UT``."""
    found = _DATE.search(value)
    if found is None or found.group(2) not in _MONTHS:
        return None
    day, month, year = int(found.group(1)), _MONTHS.index(found.group(2)) + 1, int(found.group(3))
    return time(f"{year + 2000 if year < 100 else year}-{month:02}-{day:02}T{found.group(4)}Z")


def _trigger_time(fields: dict[str, str]) -> datetime | None:
    """UTC, of ``20412 TJD; …`` and ``20026 SOD {05:33:46.89} UT``."""
    for name in _DATES:
        day, clock = _TJD.search(fields.get(f"{name}_DATE", "")), _CLOCK.search(fields.get(f"{name}_TIME", ""))
        if day is None or clock is None:
            continue
        hours, minutes, seconds = int(clock.group(1)), int(clock.group(2)), float(clock.group(3))
        return from_mjd(_TJD_ZERO + int(day.group(1))) + timedelta(hours=hours, minutes=minutes, seconds=seconds)
    return None


def _extras(trigger: datetime | None, error: float | None) -> dict[str, Any]:
    extras = {"trigger_time": trigger.isoformat() if trigger is not None else None, "position_error_deg": error}
    return {key: value for key, value in extras.items() if value is not None}
