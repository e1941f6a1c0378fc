"""VOEvent 2.0 packets (XML). They are parsed from bytes, for they declare their own encoding."""

from __future__ import annotations

import re
from typing import Any, Final
from xml.etree.ElementTree import Element, ParseError  # names only: defusedxml does the parsing

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from tom_alertstreams.alerts import Alert
from tom_alertstreams.exceptions import DecodeError, RejectAlert
from tom_alertstreams.ingest.options import IngestOptions
from tom_alertstreams.ingest.reports import TargetReport

from .missions import canonical_mission, event_names
from .values import number, text, time

#: Parameters that hold the id of the event, best first.
ID_PARAMETERS: Final = ("TrigID", "Burst_Id", "GraceID", "AMON_ID")

#: Publishers of gravitational-wave alerts, whose events have a sky map instead of a position.
GRAVITATIONAL_WAVES: Final = frozenset({"LVC", "LVK", "IGWN", "gwnet"})

_MISSION: Final = re.compile(r"^ivo://[^/#]+/([^#/]+)")
_DECLARATION: Final = re.compile(r"^\s*<\?xml[^>]*\?>")
_XML_START: Final = re.compile(rb"^\s*(\xef\xbb\xbf)?\s*<[?!A-Za-z]")


def recognises(content: object) -> bool:
    """Content begins as XML does."""
    if isinstance(content, str):
        return content.lstrip().startswith("<")
    return isinstance(content, bytes) and _XML_START.match(content) is not None


def parse(alert: Alert, content: bytes | str, options: IngestOptions) -> list[TargetReport]:
    """One report.

    :raises DecodeError: not well-formed, or with entity declarations, which no alert needs.
    :raises RejectAlert: ``test`` for a role other than observation, ``nonlocalised`` for gravitational waves,
        ``unsupported`` for XML that is no VOEvent or that names no event.
    """
    root = _read(content)
    if _local(root.tag) != "VOEvent":
        raise RejectAlert("unsupported")
    ivorn = root.get("ivorn", "").strip()
    found = _MISSION.match(ivorn)
    mission = canonical_mission(found.group(1)) if found else ""
    parameters = _parameters(root)
    keys = _event_keys(mission, ivorn.partition("#")[2], parameters, root)
    name = keys[0] if keys else mission
    if root.get("role", "observation") != "observation" or _flag(parameters, "Test_Submission"):
        raise RejectAlert("test", name)
    if mission in GRAVITATIONAL_WAVES or "GraceID" in parameters:
        raise RejectAlert("nonlocalised", name)
    if not keys:
        raise RejectAlert("unsupported", mission)
    ra, dec, error = _position(root)
    trigger = time(_text(root, "WhereWhen//ISOTime"))
    return [
        TargetReport(
            object_id=name,
            kind="notice",
            ra=ra,
            dec=dec,
            position_error_deg=error,
            aliases=keys[1:],
            event_keys=keys,
            time=time(_text(root, "Who/Date")) or alert.timestamp,
            extras=_extras(trigger.isoformat() if trigger else None, error),
            alert_id=ivorn,
            retraction=_is_retraction(root, parameters),
            summary=_summary(mission, ivorn, error),
        )
    ]


def _read(content: bytes | str) -> Element:
    if isinstance(content, str):
        # Its encoding declaration no longer holds, and the parser would believe it.
        content = _DECLARATION.sub("", content, count=1).encode()
    try:
        return fromstring(content.strip(), forbid_dtd=True)
    except (ParseError, ValueError, LookupError) as error:
        if isinstance(error, DefusedXmlException):
            raise DecodeError("The XML declares entities or a document type; it was not read.") from error
        raise DecodeError(f"The XML cannot be read: {error}") from error


def _local(tag: str) -> str:
    return tag.rsplit("}", 1)[-1]


def _text(root: Element, path: str) -> str:
    """Text of the first element on a path of local names, whatever the namespaces."""
    pattern = "/".join(f"{{*}}{part}" if part else "" for part in path.split("/"))
    element = root.find(f"./{pattern}")
    return text(element.text) if element is not None else ""


def _parameters(root: Element) -> dict[str, str]:
    """Name → value of every Param; of two of one name the first."""
    parameters: dict[str, str] = {}
    for element in root.iterfind("./{*}What//{*}Param"):
        parameters.setdefault(element.get("name", ""), element.get("value", "").strip())
    return parameters


def _event_keys(mission: str, kind: str, parameters: dict[str, str], root: Element) -> tuple[str, ...]:
    """The names of the event by its ids, else by the trigger time."""
    if not mission:
        return ()
    ids = (parameters.get(name, "") for name in ID_PARAMETERS)
    names = event_names(mission, kind, ids, parameters.get("run_id", ""), parameters.get("event_id", ""))
    if not names and (trigger := time(_text(root, "WhereWhen//ISOTime"))) is not None:
        names.append(f"{mission} {trigger.replace(tzinfo=None).isoformat()}")
    return tuple(names)


def _position(root: Element) -> tuple[float | None, float | None, float | None]:
    """Right ascension, declination and error radius, all in degrees (FK5 J2000 is ICRS to 0.1 arcsec)."""
    path = "WhereWhen//AstroCoords/Position2D"
    ra, dec = (number(_text(root, f"{path}/Value2/{name}")) for name in ("C1", "C2"))
    error = number(_text(root, f"{path}/Error2Radius"))
    if error is not None and error < 0:  # SVOM writes a negative radius where it has located nothing
        return None, None, None
    if ra == dec == 0 and not error:  # the first notice of Fermi's GBM, which has located nothing yet
        return None, None, None
    return ra, dec, error


def _is_retraction(root: Element, parameters: dict[str, str]) -> bool:
    cited = root.iterfind("./{*}Citations/{*}EventIVORN")
    return any(element.get("cite") == "retraction" for element in cited) or _flag(parameters, "Retraction")


def _flag(parameters: dict[str, str], name: str) -> bool:
    return parameters.get(name, "").lower() in ("true", "1")


def _extras(trigger_time: str | None, error: float | None) -> dict[str, Any]:
    extras = {"trigger_time": trigger_time, "position_error_deg": error}
    return {key: value for key, value in extras.items() if value is not None}


def _summary(mission: str, ivorn: str, error: float | None) -> str:
    kind = ivorn.partition("#")[2].rpartition("_")[0] or "notice"
    return f"{mission} {kind}" + (f" within {error:.2g} deg" if error is not None else "")
