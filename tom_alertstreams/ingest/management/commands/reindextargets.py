"""``manage.py reindextargets``: the index that alerts are matched by, made of the Targets that are there."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from tom_alertstreams.ingest import positions
from tom_alertstreams.ingest.models import TargetPosition
from tom_alertstreams.management.plain_errors import plain_errors
from tom_alertstreams.management.progress import progress_bar


class Command(BaseCommand):
    help = (
        "Put the positions of all sidereal Targets into the index that alerts are matched by. Only what is missing or "
        "has changed is written, in portions, so it can be stopped and started again, also while readstreams runs. "
        "readstreams does the same when it starts; with many Targets it is quicker to have it done before."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        with plain_errors():
            missing = positions.without_position().count()
            with progress_bar("Indexing Targets") as show:
                removed, added = positions.compare(lambda done: show(done, max(done, missing)))
            self.stdout.write(
                f"{added:,} positions added, {removed:,} removed that were out of date; "
                f"the index has {TargetPosition.objects.count():,}."
            )
