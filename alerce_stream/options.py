"""OPTIONS of :func:`alerce_stream.handlers.ingest_classifications`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from tom_alertstreams.ingest.options import IngestOptions

from .api import API_URL, RATE
from .resolver import Resolver, ask_api, load_resolver

#: Requests a second that RATE may be.
_RATES: Final = (0.1, 100.0)


@dataclass(frozen=True)
class AlerceOptions(IngestOptions):
    """What every ready-made handler may be told, and where positions come from."""

    #: Dotted path of a function that finds positions in place of ALeRCE's API; None: RESOLVER of the stream.
    resolver: str | None = None
    #: Address of ALeRCE's API; None: API_URL of the stream.
    api_url: str | None = None
    #: Requests a second to ALeRCE's API at most, of all streams of the process together; None: RATE of the stream.
    rate: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fields is not None:
            raise ValueError("FIELDS is for ingest_targets; ALeRCE's messages have fields of their own.")
        if self.resolver is not None:
            load_resolver(self.resolver)
        if self.api_url is not None and not str(self.api_url).startswith(("http://", "https://")):
            raise ValueError("API_URL begins with http:// or https://.")
        if self.rate is not None and not _is_rate(self.rate):
            raise ValueError(f"RATE is a number of requests a second, {_RATES[0]:g} to {_RATES[1]:g}.")

    @property
    def find_positions(self) -> Resolver:
        """The resolver."""
        return load_resolver(self.resolver) if self.resolver else partial(ask_api, rate=self.requests_a_second)

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


def _is_rate(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and _RATES[0] <= value <= _RATES[1]
