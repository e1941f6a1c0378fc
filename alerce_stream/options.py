"""OPTIONS of :func:`alerce_stream.handlers.ingest_classifications`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from tom_alertstreams.ingest.options import IngestOptions

from .api import API_URL, RATE
from .resolver import Resolver, ask_api, load_resolver

#: Requests a second that RATE may be.
_RATES: Final = (0.1, 100.0)
#: Hours that LIGHT_CURVES_HOURS may be.
_HOURS: Final = (1.0, 10_000.0)


@dataclass(frozen=True)
class AlerceOptions(IngestOptions):
    """What every ready-made handler may be told, and where positions come from."""

    #: Dotted path of a function that finds positions in place of ALeRCE's API; None: RESOLVER of the stream.
    resolver: str | None = None
    #: Address of ALeRCE's API; None: API_URL of the stream.
    api_url: str | None = None
    #: Requests a second to ALeRCE's API at most, of all streams of the process together; None: RATE of the stream.
    rate: float | None = None
    #: Fetch ALeRCE's light curve of what the rules select, in jobs of django-tasks: all of it, or what has one of these
    #: classes. In settings True, False or a list.
    light_curves: bool | Sequence[str] = False
    #: Once asked for, the light curve of a Target is asked for again after so many hours at the earliest.
    light_curves_hours: float = 24.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fields is not None:
            raise ValueError("FIELDS is for ingest_targets; ALeRCE's messages have fields of their own.")
        if self.resolver is not None:
            load_resolver(self.resolver)
        if self.api_url is not None and not str(self.api_url).startswith(("http://", "https://")):
            raise ValueError("API_URL begins with http:// or https://.")
        if self.rate is not None and not _is_number(self.rate, *_RATES):
            raise ValueError(f"RATE is a number of requests a second, {_RATES[0]:g} to {_RATES[1]:g}.")
        if not isinstance(self.light_curves, bool):
            if not isinstance(self.light_curves, list | tuple | set | frozenset) or not all(
                isinstance(name, str) and name for name in self.light_curves
            ):
                raise ValueError("LIGHT_CURVES is True, False or a list of classes.")
            object.__setattr__(self, "light_curves", tuple(self.light_curves))
        if not _is_number(self.light_curves_hours, *_HOURS):
            raise ValueError(f"LIGHT_CURVES_HOURS is a number of hours, {_HOURS[0]:g} to {_HOURS[1]:g}.")

    @property
    def find_positions(self) -> Resolver:
        """The resolver."""
        return load_resolver(self.resolver) if self.resolver else partial(ask_api, rate=self.requests_a_second)

    def findings(self, *, notices: bool = False) -> list[str]:
        """Light curves are fetched only of what the rules select."""
        found = super().findings(notices=notices)
        selects = self.create == "always" or (self.create != "never" and self.has_rules)
        if self.light_curves and not selects:
            found.append("LIGHT_CURVES fetches nothing, for no rule selects an object.")
        return found

    def wants_light_curve(self, class_name: str) -> bool:
        """Of an object that the rules select and whose most probable class this is."""
        return self.light_curves if isinstance(self.light_curves, bool) else class_name in self.light_curves

    @property
    def requests_a_second(self) -> float:
        """RATE, or its default."""
        return RATE if self.rate is None else self.rate

    @property
    def address(self) -> str:
        """Where the API is."""
        return (self.api_url or API_URL).rstrip("/")

    def with_defaults(self, *, resolver: str | None, api_url: str | None, rate: float | None) -> AlerceOptions:
        """These options, with what the stream says where they say nothing."""
        return replace(
            self,
            resolver=self.resolver or resolver,
            api_url=self.api_url or api_url,
            rate=rate if self.rate is None else self.rate,
        )


def _is_number(value: object, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
