"""``manage.py prunealerts``: deletes what is old and done with."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from tom_alertstreams.delivery.pruning import delete, prunable
from tom_alertstreams.management.ages import age
from tom_alertstreams.management.plain_errors import plain_errors
from tom_alertstreams.management.progress import progress_bar


class Command(BaseCommand):
    help = (
        "Delete old rows: dead letters that were replayed or dismissed, runs that have ended, records of replays "
        "and dismissals, counts, rejections, alarms. "
        "Dead letters that are open or waiting are never deleted, nor the last run of a stream, nor what says where "
        "reading goes on. TargetAlert and Classification stay too: without its TargetAlert an alert that comes again "
        "is taken for a new one."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--older-than", type=age, metavar="AGE", required=True, help="rows older than this, as 90d, 12h, 30m"
        )
        parser.add_argument("--really", action="store_true", help="delete them; without it they are only counted")

    def handle(self, *args: Any, **options: Any) -> None:
        really = options["really"]
        with plain_errors():
            for old in prunable(options["older_than"]):
                total = old.rows.count()
                if really:
                    done = 0
                    with progress_bar(f"Deleting {old.what}") as show:
                        for step in delete(old):
                            done += step
                            show(done, total)
                    total = done
                self.stdout.write(f"{total:>12,}  {old.what}")
        self.stdout.write("Deleted." if really else "Nothing was deleted. With --really they are.")
