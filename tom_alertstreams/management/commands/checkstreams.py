"""``manage.py checkstreams``: what each stream would do, whether its broker lets it in, and what is wrong."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from tom_alertstreams.alertstreams.inspection import KeyReport, StreamReport, inspect_streams
from tom_alertstreams.management.plain_errors import plain_errors
from tom_alertstreams.redaction import redact, redacted


class Command(BaseCommand):
    help = (
        "Show for each configured stream its topics, handlers and ways of calling, log in to its broker and say how far "
        "behind it is, and what is wrong. Reads no alert, and joins no consumer group."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        parser.add_argument("--no-login", action="store_true", help="look at the settings only: nothing on the network")

    def handle(self, *args: Any, **options: Any) -> None:
        with plain_errors():
            reports, findings = inspect_streams(login=not options["no_login"])
        if options["json"]:
            found = {"streams": [asdict(r) for r in reports], "findings": [asdict(f) for f in findings]}
            self.stdout.write(json.dumps(redacted(found), indent=2))
        else:
            for report in reports:
                head = self.style.SUCCESS if report.is_sound else self.style.ERROR
                self.stdout.write(head(redact(f"{report.label} ({report.name})")))
                for line in _lines(report):
                    self.stdout.write(redact(f"  {line}"))
            for report in reports:
                for line in _troubles(report):
                    self.stderr.write(self.style.ERROR(redact(f"{report.label}: {line}")))
            for finding in findings:
                where = f"{finding.label}: " if finding.label else ""
                self.stderr.write(self.style.ERROR(redact(f"{where}{finding.message} {finding.hint}")))
        if findings or not all(report.is_sound for report in reports):
            sys.exit(1)


def _lines(report: StreamReport) -> Iterator[str]:
    if report.group_id:
        yield f"group {report.group_id}, new topics of a first start from {report.start}"
    if report.login == "legacy":
        yield "the login is not checked: it reads by a listen() of its own"
    elif report.cluster:
        yield f"logged in to the cluster {report.cluster}" + (
            ", which takes this group" if report.login == "ok" else ""
        )
    if run := report.last_run:
        yield f"last run: {run.words}, on {run.host} since {run.started}, last seen {run.heartbeat}"
    for key in report.keys:
        yield f"{key.key} → {key.handler} ({key.called})"
        if key.topics is not None:
            yield f"  {_on_the_broker(key)}"
        yield from (f"  {note}" for note in key.notes)


def _on_the_broker(key: KeyReport) -> str:
    if not key.topics:
        return "no topic yet"
    names = ", ".join(key.first_topics) + (", …" if key.topics > len(key.first_topics) else "")
    text = f"{key.topics} topic{'s' if key.topics > 1 else ''}: {names}"
    if key.lag is not None:
        text += f"; {key.lag:,} alert{'s' if key.lag != 1 else ''} behind"
    return f"{text}, not counting {_partitions(key.unknown)} not read yet" if key.unknown else text


def _partitions(count: int) -> str:
    return "1 partition" if count == 1 else f"{count} partitions"


def _troubles(report: StreamReport) -> Iterator[str]:
    if report.failure is not None:
        yield str(report.failure)
    for topic in report.refused:
        yield f"the broker does not let us read {topic}. Ask it for access, or check how the topic is written."
    if report.last_run and report.last_run.needs_you:
        yield f"it has stopped: {report.last_run.reason}"
