"""Positions of objects: ALeRCE's classifications carry none, its web API knows them."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

import requests
import stamina
from django.utils.module_loading import import_string

from tom_alertstreams.exceptions import LookUpUnavailable
from tom_alertstreams.ingest.parsers.values import number

API_URL: Final = "https://api.alerce.online/ztf/v1"
#: Ids in one request: they travel in the address, and servers take addresses of a few thousand characters.
IDS_PER_REQUEST: Final = 100
#: Pages of one request that are read at most. Objects come once per classifier, so there may be several.
_MAX_PAGES: Final = 10
#: Seconds to connect, and to wait for an answer.
_TIME_OUTS: Final = (5.0, 10.0)
#: Seconds in which the look-ups of one batch end or give up, well below PREPARE_TIMEOUT_S and SHUTDOWN_S.
_PATIENCE_S: Final = 20.0
#: A Retry-After of more seconds is waited for by the stream, which goes on polling Kafka, and not here.
_LONGEST_RETRY_AFTER_S: Final = 5.0
_CACHE_SIZE: Final = 50_000


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


def ask_api(object_ids: list[str], api_url: str) -> dict[str, Position]:
    """Positions from ALeRCE's list of objects, at most 100 ids a request. What it does not know is left out.

    :raises LookUpUnavailable: it does not answer, or not as it should.
    """
    deadline = time.monotonic() + _PATIENCE_S
    # What is found is kept even if a later request fails, so that a slow API is got through try by try.
    found = _CACHE.get(api_url, object_ids)
    missing = sorted(set(object_ids) - set(found))
    with requests.Session() as session:
        for start in range(0, len(missing), IDS_PER_REQUEST):
            if time.monotonic() > deadline:
                raise LookUpUnavailable(
                    f"ALeRCE's API {api_url} is too slow: {len(missing) - start} objects were not asked for within "
                    f"{_PATIENCE_S:.0f} s. It is tried again."
                )
            chunk = _ask(session, api_url, missing[start : start + IDS_PER_REQUEST])
            _CACHE.put(api_url, chunk)
            found |= chunk
    return found


def _ask(session: requests.Session, api_url: str, object_ids: Sequence[str]) -> dict[str, Position]:
    """One chunk, page after page until every object is found or there are no more pages."""
    found: dict[str, Position] = {}
    for page in range(1, _MAX_PAGES + 1):
        # Without page_size the API lists 10 objects; it need not count them.
        parameters = {"oid": list(object_ids), "page": page, "page_size": IDS_PER_REQUEST, "count": "false"}
        items, more = _page(session, f"{api_url}/objects", parameters)
        for item in items:
            name = str(item.get("oid", ""))
            position = on_sky(item.get("meanra"), item.get("meandec"), item.get("firstmjd"))
            if position is not None:
                found.setdefault(name, position)
        if not more or len(found) >= len(object_ids):
            break
    return found


def _page(session: requests.Session, url: str, parameters: Mapping[str, Any]) -> tuple[list[Mapping[str, Any]], bool]:
    """The objects of one page, and whether another follows."""
    try:
        for attempt in stamina.retry_context(on=_worth_a_retry, attempts=3, timeout=_PATIENCE_S / 2):
            with attempt:
                answer = session.get(url, params=parameters, timeout=_TIME_OUTS)
                answer.raise_for_status()
    except requests.HTTPError as error:
        raise LookUpUnavailable(
            f"ALeRCE's API answered {error.response.status_code} for {url}.",
            hint="The stream waits and asks again." if _may_pass(error.response) else "Check API_URL.",
        ) from error
    except requests.RequestException as error:
        # Not the error's text: it repeats the address with a hundred ids.
        raise LookUpUnavailable(
            f"ALeRCE's API {url} does not answer ({type(error).__name__}).", hint="The stream waits and asks again."
        ) from error
    try:
        content = answer.json()
        items, more = content["items"], content.get("has_next")
        if all(isinstance(item, Mapping) for item in items):
            return list(items), bool(more)
    except (ValueError, LookupError, TypeError, AttributeError):
        pass
    raise LookUpUnavailable(
        f"ALeRCE's API {url} answered with something that is no list of objects "
        f"({answer.headers.get('Content-Type', 'no type')}).",
        hint="If it stays so, check API_URL, and whether a proxy answers in its place.",
    )


def _worth_a_retry(error: Exception) -> bool | float:
    """Trouble that may be over in a moment; with Retry-After, when."""
    if not isinstance(error, requests.RequestException):
        return False
    if error.response is None:
        return isinstance(error, requests.ConnectionError | requests.Timeout)
    if not _may_pass(error.response):
        return False
    asked_for = error.response.headers.get("Retry-After")
    if asked_for is None:
        return True
    if not asked_for.isdecimal() or float(asked_for) > _LONGEST_RETRY_AFTER_S:
        return False
    return float(asked_for)


def _may_pass(response: requests.Response) -> bool:
    return response.status_code in (408, 425, 429) or response.status_code >= 500


def on_sky(ra: object, dec: object, first_mjd: object = None) -> Position | None:
    """These as a position, or None where they are none."""
    if isinstance(ra, bool) or isinstance(dec, bool):
        return None
    if not isinstance(ra, int | float) or not isinstance(dec, int | float):
        return None
    if not (math.isfinite(ra) and math.isfinite(dec) and 0 <= ra <= 360 and -90 <= dec <= 90):
        return None
    return Position(float(ra), float(dec), number(first_mjd))


class _Cache:
    """Positions found lately. A mean position hardly moves, and only new Targets take theirs from here."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._found: OrderedDict[tuple[str, str], Position] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, api_url: str, object_ids: Sequence[str]) -> dict[str, Position]:
        """Those that are known here."""
        with self._lock:
            return {name: self._found[api_url, name] for name in object_ids if (api_url, name) in self._found}

    def put(self, api_url: str, positions: Mapping[str, Position]) -> None:
        """Remember; the oldest are forgotten."""
        with self._lock:
            self._found.update({(api_url, name): position for name, position in positions.items()})
            while len(self._found) > self._size:
                self._found.popitem(last=False)


_CACHE: Final = _Cache(_CACHE_SIZE)


def chunked(names: Sequence[str], size: int = 500) -> Iterator[Sequence[str]]:
    """Names in slices that a database takes at once."""
    return (names[start : start + size] for start in range(0, len(names), size))
