"""``manage.py deadletters``: shows alerts that could not be handled, and tries them again."""

from __future__ import annotations

import getpass
import json
import os
import platform
import sys
from argparse import ArgumentParser
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.serializers.json import DjangoJSONEncoder
from django.template.defaultfilters import pluralize

from tom_alertstreams.alertstreams.find_stream import find_stream
from tom_alertstreams.conf import configured_streams
from tom_alertstreams.delivery.letter_actions import begin, dismiss_all, replay_all
from tom_alertstreams.delivery.letters import LetterFilter, LetterGroup, groups, in_words
from tom_alertstreams.delivery.replay import ReplayReport
from tom_alertstreams.delivery.waiting import UNSETTLED
from tom_alertstreams.management.ages import age
from tom_alertstreams.management.letter_text import group_lines, letter_line, letter_page, printable
from tom_alertstreams.management.plain_errors import plain_errors
from tom_alertstreams.management.progress import progress_bar
from tom_alertstreams.models import DeadLetter, LetterAction
from tom_alertstreams.redaction import redact

_SHOWN = (
    "id", "state", "stream", "topic", "partition", "offset", "handler", "error_class", "error", "fingerprint",
    "attempts", "first_failed_at", "next_attempt_at", "updated_at",
)  # fmt: skip


class Command(BaseCommand):
    help = "Alerts that a handler could not take: list them by cause, show one, try them again, give them up."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="list|show|replay|dismiss")
        listing = actions.add_parser("list", help="what failed, and how often")
        _add_filters(listing)
        listing.add_argument(
            "--state",
            action="append",
            choices=DeadLetter.State.values,
            help="in this state (may be given several times); open and waiting where none is given",
        )
        listing.add_argument("--each", action="store_true", help="one line for each instead of for each cause")
        listing.add_argument("--json", action="store_true", help="print a JSON list")
        one = actions.add_parser("show", help="all that is known of one")
        one.add_argument("id", type=int, help="its number, as list shows it")
        one.add_argument("--raw", type=Path, metavar="FILE", help="write the bytes as they came into this file")
        for name, what in (
            ("replay", "try them again now, with the handlers of today's settings"),
            ("dismiss", "give them up for good; the rows stay"),
        ):
            action = actions.add_parser(name, help=what)
            _add_filters(action)
            action.add_argument("--all", action="store_true", help="all open and waiting ones; needed without filters")
            action.add_argument("--dry-run", action="store_true", help="only show which")

    def handle(self, *args: Any, **options: Any) -> None:
        with plain_errors():
            configured_streams()  # so that their secrets are known, and blanked in what is printed
            getattr(self, f"_{options['action']}")(options)

    # --- actions ---------------------------------------------------------------------------------------------------

    def _list(self, options: dict[str, Any]) -> None:
        chosen = _filter(options, states=tuple(options["state"] or UNSETTLED))
        rows = chosen.rows()
        if options["json"]:
            found: Iterable[Any] = rows.values(*_SHOWN) if options["each"] else map(asdict, in_words(groups(rows)))
            self._say(json.dumps(list(found), indent=2, cls=DjangoJSONEncoder))
        elif options["each"]:
            for letter in rows.only(*_SHOWN).iterator():
                self._say(letter_line(letter))
        else:
            self._say_groups(
                in_words(groups(rows)), "Read one: deadletters show ID. Mended: deadletters replay --fingerprint …"
            )

    def _show(self, options: dict[str, Any]) -> None:
        letter = DeadLetter.objects.filter(pk=options["id"]).first()
        if letter is None:
            raise CommandError(f"there is no dead letter {options['id']}. See ./manage.py deadletters list --each.")
        if options["raw"] is None:
            for line in letter_page(letter, find_stream):
                self._say(line)
            return
        if letter.raw is None:
            raise CommandError(f"dead letter {letter.pk} is a tombstone: it has no bytes.")
        try:
            options["raw"].write_bytes(bytes(letter.raw))
        except OSError as error:
            raise CommandError(f"cannot write {options['raw']}: {error.strerror}.") from error
        self._say(f"{len(letter.raw):,} bytes written to {options['raw']}")

    def _replay(self, options: dict[str, Any]) -> None:
        chosen = self._chosen(options)
        if chosen is None:
            return
        report = ReplayReport(0)
        try:
            with progress_bar("Replaying") as show:
                for report in replay_all(begin(LetterAction.Kind.REPLAY, _who(), chosen), find_stream):
                    show(report.finished, report.total)
        except KeyboardInterrupt:
            self._say_report(report)
            self.stderr.write("Stopped. What was tried is stored; run it again for the rest.")
            sys.exit(130)
        self._say_report(report)
        if not report.all_well:
            sys.exit(1)

    def _dismiss(self, options: dict[str, Any]) -> None:
        chosen = self._chosen(options)
        if chosen is None:
            return
        action, done = begin(LetterAction.Kind.DISMISS, _who(), chosen), 0
        total = action.total
        with progress_bar("Dismissing") as show:
            for step in dismiss_all(action):
                done += step
                show(done, total)
        busy = f" {total - done:,} left alone: a process is trying them just now." if done < total else ""
        self._say(f"{done:,} dismissed.{busy}")

    # --- choosing --------------------------------------------------------------------------------------------------

    def _chosen(self, options: dict[str, Any]) -> LetterFilter | None:
        """What is to be changed; None where there is nothing to do."""
        chosen, action = _filter(options), options["action"]
        if chosen.takes_all and not options["all"]:
            raise CommandError(
                f"{action} which? Give ids, filters or --all; see ./manage.py deadletters {action} --help."
            )
        rows = chosen.rows()
        if chosen.ids:
            missing = sorted(set(chosen.ids) - set(rows.values_list("pk", flat=True)))
            if missing:
                self._say(f"not open or waiting (any more), or not so filtered: {', '.join(map(str, missing))}")
        if options["dry_run"]:
            self._say_groups(groups(rows), f"Nothing was done. Without --dry-run: {action}.")
            return None
        if not rows.exists():
            self._say("No dead letter matches.")
            return None
        return chosen

    # --- saying ----------------------------------------------------------------------------------------------------

    def _say(self, text: str) -> None:
        self.stdout.write(printable(redact(text)))

    def _say_groups(self, found: list[LetterGroup], next_step: str) -> None:
        for group in in_words(found):
            for line in group_lines(group):
                self._say(line)
        total = sum(group.count for group in found)
        self._say(f"\n{total:,} in all. {next_step}" if found else "No dead letter matches.")

    def _say_report(self, report: ReplayReport) -> None:
        became = report.became
        self._say(
            f"{report.total:,} dead letter{pluralize(report.total)}: {became['done']:,} done, {became['rejected']:,} rejected, "
            f"{became['waiting']:,} waiting for a later try, {became['dead']:,} failed again."
        )
        for reason, n in report.left.items():
            self._say(f"{n:,} left alone: {reason}")
        if became["dead"]:
            self._say("What failed again is still a dead letter: deadletters list shows why.")


