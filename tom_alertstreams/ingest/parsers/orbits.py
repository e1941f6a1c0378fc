"""Orbital elements as surveys and people give them, made those that the TOM Toolkit stores."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from tom_alertstreams.ingest.reports import OrbitalElements

from .values import number, time

#: An element → how alerts call it: Rubin's mpc_orbits (since v9), its MPCORB (v8), Hermes' orbital_elements.
_NAMES: Final = {
    "epoch": ("epoch_mjd", "epoch", "epoch_of_elements"),
    "inclination": ("i", "incl", "orbital_inclination", "inclination"),
    "node": ("node", "longitude_of_the_ascending_node", "lng_asc_node"),
    "perihelion": ("argperi", "peri", "argument_of_the_perihelion", "arg_of_perihelion"),
    "eccentricity": ("e", "eccentricity"),
    "semimajor": ("a", "semimajor_axis"),
    "anomaly": ("mean_anomaly", "M"),
    "distance": ("q", "perihelion_distance", "perihdist"),
    "passage": ("peri_time", "t_p", "epoch_of_perihelion"),
}
_JD_OF_MJD_ZERO: Final = 2_400_000.5
_MJD_ZERO: Final = datetime(1858, 11, 17, tzinfo=timezone.utc)
#: Epochs of orbits (MJD), from 1858 to 2200: Rubin writes 0 for none.
_EPOCHS: Final = (0.0, 125_000.0)


def orbital_elements(given: Mapping[str, Any]) -> OrbitalElements | None:
    """The orbit, or None where elements are missing or describe none.

    With semi-major axis and mean anomaly it is a minor planet's, else with perihelion distance and time a comet's.
    Angles are in degrees, distances in astronomical units; epochs in MJD or JD (TT), or ISO 8601 (taken for TT).
    """
    found = {element: _first(given, names) for element, names in _NAMES.items()}
    epoch, passage = _epoch(given, "epoch"), _epoch(given, "passage")
    inclination, node, perihelion = found["inclination"], found["node"], found["perihelion"]
    eccentricity, anomaly = found["eccentricity"], found["anomaly"]
    if epoch is None or inclination is None or node is None or perihelion is None or eccentricity is None:
        return None
    if eccentricity < 0 or not 0 <= inclination <= 180:
        return None
    semimajor, distance = _positive(found["semimajor"]), _positive(found["distance"])
    if semimajor is not None and anomaly is not None and eccentricity < 1:
        return OrbitalElements(
            "MPC_MINOR_PLANET", epoch, inclination, node, perihelion, eccentricity,
            mean_anomaly=anomaly, semimajor_axis=semimajor,
        )  # fmt: skip
    if distance is not None and passage is not None:
        return OrbitalElements(
            "MPC_COMET", epoch, inclination, node, perihelion, eccentricity,
            perihdist=distance, epoch_of_perihelion=passage,
        )  # fmt: skip
    return None


def _first(given: Mapping[str, Any], names: tuple[str, ...]) -> float | None:
    return next((value for name in names if (value := number(given.get(name))) is not None), None)


def _positive(value: float | None) -> float | None:
    return value if value is not None and value > 0 else None


def _epoch(given: Mapping[str, Any], element: str) -> float | None:
    """A modified Julian date; None for what is none."""
    value = next((value for name in _NAMES[element] if (value := given.get(name)) is not None), None)
    epoch = number(value)
    if epoch is None:
        moment = time(value) if isinstance(value, str) else None
        return None if moment is None else (moment - _MJD_ZERO) / timedelta(days=1)
    mjd = epoch - _JD_OF_MJD_ZERO if epoch >= _JD_OF_MJD_ZERO else epoch
    return mjd if _EPOCHS[0] < mjd < _EPOCHS[1] else None
