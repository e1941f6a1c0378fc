"""``manage.py stepoutbox``: what steps have put out and is not on its broker: list it, send it again, drop it."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import Count, Max, Min, QuerySet

from apf_bridge.models import OutboxMessage
from tom_alertstreams.conf import configured_streams
from tom_alertstreams.management.plain_errors import plain_errors
from tom_alertstreams.redaction import redact, redacted

State = OutboxMessage.State
#: Those that nothing needs to be done about are not listed.
_UNSENT = (State.PENDING, State.REFUSED)
_SHOWN = (
    "id", "state", "outlet__name", "producer", "topic", "source", "created", "attempts", "last_error"
)  # fmt: skip


class Command(BaseCommand):
    help = "Messages of APF steps that are not on their broker: list them, send refused ones again, drop them."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="list|resend|drop")
        listing = actions.add_parser("list", help="how many wait or were refused, since when and why")
        _add_filters(listing)
        listing.add_argument("--each", action="store_true", help="one line for each instead of for each outlet")
        listing.add_argument("--json", action="store_true", help="print a JSON list")
        for name, what in (
            ("resend", "send refused ones again, when their stream next looks"),
            ("drop", "delete them for good: they never come to their topics"),
        ):
            action = actions.add_parser(name, help=what)
            _add_filters(action)
            action.add_argument("--all", action="store_true", help="all of them; needed without filters")
            action.add_argument("--dry-run", action="store_true", help="only count them")

    def handle(self, *args: Any, **options: Any) -> None:
        with plain_errors():
            configured_streams()  # so that their secrets are known, and blanked in what is printed
            getattr(self, f"_{options['action']}")(options)

    def _list(self, options: dict[str, Any]) -> None:
        rows = _chosen(options)
        found: list[dict[str, Any]]
        if options["each"]:
            found = [dict(row) for row in rows.order_by("pk").values(*_SHOWN)]
        else:
            groups = rows.values("outlet__name", "producer", "state").order_by("outlet__name", "producer", "state")
            summed = groups.annotate(count=Count("pk"), since=Min("created"), last_error=Max("last_error"))
            found = [dict(row) for row in summed]
        for row in found:
            row["outlet"] = row.pop("outlet__name")
        if options["json"]:
            self.stdout.write(json.dumps(redacted(found), indent=2, cls=DjangoJSONEncoder))
            return
        for row in found:
            self.stdout.write(redact(_line(row)))
        if not found:
            self.stdout.write("All that steps have put out is on its broker.")

    def _resend(self, options: dict[str, Any]) -> None:
        rows = _chosen_to_change(options).filter(state=State.REFUSED)
        count = rows.count() if options["dry_run"] else rows.update(state=State.PENDING, last_error="")
        self.stdout.write(
            f"{count} messages {'would be' if options['dry_run'] else 'are'} sent again by their streams."
        )

    def _drop(self, options: dict[str, Any]) -> None:
        rows = _chosen_to_change(options)
        count = rows.count() if options["dry_run"] else rows.delete()[0]
        self.stdout.write(f"{count} messages {'would be' if options['dry_run'] else 'are'} dropped.")


def _add_filters(parser: ArgumentParser) -> None:
    parser.add_argument("--id", type=int, action="append", metavar="N", help="this one (may be given several times)")
    parser.add_argument("--outlet", metavar="NAME", help="of this step of a stream, as list shows it")
    parser.add_argument("--state", choices=[str(state) for state in _UNSENT], help="in this state only")


def _chosen(options: dict[str, Any]) -> QuerySet[OutboxMessage]:
    rows = OutboxMessage.objects.filter(state__in=[options["state"]] if options["state"] else _UNSENT)
    if options["id"]:
        rows = rows.filter(pk__in=options["id"])
    if options["outlet"]:
        rows = rows.filter(outlet__name=options["outlet"])
    return rows


def _chosen_to_change(options: dict[str, Any]) -> QuerySet[OutboxMessage]:
    """:raises CommandError: nothing says which."""
    if not (options["all"] or options["id"] or options["outlet"] or options["state"]):
        raise CommandError("say which: --id, --outlet, --state, or --all. See ./manage.py stepoutbox list.")
    return _chosen(options)


def _line(row: dict[str, Any]) -> str:
    whose = f"{row['state']}  {row['outlet']}  {row['producer']}"
    if "id" in row:
        text = f"{row['id']}  {whose} → {row['topic']}, of {row['source'] or 'no batch'}"
    else:
        text = f"{row['count']} {whose}, since {row['since']:%F %R}"
    return f"{text}: {row['last_error']}" if row["last_error"] else text