def _add_filters(parser: ArgumentParser) -> None:
    parser.add_argument("ids", nargs="*", type=int, metavar="ID", help="these; all where none is given")
    parser.add_argument("--stream", metavar="LABEL", help="of this stream")
    parser.add_argument("--topic", metavar="TOPIC", help="of this topic, or of those that match a glob, as 'ztf_*'")
    parser.add_argument("--error", metavar="CLASS", help="with an error of this class, as KeyError")
    parser.add_argument("--fingerprint", metavar="F", help="of this cause, as list shows it")
    parser.add_argument("--older-than", type=age, metavar="AGE", help="first failed longer ago, as 90d, 12h, 30m")
    parser.add_argument("--newer-than", type=age, metavar="AGE", help="first failed since then")


def _filter(options: dict[str, Any], states: tuple[str, ...] = tuple(UNSETTLED)) -> LetterFilter:
    names = ("stream", "topic", "error", "fingerprint", "older_than", "newer_than")
    return LetterFilter(**{name: options[name] for name in names}, ids=tuple(options["ids"]), states=states)


def _who() -> str:
    """Who types this, for the journal."""
    try:
        login = getpass.getuser()
    except (OSError, KeyError):  # a container may run without an entry in passwd
        login = f"uid {os.getuid()}"
    return f"{login}@{platform.node()}"
