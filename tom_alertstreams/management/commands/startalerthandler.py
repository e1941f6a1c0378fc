"""``manage.py startalerthandler``: a handler to begin with, its test, and what to put into settings.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tom_alertstreams.management.new_handler import STYLES, write_handler
from tom_alertstreams.management.scaffold import CannotWrite


class Command(BaseCommand):
    help = "Write a handler module NAME.py and a test of it that passes; print the entry for ALERT_STREAMS."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", metavar="NAME", help="name of the module, as in my_survey")
        parser.add_argument(
            "--style", choices=list(STYLES), default="alert",
            help="alert: a function that gets one Alert; batch: one that gets a list of them, with the ready-made rules and "
            "light curves; v1: a plain function as in tom-alertstreams 1.x",
        )  # fmt: skip
        parser.add_argument("--directory", metavar="DIR", default=".", help="where to write; the working directory")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            made = write_handler(options["name"], options["style"], Path(options["directory"]))
        except CannotWrite as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            raise CommandError(f"{error.filename} cannot be written: {error.strerror}.") from error
        package, _, name = made.module.rpartition(".")
        test = f"{package}.test_{name}" if package else f"test_{name}"
        written = "\n".join(f"  {path}" for path in made.files)
        self.stdout.write(f"Written:\n{written}\n\nAdd to ALERT_STREAMS in settings.py, with your broker and topic:\n")
        self.stdout.write(made.entry)
        self.stdout.write(
            "Then:\n"
            f"  ./manage.py test {test}    # passes as it is; change the alert in it to one of yours\n"
            "  ./manage.py checkstreams    # logs in and shows the topics\n"
            f"  ./manage.py tryalert FILE --stream {name}    # FILE: an alert as it comes from the broker\n"
            "  ./manage.py readstreams"
        )
