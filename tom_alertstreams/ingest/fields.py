"""FIELDS: which fields of an alert hold what, for alerts whose columns their user has chosen."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from .paths import MISSING, find

#: Keys of which one says when the object was measured.
TIMES: Final = ("mjd", "mjd_tai", "jd", "time")

_OF_NO_USE_WITHOUT: Final = {
    "mag_error": "mag",
    "flux_njy": "flux_error_njy",
    "flux_error_njy": "flux_njy",
    "ra": "dec",
    "dec": "ra",
}


@dataclass(frozen=True)
class Fields:
    """Names of fields, or dotted paths to them; None for what the alert does not hold."""

    object_id: str
    alert_id: str | None = None
    #: Right ascension and declination (ICRS, degrees).
    ra: str | None = None
    dec: str | None = None
    #: Modified Julian date (UTC, days).
    mjd: str | None = None
    #: The same in TAI, as the names of Rubin's columns say.
    mjd_tai: str | None = None
    #: Julian date (UTC, days).
    jd: str | None = None
    #: ISO 8601, or a number that is a JD or an MJD.
    time: str | None = None
    band: str | None = None
    #: Magnitude and its error (AB).
    mag: str | None = None
    mag_error: str | None = None
    #: Signed flux and its error (nJy), of which DETECTION_SNR makes a magnitude or a limit.
    flux_njy: str | None = None
    flux_error_njy: str | None = None
    #: Other names of the object; each field holds one name or a list of names.
    aliases: tuple[str, ...] = ()
    #: The parts of each name that is a path.
    _paths: Mapping[str, tuple[str, ...]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        aliases: object = self.aliases
        if isinstance(aliases, str):
            aliases = (aliases,)
        if not isinstance(aliases, list | tuple):
            raise ValueError("aliases in FIELDS is the name of a field, or a list of names.")
        object.__setattr__(self, "aliases", tuple(aliases))
        given = {key: value for key in KEYS if (value := getattr(self, key)) is not None and key != "aliases"}
        for key, name in [*given.items(), *(("aliases", name) for name in self.aliases)]:
            _check(isinstance(name, str) and bool(name), f"{key} in FIELDS is the name of a field, not {name!r}.")
        for key, other in _OF_NO_USE_WITHOUT.items():
            _check(key not in given or other in given, f"FIELDS names {key}; name {other} as well.")
        times = [key for key in TIMES if key in given]
        _check(len(times) <= 1, f"FIELDS names {' and '.join(times)}; one of them is enough.")
        if "mag" in given or "flux_njy" in given:
            what = "mag" if "mag" in given else "flux_njy"
            _check(bool(times), f"FIELDS names {what}; name its time as well: {', '.join(TIMES)}.")
            _check("band" in given, f"FIELDS names {what}; name band as well.")
        names = (*given.values(), *self.aliases)
        object.__setattr__(self, "_paths", {name: tuple(name.split(".")) for name in names if "." in name})

    @classmethod
    def build(cls, given: object) -> Fields:
        """Make them of what settings say: an object with some of the keys, object_id at least.

        :raises ValueError: with what is wrong.
        """
        if isinstance(given, cls):
            return given
        if not isinstance(given, Mapping):
            raise ValueError('FIELDS is an object like {"object_id": "objectId", "ra": "ramean", …}.')
        unknown = sorted(str(key) for key in given if key not in KEYS)
        _check(not unknown, f"FIELDS does not know {', '.join(unknown)}; it takes {', '.join(KEYS)}.")
        _check(
            given.get("object_id") is not None, "FIELDS must name object_id, the field that holds the object's name."
        )
        return cls(**given)

    def reader(self, content: Mapping[str, Any]) -> Callable[[str | None], Any]:
        """A function that returns what is in a field; None for an absent one, and for the name None."""
        if not self._paths:
            return content.get  # type: ignore[return-value]  # for None it has nothing either
        return lambda name: self._find(content, name)

    def _find(self, content: Mapping[str, Any], name: str | None) -> Any:
        if name is None:
            return None
        parts = self._paths.get(name)
        if parts is None:
            return content.get(name)
        found = find(content, parts)
        return None if found is MISSING else found


#: What FIELDS may name.
KEYS: Final = tuple(item.name for item in dataclasses.fields(Fields) if item.init)


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)
