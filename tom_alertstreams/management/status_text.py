"""How the streams are, for a terminal: a table where rich is installed, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TextIO

from django.utils import timezone

from tom_alertstreams.status import StreamStatus

from .letter_text import moment, printable

_WIDTH_OF_FILES = 160
_COLUMNS = ("stream", "state", "behind", "alerts/s", "last alert", "heartbeat", "dead letters", "waiting letters")


Facts = Mapping[str, Sequence[str]]


def show(streams: Sequence[StreamStatus], out: TextIO, facts: Facts) -> None:
    """Write it.

    :param out: a terminal, or a file; a file gets no colours.
    :param facts: label → what other apps say of the stream.
    """
    try:
        from rich.console import Console
    except ImportError:
        out.write("\n".join(plain_lines(streams, facts)) + "\n")
    else:
        width = None if out.isatty() else _WIDTH_OF_FILES
        _show_table(streams, Console(file=out, width=width, highlight=False, soft_wrap=True), facts)


def plain_lines(streams: Sequence[StreamStatus], facts: Facts) -> Iterator[str]:
    """A few lines for each stream."""
    now = timezone.now()
    for stream in streams:
        yield f"{printable(stream.label)}: {stream.words}"
        for name, value in zip(_COLUMNS[2:], _values(stream, now)[2:], strict=True):
            if value:
                yield f"    {name + ':':17}{value}"
        yield from _remarks(stream, facts)


def _show_table(streams: Sequence[StreamStatus], console: Any, facts: Facts) -> None:
    from rich.table import Table
    from rich.text import Text

    now = timezone.now()
    table = Table(*_COLUMNS, box=None, pad_edge=False)
    for stream in streams:
        label, state, *values = _values(stream, now)
        style = "green" if stream.is_sound else "bold red" if stream.needs_you else "yellow"
        table.add_row(Text(label), Text(state, style), *(Text(value) for value in values))
    console.print(table)
    for stream in streams:
        if remarks := list(_remarks(stream, facts)):
            console.print(Text(f"\n{printable(stream.label)}", "bold"))
            for line in remarks:
                console.print(Text(line))


def _values(stream: StreamStatus, now: datetime) -> list[str]:
    return [
        printable(stream.label),
        stream.words,
        "unknown" if stream.lag is None else f"{stream.lag:,}",
        "" if stream.rate is None else f"{stream.rate:,.1f}",
        _last_alert(stream, now),
        "never" if stream.heartbeat is None else _ago(stream.heartbeat, now),
        f"{stream.open_letters:,}",
        f"{stream.waiting_letters:,}",
    ]


def _remarks(stream: StreamStatus, facts: Facts) -> Iterator[str]:
    """Why, what to do, what other apps say, and the topics."""
    if stream.for_staff:
        yield f"    {printable(stream.for_staff)}"
    if stream.advice:
        yield f"    {stream.advice}"
    for fact in facts.get(stream.label, ()):
        yield f"    {printable(fact)}"
    for topic in stream.topics:
        behind = "" if topic.lag is None else f", {topic.lag:,} behind"
        last = "" if topic.last_alert_at is None else f", last alert {moment(topic.last_alert_at)}"
        yield printable(
            f"    {topic.topic} → {topic.handler or 'no handler: its alerts become dead letters'}{behind}{last}"
        )


def _last_alert(stream: StreamStatus, now: datetime) -> str:
    if stream.last_alert_at is None:
        return "never" if stream.knows_last_alert else "unknown"
    return _ago(stream.last_alert_at, now)


def _ago(then: datetime, now: datetime) -> str:
    seconds = max(0.0, (now - then).total_seconds())
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"
