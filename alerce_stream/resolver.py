"""Positions of objects: ALeRCE's classifications carry none, its web API knows them."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar, cast

from django.utils.module_loading import import_string

from tom_alertstreams.exceptions import LookUpUnavailable
from tom_alertstreams.ingest.parsers.values import number

from .api import PATIENCE_S, RATE, get_json, not_as_expected

#: Ids in one request: they travel in the address, and servers take addresses of a few thousand characters.
IDS_PER_REQUEST: Final = 100
#: Pages of one request that are read at most. Objects come once per classifier, so there may be several.
_MAX_PAGES: Final = 10
_CACHE_SIZE: Final = 50_000
#: Seconds for which a look-up that was not finished need not ask again for what the API did not know.
_UNKNOWN_FOR_S: Final = 300.0

Value = TypeVar("Value")


class Position(NamedTuple):
    """ICRS, degrees."""

    ra: float
    dec: float
    #: When the object was first detected (MJD, UTC), where that is known.
    first_mjd: float | None = None


#: ``callable(object_ids, api_url)``: the positions of those objects that it knows. It raises
#: :class:`~tom_alertstreams.exceptions.LookUpUnavailable` where it cannot say; the stream then waits.
Resolver = Callable[[list[str], str], Mapping[str, Position]]


def load_resolver(path: str | None) -> Resolver:
    """The function that RESOLVER names; ALeRCE's API where it names none.

    :raises ValueError: it cannot be imported.
    """
    if not path:
        return ask_api
    try:
        found = import_string(path)
    except Exception as error:
        raise ValueError(f"RESOLVER {path!r} cannot be imported: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise ValueError(f"RESOLVER {path!r} is not a function.")
    return cast(Resolver, found)


def positions_of(object_ids: Sequence[str], resolver: Resolver, api_url: str) -> dict[str, Position]:
    """Ask a resolver, and keep of its answer what is on the sky and was asked for.

    :raises LookUpUnavailable: it does not answer.
    """
    if not object_ids:
        return {}
    try:
        answer = resolver(list(object_ids), api_url)
    except OSError as error:  # time-outs, refused connections, and everything requests raises
        raise LookUpUnavailable(f"the position of {len(object_ids)} objects cannot be looked up: {error}") from error
    wanted = set(object_ids)
    return {
        name: position for name, value in answer.items() if name in wanted and (position := on_sky(*value)) is not None
    }


def ask_api(object_ids: list[str], api_url: str, rate: float = RATE) -> dict[str, Position]:
    """Positions from ALeRCE's list of objects, at most 100 ids a request. What it does not know is left out.

    :param rate: requests a second.
    :raises LookUpUnavailable: it does not answer, or not as it should.
    """
    deadline = time.monotonic() + PATIENCE_S
    # What is found out is kept even if a later request fails, so that a slow API is got through try by try.
    found = _CACHE.get(api_url, object_ids)
    since = time.monotonic() - _UNKNOWN_FOR_S
    unknown = {name for name, moment in _UNKNOWN.get(api_url, object_ids).items() if moment > since}
    missing = sorted(set(object_ids) - set(found) - unknown)
    for start in range(0, len(missing), IDS_PER_REQUEST):
        if time.monotonic() > deadline:
            raise LookUpUnavailable(
                f"ALeRCE's API {api_url} is too slow: {len(missing) - start} objects were not asked for within "
                f"{PATIENCE_S:.0f} s.",
                hint="It is tried again, and what was found is kept.",
            )
        chunk = missing[start : start + IDS_PER_REQUEST]
        for page in _pages(f"{api_url}/objects", chunk, rate, deadline):
            _CACHE.put(api_url, page)
            found |= page
        _UNKNOWN.put(api_url, dict.fromkeys(set(chunk) - set(found), time.monotonic()))
    # The look-up is whole: whoever asks next wants to know anew.
    _UNKNOWN.forget(api_url, object_ids)
    return found


def _pages(url: str, object_ids: Sequence[str], rate: float, deadline: float) -> Iterator[dict[str, Position]]:
    """Positions of one chunk, page after page until every object is found or the pages bring nothing new."""
    wanted = set(object_ids)
    for page in range(1, _MAX_PAGES + 1):
        # Without page_size the API lists 10 objects; it need not count them.
        parameters = {"oid": list(object_ids), "page": page, "page_size": IDS_PER_REQUEST, "count": "false"}
        items, more = _items(url, get_json(url, parameters, rate=rate, deadline=deadline))
        named = {str(item.get("oid", "")): item for item in reversed(items)}
        news = wanted & set(named)
        yield {name: position for name in news if (position := _position(named[name])) is not None}
        wanted -= news
        if not more or not wanted or not news:
            break


def _items(url: str, content: Any) -> tuple[list[Mapping[str, Any]], bool]:
    """The objects of one page, and whether another follows."""
    items = content.get("items") if isinstance(content, Mapping) else None
    if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
        raise not_as_expected(url, "no list of objects")
    return items, bool(content.get("has_next"))


def _position(item: Mapping[str, Any]) -> Position | None:
    return on_sky(item.get("meanra"), item.get("meandec"), item.get("firstmjd"))


def on_sky(ra: object, dec: object, first_mjd: object = None) -> Position | None:
    """These as a position, or None where they are none."""
    if isinstance(ra, bool) or isinstance(dec, bool):
        return None
    if not isinstance(ra, int | float) or not isinstance(dec, int | float):
        return None
    if not (math.isfinite(ra) and math.isfinite(dec) and 0 <= ra <= 360 and -90 <= dec <= 90):
        return None
    return Position(float(ra), float(dec), number(first_mjd))


class _Cache(Generic[Value]):
    """What was found out lately of objects, by address of the API."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._found: OrderedDict[tuple[str, str], Value] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, api_url: str, object_ids: Sequence[str]) -> dict[str, Value]:
        """What is known here of these."""
        with self._lock:
            return {name: self._found[api_url, name] for name in object_ids if (api_url, name) in self._found}

    def put(self, api_url: str, values: Mapping[str, Value]) -> None:
        """Remember; the oldest are forgotten."""
        with self._lock:
            self._found.update({(api_url, name): value for name, value in values.items()})
            while len(self._found) > self._size:
                self._found.popitem(last=False)

    def forget(self, api_url: str, object_ids: Sequence[str]) -> None:
        """Nothing is known of these any more."""
        with self._lock:
            for name in object_ids:
                self._found.pop((api_url, name), None)

    def clear(self) -> None:
        """Nothing is known of any object any more."""
        with self._lock:
            self._found.clear()


#: A mean position hardly moves, and only new Targets take theirs from here.
_CACHE: Final[_Cache[Position]] = _Cache(_CACHE_SIZE)
#: When the API did not know an object, in a look-up that was not finished.
_UNKNOWN: Final[_Cache[float]] = _Cache(_CACHE_SIZE)


def forget_positions() -> None:
    """Ask anew for all objects, as where another API has got an address."""
    _CACHE.clear()
    _UNKNOWN.clear()


def chunked(names: Sequence[str], size: int = 500) -> Iterator[Sequence[str]]:
    """Names in slices that a database takes at once."""
    return (names[start : start + size] for start in range(0, len(names), size))
