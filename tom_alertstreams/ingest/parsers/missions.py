"""How missions are spelt, so that the VOEvent and the JSON notice of one event name it alike."""

from __future__ import annotations

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
}


def canonical_mission(name: str) -> str:
    """The usual spelling of a mission, or the name as it came where it is not known here."""
    return _BY_KEY.get(name.strip().lower(), name.strip())
