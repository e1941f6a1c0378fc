"""The normal form: what an alert says of one object, whatever broker and format it came in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Literal

#: Why an alert made or changed no Target. Handlers of one's own may add words.
RejectCode = Literal[
    "limit",
    "nonlocalised",
    "test",
    "retracted",
    "no_position",
    "large_error",
    "no_rule",
    "class",
    "probability",
    "filter",
    "sky",
    "age",
    "unsupported",
]

#: A survey reports whatever it detects; a notice announces one event or names its sources.
Kind = Literal["survey", "notice"]


@dataclass(frozen=True)
class PhotometryPoint:
    """One measurement: a magnitude, or a limit where nothing was seen. With both, the magnitude is stored."""

    #: As the alert gives it (UTC, aware, never rounded).
    time: datetime
    band: str
    #: Magnitude as the alert gives it.
    magnitude: float | None = None
    #: One sigma (mag).
    magnitude_error: float | None = None
    #: Nothing was seen brighter than this (mag).
    limit: float | None = None
    telescope: str = ""
    instrument: str = ""
    #: Who says so, for people: "ZTF", "ALeRCE", ….
    source: str = ""
    exposure_s: float | None = None
    #: What else is worth keeping with the point, as JSON.
    value: Mapping[str, Any] = field(default_factory=dict)
    #: The survey takes this measurement back: the stored point is removed, none is added.
    withdrawn: bool = False


@dataclass(frozen=True)
class ClassificationReport:
    """One class that one classifier gave to the object."""

    classifier: str
    class_name: str
    #: Between 0 and 1; None where the classifier gives none.
    probability: float | None = None
    version: str = ""
    #: 1 is the most probable class of this classifier; None where it is not known.
    ranking: int | None = None
    time: datetime | None = None
    #: What the classifier looked at, as JSON.
    features: Mapping[str, Any] = field(default_factory=dict)


Scheme = Literal["MPC_MINOR_PLANET", "MPC_COMET"]


@dataclass(frozen=True)
class OrbitalElements:
    """The orbit of a moving object, as the TOM Toolkit stores it: heliocentric, ecliptic J2000."""

    scheme: Scheme
    #: Modified Julian date (TT).
    epoch_of_elements: float
    #: Degrees.
    inclination: float
    #: Longitude of the ascending node (degrees).
    lng_asc_node: float
    #: Argument of perihelion (degrees).
    arg_of_perihelion: float
    eccentricity: float
    #: Degrees; MPC_MINOR_PLANET.
    mean_anomaly: float | None = None
    #: Astronomical units; MPC_MINOR_PLANET.
    semimajor_axis: float | None = None
    #: Distance from the Sun at perihelion (astronomical units); MPC_COMET.
    perihdist: float | None = None
    #: Modified Julian date (TT); MPC_COMET.
    epoch_of_perihelion: float | None = None


@dataclass(frozen=True)
class TargetReport:
    """What one alert says of one object."""

    #: The provider's name of the object: the name of a new Target.
    object_id: str
    kind: Kind
    #: Right ascension and declination (ICRS, degrees); None where the alert has no position.
    ra: float | None = None
    dec: float | None = None
    #: Radius of the error region (degrees); None where the alert does not say.
    position_error_deg: float | None = None
    #: The object moves among the stars: found by its names only, and a new Target needs its orbit.
    moving: bool = False
    elements: OrbitalElements | None = None
    #: Other names of the same object.
    aliases: tuple[str, ...] = ()
    #: Names of the event, mission and id, each enough to recognise it; empty for what is no event.
    event_keys: tuple[str, ...] = ()
    #: When the alert was issued (UTC): of two notices of one event the later is the newer.
    time: datetime | None = None
    #: When the object was first detected (UTC, aware); None where the alert does not say.
    first_seen: datetime | None = None
    photometry: tuple[PhotometryPoint, ...] = ()
    classifications: tuple[ClassificationReport, ...] = ()
    #: For the Target's extra fields.
    extras: Mapping[str, Any] = field(default_factory=dict)
    #: The provider's id of this alert; empty where it has none (then the bytes identify it).
    alert_id: str = ""
    #: The event is withdrawn.
    retraction: bool = False
    #: One line for people.
    summary: str = ""

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Every name the object goes by, each once, the object id first."""
        return tuple(dict.fromkeys((self.object_id, *self.aliases, *self.event_keys)))

    @property
    def has_position(self) -> bool:
        """Both coordinates are given."""
        return self.ra is not None and self.dec is not None
