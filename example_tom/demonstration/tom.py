"""The TOM's database: made, filled with two accounts, and counted. Django must be set up."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Final

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from tom_dataproducts.models import PhotometryReducedDatum
from tom_targets.models import Target

from tom_alertstreams.ingest.models import Classification
from tom_alertstreams.models import DeadLetter, OutcomeCount

#: Name and password of an ordinary user and of a superuser. They are no secret: the demo answers to 127.0.0.1 only.
ORDINARY: Final = "demo"
SUPERUSER: Final = "admin"


def prepare(*, fresh: bool) -> datetime:
    """Make the tables and the accounts.

    :param fresh: begin with an empty database.
    :returns: the night that this database is about: the last one before it was made.
    """
    folder: Path = settings.RUN_DIR
    if fresh:
        shutil.rmtree(folder / "cache", ignore_errors=True)
        for path in (*folder.glob("tom.sqlite3*"), folder / "night.txt"):
            path.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    # The TOM Toolkit logs that it makes a profile for each new account.
    logging.getLogger("tom_common.signals").setLevel(logging.WARNING)
    call_command("migrate", verbosity=0)
    if not User.objects.filter(username=ORDINARY).exists():
        User.objects.create_user(ORDINARY, password=ORDINARY)
    if not User.objects.filter(username=SUPERUSER).exists():
        User.objects.create_superuser(SUPERUSER, password=SUPERUSER)
    return _night(folder / "night.txt")


def _night(path: Path) -> datetime:
    """Kept in a file, so that the same alerts come again tomorrow."""
    if not path.exists():
        path.write_text(f"{datetime.now(timezone.utc) - timedelta(hours=12):%Y-%m-%d}\n")
    return datetime.strptime(path.read_text().strip(), "%Y-%m-%d").replace(tzinfo=timezone.utc)


@dataclass(frozen=True)
class Totals:
    """What is in the TOM."""

    targets: int
    points: int
    classifications: int

    @classmethod
    def now(cls) -> Totals:
        """Count."""
        return cls(Target.objects.count(), PhotometryReducedDatum.objects.count(), Classification.objects.count())

    def __str__(self) -> str:
        return (
            f"{self.targets:,} targets, {self.points:,} photometry points, {self.classifications:,} class probabilities"
        )


def alerts_seen() -> int:
    """Alerts that were done with, one way or the other, since the database was made."""
    return sum(OutcomeCount.objects.exclude(outcome="waiting").values_list("n", flat=True))


def dead_letters() -> int:
    """Alerts that nobody could read."""
    return DeadLetter.objects.filter(state=DeadLetter.State.OPEN).count()
