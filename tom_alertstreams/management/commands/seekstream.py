"""``manage.py seekstream``: sets where a stream reads on."""

from __future__ import annotations

import argparse
from datetime import datetime, timezone
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from tom_alertstreams.alertstreams.find_stream import find_stream
from tom_alertstreams.alertstreams.kafka import KafkaAlertStream
from tom_alertstreams.delivery.seek import Move, SeekRefused, apply, plan, refuse_while_running
from tom_alertstreams.management.plain_errors import plain_errors


class Command(BaseCommand):
    help = (
        "Set where a stream reads on, in the TOM's database. Stop readstreams first. Alerts that are read again are "
        "handled again; alerts that are passed over are not handled."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("label", metavar="LABEL", help="of the stream")
        parser.add_argument(
            "--to",
            type=_position,
            required=True,
            metavar="earliest|latest|TIME|OFFSET",
            help="a time is ISO 8601 and in UTC unless it says otherwise, as 2026-11-22T03:12; an offset needs --topic",
        )
        parser.add_argument("--topic", help="only this topic, or those that match a glob, as 'ztf_*'")
        parser.add_argument("--partition", type=int, metavar="N", help="only this partition")
        parser.add_argument("--dry-run", action="store_true", help="only show what would change")

    def handle(self, *args: Any, **options: Any) -> None:
        to, topic = options["to"], options["topic"]
        with plain_errors():
            stream = find_stream(options["label"])
            if type(stream).listen is not KafkaAlertStream.listen:
                raise SeekRefused(
                    "it reads by a listen() of its own, with offsets of its own.", stream=options["label"]
                )
            if isinstance(to, int) and topic is None:
                raise SeekRefused("an offset belongs to one partition of one topic.", hint="Say which one: --topic.")
            if not options["dry_run"]:
                refuse_while_running(stream)
            seek = plan(stream, to, topic=topic, partition=options["partition"])
            self.stdout.write(f"{options['label']}, group {seek.group_id}:")
            for move in seek.moves:
                self.stdout.write(f"  {_line(move)}")
            self._say_what_it_means(seek.moves)
            if options["dry_run"]:
                self.stdout.write("Nothing was changed.")
                return
            apply(seek)
            self.stdout.write("Set. Start readstreams.")

    def _say_what_it_means(self, moves: tuple[Move, ...]) -> None:
        if any(move.old is not None and move.new < move.old for move in moves):
            self.stdout.write(
                "Alerts that are read again are handled again. The ready-made handlers add nothing twice; whether one of "
                "your own does is in its code."
            )
        if any(move.old is not None and move.new > move.old for move in moves):
            self.stdout.write("Alerts that are passed over are not handled, unless you seek back.")


def _line(move: Move) -> str:
    place = f"{move.topic}[{move.partition}]"
    if move.old is None:
        return f"{place}: not read yet → {move.new}"
    if move.old == move.new:
        return f"{place}: {move.old}, as it is"
    what = "are read again" if move.new < move.old else "are passed over"
    return f"{place}: {move.old} → {move.new} (up to {abs(move.new - move.old):,} alerts {what})"


def _position(text: str) -> str | int | datetime:
    if text in ("earliest", "latest"):
        return text
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        # Python 3.10 does not read the Z.
        moment = datetime.fromisoformat(f"{text[:-1]}+00:00" if text.endswith(("Z", "z")) else text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither earliest, latest, an offset nor a time as 2026-11-22T03:12"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
