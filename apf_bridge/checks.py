"""Django's system checks for the outbox. They look into the database: ``manage.py check --database default``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from django.core.checks import CheckMessage, Tags, Warning, register
from django.db import DEFAULT_DB_ALIAS, Error
from django.db.models import Count, Min
from django.utils import timezone

from .models import OutboxMessage

#: An outbox whose oldest message waits for longer is told.
LATE: Final = timedelta(hours=1)


@register(Tags.database)
def check_outbox(databases: Sequence[str] | None = None, **_kwargs: Any) -> list[CheckMessage]:
    """Messages of steps that are not on their broker."""
    if DEFAULT_DB_ALIAS not in (databases or ()):
        return []
    states = OutboxMessage.State
    try:
        late = list(
            OutboxMessage.objects.filter(state=states.PENDING)
            .values("outlet__name")
            .annotate(count=Count("pk"), since=Min("created"))
            .filter(since__lt=timezone.now() - LATE)
        )
        refused = list(
            OutboxMessage.objects.filter(state=states.REFUSED).values("outlet__name").annotate(count=Count("pk"))
        )
    except Error:  # before migrate
        return []
    return [
        *(
            Warning(
                f"{row['count']} messages of {row['outlet__name']} are not on their broker, since {row['since']:%F %R}.",
                hint="Is readstreams running, and its broker up? A stream or a step that was renamed leaves its outbox behind: "
                "./manage.py stepoutbox list.",
                id="apf_bridge.W001",
            )
            for row in late
        ),
        *(
            Warning(
                f"{row['count']} messages of {row['outlet__name']} were refused by their broker and are given up.",
                hint="./manage.py stepoutbox list says why; stepoutbox resend sends them again, stepoutbox drop deletes them.",
                id="apf_bridge.W002",
            )
            for row in refused
        ),
    ]  # fmt: skip
