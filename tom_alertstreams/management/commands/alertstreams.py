"""``manage.py alertstreams``: how the streams are, on a terminal and for cron."""

from __future__ import annotations

import json
import sys
from typing import Any, TextIO, cast

from django import db
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.serializers.json import DjangoJSONEncoder

from tom_alertstreams.alarms.book import Book
from tom_alertstreams.alarms.options import alarm_settings
from tom_alertstreams.delivery.failures import why_unknown
from tom_alertstreams.management.plain_errors import plain_errors
from tom_alertstreams.management.status_text import show
from tom_alertstreams.status import described, health_of, stream_statuses


class Command(BaseCommand):
    help = "Show how the alert streams are. Exit code 0 where all are well, else 1."
    requires_system_checks: list[str] = []  # it is asked when something is wrong already

    def add_arguments(self, parser: CommandParser) -> None:
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--json", action="store_true", help="the same as /alertstreams/health/")
        what.add_argument(
            "--notify",
            action="store_true",
            help="print nothing, and tell whom ALERT_STREAMS_ALARMS names what is wrong, or over: for cron, every few "
            "minutes. Exit code 1 where that fails",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        show = self._notify if options["notify"] else self._json if options["json"] else self._text
        if not show():
            sys.exit(1)

    def _notify(self) -> bool:
        settings, findings = alarm_settings()
        reasons = [f"{finding.message} {finding.hint}" for finding in findings]
        if settings is None:
            raise CommandError(" ".join(reasons) or "ALERT_STREAMS_ALARMS is not set: there is nobody to tell.")
        for reason in reasons:
            self.stderr.write(reason)
        with plain_errors():
            return Book(settings).look() and not reasons

    def _json(self) -> bool:
        try:
            health = health_of(stream_statuses())
        except db.Error as error:
            health = health_of([], why_unknown(error))
        self.stdout.write(json.dumps(health, cls=DjangoJSONEncoder, indent=2))
        return bool(health["healthy"])

    def _text(self) -> bool:
        with plain_errors():
            streams = stream_statuses()
            facts = described([stream.label for stream in streams])
        health = health_of(streams)
        if health["reason"]:
            self.stdout.write(f"{health['reason']}.")
        else:
            show(streams, cast(TextIO, self.stdout), facts)
        return bool(health["healthy"])
