"""Dead letters as a stream would have left them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from tests.effects import handlers
from tom_alertstreams.models import DeadLetter

FAILED = datetime(2026, 11, 22, 3, 12, tzinfo=timezone.utc)


def letter(offset: int = 0, **values: Any) -> DeadLetter:
    """A dead letter of the stream ``ztf``."""
    known = {
        "stream": "ztf",
        "cluster": "cluster",
        "group_id": "group",
        "topic": "ztf_20261122",
        "partition": 0,
        "offset": offset,
        "raw": handlers.content(n=offset),
        "handler": "my.handler",
        "error_class": "KeyError",
        "error": "'candid'",
        "traceback": "Traceback (most recent call last):\n  …\nKeyError: 'candid'\n",
        "fingerprint": "f1",
        "attempts": 3,
        "first_failed_at": FAILED + timedelta(minutes=offset),
    }
    return DeadLetter.objects.create(**{**known, **values})


def pressed(kind: str, drawn: datetime | None = None) -> dict[str, str]:
    """What a button sends.

    :param drawn: when its page was; without it now.
    """
    return {"kind": kind, "seen_until": (drawn or datetime.now(timezone.utc)).isoformat()}
