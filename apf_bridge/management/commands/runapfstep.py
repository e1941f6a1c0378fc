"""``manage.py runapfstep``: runs a step outside of any stream, from its own consumer."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError, CommandParser

from apf_bridge import ApfInstalledError, install
from apf_bridge.compat.core.config_keys import ConfigError
from apf_bridge.run_step import add_arguments, asked, cannot_be_used
from apf_bridge.runner import ResultWriter, run
from apf_bridge.step_config import read_settings
from apf_bridge.step_from_settings import made_step
from tom_alertstreams.logs import get_logger
from tom_alertstreams.redaction import redact, remember_secrets

logger = get_logger(__name__)


class Command(BaseCommand):
    help = (
        "Run a step of ALeRCE's APF from the consumer of its STEP_CONFIG (Kafka, files of Avro, CSV, JSON), at least once. "
        "Its results become Targets where --result-handler or --fields say how; its output goes where PRODUCER_CONFIG or "
        "--to says."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add_arguments(parser)
        parser.add_argument(
            "--result-handler", metavar="PATH", help="dotted path of a function: a result → TargetReports, or None"
        )
        parser.add_argument("--fields", type=_dict, metavar="JSON", help="in place of it, FIELDS, for flat results")
        parser.add_argument(
            "--rules", type=_dict, default={}, metavar="JSON", help='options of ingest_targets, as {"CREATE": "always"}'
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            install()
            settings = read_settings(options["step_settings"])
            remember_secrets(settings["STEP_CONFIG"])
            writer, problems = _targets(settings["STEP_CONFIG"], options)
            step = made_step(settings, asked(options), problems, results_needed=writer is not None)
        except ApfInstalledError as error:
            raise CommandError(str(error), returncode=2) from error
        except ConfigError as error:
            raise CommandError(
                redact(cannot_be_used(options["step_settings"], error)).rstrip(), returncode=2
            ) from error
        ending = run(
            step,
            lambda line: self.stdout.write(redact(line)),
            lambda trace: logger.error("%s", redact(trace)),
            writer,
            options["limit"],
        )
        if ending.code:
            raise CommandError(redact(ending.summary), returncode=ending.code)
        self.stdout.write(redact(ending.summary))


def _targets(config: Mapping[str, Any], options: Mapping[str, Any]) -> tuple[ResultWriter | None, list[str]]:
    """What makes Targets of the results, None where they shall become none; and what is wrong with its options."""
    if options["result_handler"] is None and options["fields"] is None:
        return None, ["--rules are for Targets: give --result-handler or --fields too."] if options["rules"] else []
    if not (find_spec("tom_targets") and apps.is_installed("tom_alertstreams.ingest")):
        return None, ["Targets need the TOM Toolkit, and tom_alertstreams.ingest in INSTALLED_APPS."]
    from apf_bridge.results import problems
    from apf_bridge.target_writer import TargetOptions, TargetWriter

    asked_for = TargetOptions(options["result_handler"], options["fields"], options["rules"])
    found = problems(asked_for)
    if config.get("COMMIT_ORDER") == "legacy":
        found.append('COMMIT_ORDER "legacy" commits before Targets are written: take it out.')
    return TargetWriter(asked_for), found


def _dict(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"it is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError("it is JSON, and no object: write {…}")
    return found
