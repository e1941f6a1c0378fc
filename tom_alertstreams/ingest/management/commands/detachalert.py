"""``manage.py detachalert``: undoes a match by position that was wrong."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction

from tom_alertstreams.ingest.detaching import detach
from tom_alertstreams.management.plain_errors import plain_errors


class Command(BaseCommand):
    help = (
        "Undo a wrong match: an object whose alerts went to a Target that is another object gets a Target of its own, "
        "or goes to another one. Its alerts, the photometry they brought, its classifications and its name move along, "
        "and its next alerts follow."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("object_id", metavar="OBJECT", help="the provider's name of the object, as ZTF26aaaaaaa")
        parser.add_argument(
            "--from", dest="from_name", default="", metavar="TARGET", help="the Target it was taken for"
        )
        parser.add_argument(
            "--to", dest="to_name", default="", metavar="TARGET", help="an existing Target; else a new one is made"
        )
        parser.add_argument("--dry-run", action="store_true", help="say what would be moved, and move nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        with plain_errors(), transaction.atomic():
            done = detach(options["object_id"], from_name=options["from_name"], to_name=options["to_name"])
            if options["dry_run"]:
                transaction.set_rollback(True)
        would = "would move" if options["dry_run"] else "moved"
        new = "the new Target " if done.created else ""
        self.stdout.write(
            f"{would} {done.alerts:,} alerts, {done.points:,} photometry points and {done.classifications:,} "
            f"classifications from {done.from_name} to {new}{done.to_name}."
        )
