"""``manage.py readstreams``: reads the alert streams of settings.py, for months."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections
from django.db.migrations.executor import MigrationExecutor

from tom_alertstreams.alarms.options import alarm_settings
from tom_alertstreams.alarms.watch import Watch
from tom_alertstreams.alertstreams.alertstream import make_streams
from tom_alertstreams.alertstreams.unmade import UnmadeStream
from tom_alertstreams.conf import configured_streams, shutdown_s
from tom_alertstreams.delivery.runs import Status
from tom_alertstreams.delivery.source import Control
from tom_alertstreams.delivery.supervisor import NEEDS_YOU, Stream, Supervisor
from tom_alertstreams.redaction import redact

#: Apps of this project; of those that are installed the tables have to be up to date.
_APPS = ("tom_alertstreams", "alerce_stream", "apf_bridge")
#: What telling somebody may take where no stream is left.
_LAST_LOOK_S = 30.0


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
        parser.add_argument("--metrics-port", type=_port, metavar="PORT", help="answer to Prometheus at this port")
        parser.add_argument(
            "--metrics-address",
            default="127.0.0.1",
            metavar="ADDRESS",
            help="where it listens: 127.0.0.1 is this machine only, 0.0.0.0 everybody who reaches it (in a container)",
        )
        parser.add_argument(
            "--liveness-file",
            type=Path,
            metavar="PATH",
            help="touch this file every second, unless a stream is stuck; it is gone at the end",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        self._require_migrations()
        streams = self._streams(options["stream"])
        control = Control(once=options["once"], max_alerts=options["max_alerts"])
        supervisor = Supervisor(
            streams,
            control,
            shutdown_s=shutdown_s(),
            max_runtime_s=options["max_runtime"],
            liveness_file=options["liveness_file"],
        )
        # What is loaded by now stays for as long as the process: the garbage collector need not look at it again and again.
        gc.freeze()
        # A batch makes some 100,000 objects and drops them, with hardly a cycle among them: to look for cycles after each 700,
        # as Python does by itself, takes a tenth of the time.
        gc.set_threshold(50_000, 20, 20)
        with ExitStack() as beside:
            watch = self._watch(beside)
            if options["metrics_port"] is not None:
                statuses = [thread.status for thread in supervisor.threads]
                beside.enter_context(_metrics(statuses, options["metrics_port"], options["metrics_address"]))
            _require_writable(options["liveness_file"])
            code = supervisor.run()
            if code == NEEDS_YOU and watch is not None:
                watch.last_look(_LAST_LOOK_S)
        if any(thread.is_alive() for thread in supervisor.threads):
            sys.stderr.flush()
            os._exit(code)  # a handler hangs: the interpreter would wait for it
        sys.exit(code)

    def _watch(self, beside: ExitStack) -> Watch | None:
        settings, findings = alarm_settings()
        for finding in findings:
            self.stderr.write(self.style.WARNING(f"{finding.message} {finding.hint}"))
        return beside.enter_context(Watch(settings)) if settings is not None else None

    def _streams(self, labels: list[str] | None) -> list[Stream]:
        made, findings = make_streams()
        for finding in findings:
            where = f"{finding.label}: " if finding.label else ""
            self.stderr.write(self.style.ERROR(redact(f"{where}{finding.message} {finding.hint}")))
        by_label: dict[str, Stream] = {settings.label: UnmadeStream(settings) for settings in configured_streams()[0]}
        by_label |= {stream.settings.label: stream for stream in made}
        if unknown := sorted(set(labels or ()) - set(by_label)):
            raise CommandError(f"no stream {', '.join(unknown)}. There is {', '.join(by_label) or 'none'}.")
        streams = [stream for label, stream in by_label.items() if not labels or label in labels]
        unmade = [stream for stream in streams if isinstance(stream, UnmadeStream)]
        if len(unmade) == len(streams):
            for stream in unmade:
                stream.leave_word()
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


@contextmanager
def _metrics(statuses: Sequence[Status], port: int, address: str) -> Iterator[None]:
    try:
        from tom_alertstreams.metrics import metrics_server
    except ImportError as error:
        raise CommandError(
            f"--metrics-port needs prometheus_client ({error}): pip install 'tom-alertstreams[metrics]'"
        ) from error
    with ExitStack() as server:
        try:
            server.enter_context(metrics_server(statuses, port, address))
        except OSError as error:
            raise CommandError(
                f"--metrics-port {port} on {address} cannot be used: {error.strerror or error}"
            ) from error
        yield


def _require_writable(path: Path | None) -> None:
    """Last of all: whoever runs the process believes in the file that is there."""
    try:
        if path is not None:
            path.touch()
    except OSError as error:
        raise CommandError(f"--liveness-file {path} cannot be written: {error.strerror or error}") from error


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65_536:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: 1 to 65535")
    return int(text)


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
