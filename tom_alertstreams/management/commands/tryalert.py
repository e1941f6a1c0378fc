"""``manage.py tryalert``: what one alert would do, without doing it."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from tom_alertstreams.alertstreams.find_stream import find_stream
from tom_alertstreams.alertstreams.kafka import KafkaAlertStream
from tom_alertstreams.conf import configured_streams
from tom_alertstreams.decoders import first_record
from tom_alertstreams.delivery.trial import try_alert
from tom_alertstreams.management.letter_text import printable
from tom_alertstreams.management.plain_errors import plain_errors
from tom_alertstreams.management.trial_text import as_json, in_words
from tom_alertstreams.redaction import redact, redacted
from tom_alertstreams.topics import is_pattern

#: Endings with which a release should not go on.
_BAD = ("failed", "away", "outside", "no handler")


class Command(BaseCommand):
    help = (
        "Call the handler that would get an alert, in a transaction that is rolled back, and print what it would write. "
        "FILE holds the bytes of the alert as they come from the broker."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "file", metavar="FILE", help="the alert: Avro, JSON, XML, …; of several Avro records the first"
        )
        parser.add_argument(
            "--stream", metavar="LABEL", help="the stream it shall come from; needed if there are several"
        )
        parser.add_argument(
            "--topic", help="its topic; needed unless TOPIC_HANDLERS has one key, or one that is no glob"
        )
        parser.add_argument(
            "--key", metavar="FILE", help="the key of the message, as for Fink, which keeps the schema there"
        )
        parser.add_argument(
            "--header", action="append", default=[], type=_header, metavar="NAME=VALUE",
            help="a header of the message, as _format=avro for Hopskotch (may be given several times)",
        )  # fmt: skip
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        with plain_errors():
            stream = _stream(options["stream"])
            raw, records = first_record(_read(options["file"]))
            alert = stream.restore_alert(
                topic=_topic(stream, options["topic"]),
                partition=0,
                offset=0,
                key=_read(options["key"]) if options["key"] else None,
                headers=tuple(options["header"]),
                timestamp=timezone.now(),
                raw=raw,
            )
            trial = try_alert(stream, alert)
        if options["json"]:
            self.stdout.write(json.dumps(redacted(as_json(trial, records)), indent=2))
        else:
            if records > 1:
                self.stdout.write(f"The file holds {records} alerts. This is the first.")
            for line in in_words(trial):
                self.stdout.write(printable(redact(line)))
        if trial.ending in _BAD:
            sys.exit(1)


def _stream(label: str | None) -> KafkaAlertStream:
    if label is None:
        known = [stream.label for stream in configured_streams()[0]]
        if len(known) != 1:
            raise CommandError(f"say which stream it comes from: --stream. There is {', '.join(known) or 'none'}.")
        label = known[0]
    stream = find_stream(label)
    if type(stream).listen is not KafkaAlertStream.listen:
        raise CommandError(f"{label} calls its handlers in a listen() of its own: its alerts cannot be tried here.")
    return stream


def _topic(stream: KafkaAlertStream, asked: str | None) -> str:
    """The topic as the broker calls it, which may be with a prefix; the only one where none is asked for.

    :raises CommandError: none is asked for, and TOPIC_HANDLERS has no key or several that stand for one topic.
    """
    keys = stream.topic_keys
    # Key, or name on the broker → name on the broker.
    names = {key: key for key in stream.bindings if not is_pattern(key) and keys.match(key) is not None}
    literal = [name for name in keys.subscription() if not name.startswith("^")]
    names |= {key: name for name in literal if (key := keys.match(name)) is not None}
    if asked is not None:
        return asked if keys.match(asked) is not None else names.get(asked, asked)
    if len(set(names.values())) != 1:
        raise CommandError(f"say which topic it comes from: --topic. TOPIC_HANDLERS has {', '.join(stream.bindings)}.")
    return next(iter(names.values()))


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}.") from error


def _header(text: str) -> tuple[str, bytes]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value.encode()
