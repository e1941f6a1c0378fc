"""Requests to ALeRCE's web API: paced, asked again where trouble may pass, over connections that are kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import requests
import stamina

from tom_alertstreams.exceptions import LookUpUnavailable

API_URL: Final = "https://api.alerce.online/ztf/v1"
#: Requests a second. ALeRCE's servers answer 429 for minutes to who asks them more than five times a second.
RATE: Final = 3.0
#: Seconds in which the look-ups of one batch end or give up, well below PREPARE_TIMEOUT_S and SHUTDOWN_S.
PATIENCE_S: Final = 20.0
#: Seconds to connect, and to wait for an answer.
_TIME_OUTS: Final = (5.0, 10.0)
#: A Retry-After of more seconds is waited for by the stream, which goes on polling Kafka, and not here.
_LONGEST_RETRY_AFTER_S: Final = 5.0


class NotFound(LookUpUnavailable):
    """ALeRCE's API has nothing at this address."""


class Pace:
    """The requests of a process to one server, one after the other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next = 0.0

    def wait(self, rate: float, deadline: float) -> bool:
        """Wait for one's turn.

        :param rate: requests a second.
        :param deadline: moment of ``time.monotonic``.
        :returns: False where the turn would come after the deadline: then it is left to others.
        """
        with self._lock:
            turn = max(time.monotonic(), self._next)
            if turn > deadline:
                return False
            self._next = turn + 1 / rate
        time.sleep(max(0.0, turn - time.monotonic()))
        return True


#: One for each server: all streams, topics and jobs of a process share it.
_PACES: Final[dict[str, Pace]] = {}
#: A session, with its connections, for each thread.
_LOCAL: Final = threading.local()


def get_json(
    url: str, parameters: Mapping[str, Any] | None = None, *, rate: float = RATE, deadline: float | None = None
) -> Any:
    """What is at this address of the API.

    :param rate: requests a second, see :class:`Pace`.
    :param deadline: moment of ``time.monotonic`` at which waiting and asking again end; None: in PATIENCE_S.
    :raises NotFound: nothing is.
    :raises LookUpUnavailable: the API does not answer, or not with JSON.
    """
    deadline = time.monotonic() + PATIENCE_S if deadline is None else deadline
    patience_s = max(0.1, deadline - time.monotonic())
    try:
        for attempt in stamina.retry_context(on=_worth_a_retry, attempts=3, timeout=patience_s):
            with attempt:
                answer = _get(url, parameters or {}, rate, deadline)
    except requests.HTTPError as error:
        status = error.response.status_code
        raise (NotFound if status == 404 else LookUpUnavailable)(
            f"ALeRCE's API answered {status} for {url}.",
            hint="It is asked again." if _may_pass(error.response) else "Check API_URL.",
        ) from error
    except requests.RequestException as error:
        # Not the error's text: it repeats the address with a hundred ids.
        raise LookUpUnavailable(
            f"ALeRCE's API {url} does not answer ({type(error).__name__}).", hint="It is asked again."
        ) from error
    try:
        return answer.json()
    except ValueError as error:
        raise not_as_expected(url, answer.headers.get("Content-Type", "no type")) from error


def not_as_expected(url: str, what: str) -> LookUpUnavailable:
    """The error for an answer that is something else."""
    return LookUpUnavailable(
        f"ALeRCE's API {url} answered with something else than it should ({what}).",
        hint="If it stays so, check API_URL, and whether a proxy answers in its place.",
    )


def _get(url: str, parameters: Mapping[str, Any], rate: float, deadline: float) -> requests.Response:
    if not _PACES.setdefault(urlsplit(url).netloc, Pace()).wait(rate, deadline):
        raise LookUpUnavailable(
            f"ALeRCE's API {url} is asked by others of this process; at RATE {rate:g} the turn comes too late.",
            hint="It is tried again; see RATE.",
        )
    left_s = max(1.0, deadline - time.monotonic())
    time_outs = (min(_TIME_OUTS[0], left_s), min(_TIME_OUTS[1], left_s))
    answer = _session().get(url, params=parameters, timeout=time_outs)
    answer.raise_for_status()
    return answer


def _session() -> requests.Session:
    session: requests.Session | None = getattr(_LOCAL, "session", None)
    if session is None:
        session = _LOCAL.session = requests.Session()
    return session


def _worth_a_retry(error: Exception) -> bool | float:
    """Trouble that may be over in a moment; with Retry-After, when."""
    if not isinstance(error, requests.RequestException):
        return False
    if error.response is None:
        # The last: the connection broke in the middle of the answer.
        return isinstance(error, requests.ConnectionError | requests.Timeout | requests.exceptions.ChunkedEncodingError)
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
