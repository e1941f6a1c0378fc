"""``manage.py readstreams``: reads the alert streams of settings.py, for months."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections
from django.db.migrations.executor import MigrationExecutor

from tom_alertstreams.alertstreams.alertstream import AlertStream, make_streams
from tom_alertstreams.conf import shutdown_s
from tom_alertstreams.delivery.source import Control
from tom_alertstreams.delivery.supervisor import Supervisor
from tom_alertstreams.redaction import redact

#: Apps of this project; of those that are installed the tables have to be up to date.
_APPS = ("tom_alertstreams", "alerce_stream", "apf_bridge")


class Command(BaseCommand):
    help = "Read the alert streams configured in ALERT_STREAMS and call their handlers. Runs until it is stopped."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="read to the end of what is there now, then exit")
        parser.add_argument(
            "--stream", action="append", metavar="LABEL", help="read only this stream (may be given several times)"
        )
        parser.add_argument("--max-alerts", type=_positive(int), help="exit after so many alerts, all streams together")
        parser.add_argument(
            "--max-runtime", type=_positive(float), metavar="SECONDS", help="exit after so many seconds"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        self._require_migrations()
        streams = self._streams(options["stream"])
        control = Control(once=options["once"], max_alerts=options["max_alerts"])
        supervisor = Supervisor(streams, control, shutdown_s=shutdown_s(), max_runtime_s=options["max_runtime"])
        # What is loaded by now stays for as long as the process: the garbage collector need not look at it again and again.
        gc.freeze()
        # A batch makes some 100,000 objects and drops them, with hardly a cycle among them: to look for cycles after each 700,
        # as Python does by itself, takes a tenth of the time.
        gc.set_threshold(50_000, 20, 20)
        code = supervisor.run()
        if any(thread.is_alive() for thread in supervisor.threads):
            sys.stderr.flush()
            os._exit(code)  # a handler hangs: the interpreter would wait for it
        sys.exit(code)

    def _streams(self, labels: list[str] | None) -> list[AlertStream]:
        streams, findings = make_streams()
        for finding in findings:
            where = f"{finding.label}: " if finding.label else ""
            self.stderr.write(self.style.ERROR(redact(f"{where}{finding.message} {finding.hint}")))
        if labels:
            known = [stream.settings.label for stream in streams]
            if unknown := sorted(set(labels) - set(known)):
                raise CommandError(f"no stream {', '.join(unknown)}. There is {', '.join(known) or 'none'}.")
            streams = [stream for stream in streams if stream.settings.label in labels]
        if not streams:
            raise CommandError("no stream can be read. Correct ALERT_STREAMS in settings.py; the README has samples.")
        return streams

    def _require_migrations(self) -> None:
        connection = connections[DEFAULT_DB_ALIAS]
        try:
            executor = MigrationExecutor(connection)
            targets = [n for n in executor.loader.graph.leaf_nodes() if n[0].startswith(_APPS)]
            missing = executor.migration_plan(targets)
        except DatabaseError as error:
            raise CommandError(f"the database cannot be used: {redact(str(error)).strip()}") from error
        if missing:
            names = ", ".join(sorted({migration.app_label for migration, _ in missing}))
            raise CommandError(f"the tables of {names} are not up to date. Run ./manage.py migrate first.")


def _positive(kind: type[int] | type[float]) -> Any:
    def parse(text: str) -> int | float:
        try:
            number = kind(text)
        except ValueError:
            number = kind(0)
        if number <= 0:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
        return number

    return parse
