"""OPTIONS of :func:`alerce_stream.handlers.ingest_classifications`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tom_alertstreams.ingest.options import IngestOptions

from .resolver import API_URL, Resolver, load_resolver


@dataclass(frozen=True)
class AlerceOptions(IngestOptions):
    """What every ready-made handler may be told, and where positions come from."""

    #: Dotted path of a function that finds positions in place of ALeRCE's API; None: RESOLVER of the stream.
    resolver: str | None = None
    #: Address of ALeRCE's API; None: API_URL of the stream.
    api_url: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fields is not None:
            raise ValueError("FIELDS is for ingest_targets; ALeRCE's messages have fields of their own.")
        if self.resolver is not None:
            load_resolver(self.resolver)
        if self.api_url is not None and not str(self.api_url).startswith(("http://", "https://")):
            raise ValueError("API_URL begins with http:// or https://.")

    @property
    def find_positions(self) -> Resolver:
        """The resolver."""
        return load_resolver(self.resolver)

    @property
    def address(self) -> str:
        """Where the API is."""
        return (self.api_url or API_URL).rstrip("/")

    def with_defaults(self, *, resolver: str | None, api_url: str | None) -> AlerceOptions:
        """These options, with what the stream says where they say nothing."""
        return replace(self, resolver=self.resolver or resolver, api_url=self.api_url or api_url)
