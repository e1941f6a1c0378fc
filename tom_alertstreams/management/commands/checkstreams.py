"""``manage.py checkstreams``: what each stream would do, and what is wrong with the settings."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from tom_alertstreams.alertstreams.inspection import inspect_streams
from tom_alertstreams.redaction import redact


class Command(BaseCommand):
    help = (
        "Show for each configured stream its topics, handlers and ways of calling, and what is wrong with the settings."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        reports, findings = inspect_streams()
        if options["json"]:
            found = {"streams": [asdict(r) for r in reports], "findings": [asdict(f) for f in findings]}
            self.stdout.write(redact(json.dumps(found, indent=2)))
        else:
            for report in reports:
                self.stdout.write(self.style.SUCCESS(f"{report.label} ({report.name})"))
                if report.group_id:
                    self.stdout.write(f"  group {report.group_id}, new topics of a first start from {report.start}")
                for key in report.keys:
                    self.stdout.write(f"  {key.key} → {key.handler} ({key.called})")
            for finding in findings:
                where = f"{finding.label}: " if finding.label else ""
                self.stderr.write(self.style.ERROR(redact(f"{where}{finding.message} {finding.hint}")))
        if findings:
            sys.exit(1)
