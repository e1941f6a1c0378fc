"""What missions and their events are called, so that the notices of one event in VOEvent, text and JSON name it alike."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_SPELLINGS: Final = (
    "AMON", "BOOM", "BurstCube", "CALET", "CHIME", "DSA-110", "Einstein Probe", "Fermi", "Glowbug", "HAWC", "HESS",
    "IceCube", "INTEGRAL", "KM3NeT", "LVC", "MAXI", "MOA", "SNEWS", "Super-Kamiokande", "SVOM", "Swift",
)  # fmt: skip

_BY_KEY: Final = {
    **{name.lower(): name for name in _SPELLINGS},
    "dsa110": "DSA-110",
    "einstein_probe": "Einstein Probe",
    "superk": "Super-Kamiokande",
    # SVOM's VOEvents name its science centre, and some of its JSON notices nothing but the instrument.
    **dict.fromkeys(("fsc", "eclairs", "grm", "mxt", "vt"), "SVOM"),
}


def canonical_mission(name: str) -> str:
    """The usual spelling of a mission, or the name as it came where it is not known here."""
    return _BY_KEY.get(name.strip().lower(), name.strip())


def event_names(mission: str, kind: str, ids: Iterable[str], run: str, event: str) -> list[str]:
    """Mission with each id of the event, and with its run and its number there, each once.

    :param kind: what the notice says that it is. AMON hands on notices of IceCube's events and of others.
    """
    names = [f"{mission} {word}" for word in ids if word]
    if run and event:
        names.append(f"{mission} {run}_{event}")
        if mission == "AMON" and kind.lower().startswith(("icecube_", "icecube ")):
            names.insert(0, f"IceCube {run}_{event}")
    return list(dict.fromkeys(names))
