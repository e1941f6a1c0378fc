"""Alarms as JSON to a web address: Slack, Mattermost, or a service of one's own."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tom_alertstreams.exceptions import ConfigurationError

from .notifier import Notice, Notifier, check_timeout

#: Parts of an address that are shorter would blank ordinary words.
_SHORTEST = 12


@dataclass(frozen=True)
class WebhookNotifier(Notifier):
    """One POST. ``text`` is what Slack and its like show; ``alarms`` is for programs."""

    #: Whoever knows it can write there: it is a secret.
    url: str = field(default="", repr=False)
    timeout_s: float = 10.0

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            usable = parts.scheme in ("https", "http") and parts.hostname and parts.port != 0
        except (AttributeError, TypeError, ValueError):
            usable = False
        if not usable or not self.url.isascii() or not self.url.isprintable() or " " in self.url:
            raise ConfigurationError("URL is no web address.", hint="It begins with https:// or http://.")
        if parts.username is not None:
            raise ConfigurationError(
                "URL has a login before the @, which would not be sent.",
                hint="Use an address that needs none, or write a notifier: docs/how-to/alarms.md.",
            )
        check_timeout(self.timeout_s)

    def secrets(self) -> Iterable[str]:
        """The address, and what of it errors may show."""
        parts = urlsplit(self.url)
        rest = parts._replace(scheme="", netloc="").geturl()
        shown = (rest, parts.path, parts.query)
        return [self.url, *(part for part in shown if len(part) >= _SHORTEST)]

    def tell(self, notice: Notice) -> None:
        """Post it. An answer other than 2xx is a failure, a redirection too: the secret is for this address only."""
        request = urllib.request.Request(  # noqa: S310  (https or http, see above)
            self.url,
            data=json.dumps(payload(notice)).encode(),
            headers={"Content-Type": "application/json; charset=utf-8", "User-Agent": "tom-alertstreams"},
            method="POST",
        )
        with urllib.request.build_opener(_NoRedirection).open(request, timeout=self.timeout_s):
            pass


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: Any) -> None:
        """None: the answer is then an error."""
        return


def payload(notice: Notice) -> dict[str, Any]:
    """What is posted. Times are in ISO 8601."""
    return {
        "text": _for_slack(notice.text),
        "alarms": [
            {
                "stream": item.stream,
                "kind": item.kind.value,
                "over": item.is_over,
                "words": item.words,
                "reason": item.reason,
                "advice": item.advice,
                "began": item.began.isoformat(),
            }
            for item in notice.items
        ],
    }


def _for_slack(text: str) -> str:
    """What an alert says must not call everybody of a channel, as ``<!channel>`` does."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
