"""How the streams are, for monitors: 200 where all is well, 503 where it is not, and why in JSON."""

from __future__ import annotations

from typing import Any

from django import db
from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from tom_alertstreams.delivery.failures import heal_connection, why_unknown
from tom_alertstreams.status import health_of, stream_statuses


# With ATOMIC_REQUESTS a database that is away fails before anything here is called.
@transaction.non_atomic_requests
@never_cache
@require_safe
def health(request: HttpRequest) -> JsonResponse:
    """One object for each stream. Three queries, and no session is read: a database that is away is told in the same way."""
    try:
        return _answer(health_of(stream_statuses()))
    except db.Error as error:
        heal_connection()
        return _answer(health_of([], why_unknown(error)))


def _answer(content: dict[str, Any]) -> JsonResponse:
    return JsonResponse(content, status=200 if content["healthy"] else 503)
