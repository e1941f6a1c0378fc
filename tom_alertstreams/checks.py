"""Django's system checks for ALERT_STREAMS. All are warnings: a stale handler path must not take the web site down.

No handler is imported, no stream is made, nothing goes over the network; ``checkstreams`` does the first two.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase as fnmatch
from itertools import combinations, product
from typing import Any

from django.core.checks import CheckMessage, Warning, register
from django.db import connections

from .alarms.options import alarm_settings
from .alertstreams.alertstream import stream_class
from .alertstreams.kafka import KafkaAlertStream
from .conf import STREAM_KEYS, Finding, StreamSettings, configured_streams
from .exceptions import ConfigurationError

#: Seconds SQLite must be willing to wait for its lock beside a stream that writes.
SQLITE_TIMEOUT_S = 20


@register("alertstreams")
def check_alert_streams(**_kwargs: Any) -> list[CheckMessage]:
    """What is wrong with the settings, all of it at once."""
    streams, findings = configured_streams()
    for stream in streams:
        findings.extend(_check_class(stream))
    findings.extend(_check_groups(streams))
    if streams:
        findings.extend(_check_sqlite())
    findings.extend(alarm_settings()[1])
    return [
        Warning(
            f"{finding.label}: {finding.message}" if finding.label else finding.message,
            hint=finding.hint,
            id=f"tom_alertstreams.{finding.id}",
        )
        for finding in findings
    ]


def _check_class(stream: StreamSettings) -> Iterator[Finding]:
    if stream.ignored:
        yield Finding(
            "W005",
            f"it has {', '.join(stream.ignored)}, which is ignored.",
            f"An entry has {', '.join(sorted(STREAM_KEYS))}.",
            stream.label,
        )
    try:
        found = stream_class(stream)
    except ConfigurationError as error:
        yield Finding("W004", error.message, error.hint or "", stream.label)
        return
    if (allowed := set(getattr(found, "allowed_keys", ()))) and (
        unknown := sorted(map(str, set(stream.options) - allowed))
    ):
        yield Finding(
            "W005",
            f"its OPTIONS have {', '.join(unknown)}, which {found.__name__} does not know and ignores.",
            f"It knows {', '.join(sorted(allowed))}.",
            stream.label,
        )
    if missing := sorted(set(getattr(found, "required_keys", ())) - set(stream.options)):
        yield Finding(
            "W004", f"its OPTIONS lack {', '.join(missing)}.", "Check your ALERT_STREAMS setting.", stream.label
        )


#: What names the broker in the OPTIONS of the shipped streams.
_BROKER = ("URL", "BOOTSTRAP_SERVERS", "DOMAIN")


def _membership(stream: StreamSettings) -> tuple[Any, ...] | None:
    """The broker and the consumer group; None where the stream reads by a ``listen()`` of its own, in a way of its own."""
    try:
        found = stream_class(stream)
    except ConfigurationError:  # a finding says so
        return None
    if getattr(found, "listen", None) is not KafkaAlertStream.listen:
        return None
    options = {key: value for key, value in stream.options.items() if key in found.allowed_keys}
    given = options.get("CONFIG")
    config = given if isinstance(given, Mapping) else {}
    named = options.get("GROUP") or options.get("GROUP_ID") or config.get("group.id")
    # Without a name the group has the same one wherever it begins alike.
    group = ("named", str(named)) if named else ("begins", options.get("GROUP_PREFIX") or options.get("USERNAME"))
    return (stream.name, *(options.get(key) for key in _BROKER), config.get("bootstrap.servers"), group)


def _check_groups(streams: Sequence[StreamSettings]) -> Iterator[Finding]:
    """Two entries that read one topic in one consumer group: the broker gives each alert to one of them only."""
    members = [(stream, of) for stream in streams if (of := _membership(stream)) is not None]
    for (first, of_first), (second, of_second) in combinations(members, 2):
        shared = sorted(
            a.key for a, b in product(first.topics, second.topics) if fnmatch(a.key, b.key) or fnmatch(b.key, a.key)
        )
        if of_first == of_second and shared:
            name = "GROUP" if "GROUP" in stream_class(second).allowed_keys else "GROUP_ID"
            yield Finding(
                "W006",
                f"it reads {', '.join(shared)} in the same consumer group as {first.label}: each alert reaches only one of "
                "the two.",
                f"Give each a {name} of its own.",
                second.label,
            )


def _check_sqlite() -> Iterator[Finding]:
    connection = connections["default"]
    if connection.vendor != "sqlite":
        return
    options = connection.settings_dict.get("OPTIONS", {})
    lacking = []
    # The second is the same with a write-ahead log, and what the database backend of django-tasks asks for.
    if str(options.get("transaction_mode", "")).upper() not in ("IMMEDIATE", "EXCLUSIVE"):
        lacking.append('"transaction_mode": "IMMEDIATE"')
    if float(options.get("timeout", 5)) < SQLITE_TIMEOUT_S:
        lacking.append(f'"timeout": {SQLITE_TIMEOUT_S}')
    if "journal_mode=wal" not in str(options.get("init_command", "")).lower().replace(" ", ""):
        lacking.append('"init_command": "PRAGMA journal_mode=WAL;"')
    if lacking:
        yield Finding(
            "W010",
            "SQLite is not set up to be written by readstreams and the web site at the same time.",
            f"Add to OPTIONS of DATABASES['default']: {', '.join(lacking)}. Or use PostgreSQL.",
        )
