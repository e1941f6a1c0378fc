"""``manage.py newapfstep``: a step for APF to begin with, its test, its container, and what to put into settings.py."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apf_bridge.management.new_step import NewStep, write_step
from tom_alertstreams.management.scaffold import CannotWrite


class Command(BaseCommand):
    help = "Write the folder of a step for APF that runs, with a test of it that passes; print the entry for ALERT_STREAMS."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", metavar="NAME", help="name of the step, as in my_step")
        parser.add_argument("--directory", metavar="DIR", default=".", help="where to write; the working directory")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            made = write_step(options["name"], Path(options["directory"]))
        except CannotWrite as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            raise CommandError(f"{error.filename} cannot be written: {error.strerror}.") from error
        self._tell(made)

    def _tell(self, made: NewStep) -> None:
        written = "\n".join(f"  {path}" for path in made.files)
        self.stdout.write(
            f"Written:\n{written}\n\nThen:\n"
            f"  cd {shlex.quote(str(made.folder))}\n"
            f"  python -m unittest    # passes as it is\n"
            f"  apf-run-step settings_files.py --class {made.step_class}    # runs on alerts.json"
        )
        if made.wheel_source:
            self.stdout.write(
                f"  pip wheel --no-deps --wheel-dir wheels {shlex.quote(made.wheel_source)}    # for the container"
            )
        self.stdout.write("  docker build .\n\nTo run it in this TOM, add to ALERT_STREAMS in settings.py:\n")
        self.stdout.write(made.entry)
        self.stdout.write("README.md in the folder names the variables of the environment that it needs.")
