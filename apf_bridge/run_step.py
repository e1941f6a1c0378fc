"""``apf-run-step``: runs a step written for APF, at least once, without Django."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from apf_bridge.compat.core.config_keys import ConfigError
from apf_bridge.compat.core.contracts import Contract

from .runner import run
from .shims import ApfInstalledError, install
from .step_config import named, read_settings
from .step_from_settings import Asked, Destination, made_step

logger = logging.getLogger("apf_bridge.run_step")


def main(arguments: Sequence[str] | None = None) -> int:
    """0: the consumer ended, or the step was told to stop; 1: the step failed; 2: its settings cannot be used."""
    parser = argparse.ArgumentParser(prog="apf-run-step", description=__doc__)
    add_arguments(parser)
    given = vars(parser.parse_args(arguments))
    try:
        install()
        settings = read_settings(given["step_settings"])
        logging.basicConfig(
            level=logging.DEBUG if named(settings, "LOGGING_DEBUG") else logging.INFO,
            format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        )
        step = made_step(settings, asked(given))
    except ApfInstalledError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except ConfigError as error:
        sys.stderr.write(cannot_be_used(given["step_settings"], error))
        return 2
    ending = run(step, logger.info, logger.error, limit=given["limit"])
    (sys.stderr if ending.code else sys.stdout).write(f"{ending.summary}\n")
    return ending.code


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What this command and ``runapfstep`` have in common."""
    parser.add_argument(
        "step_settings", metavar="SETTINGS", type=Path,
        help="settings.py with STEP_CONFIG, or STEP_CONFIG as YAML",
    )  # fmt: skip
    parser.add_argument("--class", dest="step_class", help="dotted path of the step; else STEP_CLASS of settings.py")
    parser.add_argument("--contract", choices=get_args(Contract), help="the APF it was written for; told by the step")
    parser.add_argument(
        "--to",
        type=_destination,
        default=Destination(),
        metavar="WHERE",
        help="output, in place of PRODUCER_CONFIG (config): csv:FILE, json:FOLDER or nowhere",
    )
    parser.add_argument("--limit", type=_number, metavar="N", help="stop after N messages, when their batch is done")


def asked(given: dict[str, Any]) -> Asked:
    """What :func:`add_arguments` has added."""
    return Asked(given["step_settings"], given["step_class"], given["contract"], given["to"])


def cannot_be_used(settings: Path, error: ConfigError) -> str:
    """All that is wrong with the settings, for people."""
    return f"{settings} cannot be used:\n{error}\n"


def _destination(text: str) -> Destination:
    try:
        return Destination(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _number(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return number


if __name__ == "__main__":
    raise SystemExit(main())
