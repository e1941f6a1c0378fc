"""Results of a step that runs outside of any stream become Targets: one transaction for each batch."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Final

from django.db import connection, transaction

from tom_alertstreams.alerts import Alert, Outcome

from .results import write_results

#: What TargetAlert has as the stream of such alerts.
STREAM: Final = "runapfstep"
_SILENCE_S: Final = 60.0


@dataclass(frozen=True)
class TargetOptions:
    """As the options of that name in a stream."""

    result_handler: str | None = None
    fields: Any = None
    rules: Mapping[str, Any] = field(default_factory=dict)


class TargetWriter:
    """A :class:`apf_bridge.runner.ResultWriter`. A batch that comes again adds nothing."""

    def __init__(self, options: TargetOptions) -> None:
        self.options = options
        self._alerts: list[Alert] = []
        self._read = 0
        self._written_at = time.monotonic()
        self._counts: Counter[str] = Counter()

    def received(self, consumer: Any, messages: list[dict[str, Any]]) -> None:
        self._alerts = alerts_of(consumer, messages, self._read)
        self._read += len(messages)

    def write(self, results: list[Any]) -> None:
        """
        :raises Exception: a result could not be stored. The batch's rows are rolled back.
        """
        self._renew_connection()
        with transaction.atomic():
            outcomes = write_results(results, self._alerts, self.options)
            for alert, outcome in zip(self._alerts, outcomes, strict=True):
                if outcome.error is not None:
                    raise ValueError(f"The result of {alert.coordinates} cannot be stored: {outcome.error}")
        self._counts.update(_word(outcome) for outcome in outcomes)

    def _renew_connection(self) -> None:
        """A step may think for hours, and a database hangs up on who is silent."""
        now = time.monotonic()
        if now - self._written_at > _SILENCE_S:
            connection.close_if_unusable_or_obsolete()
        self._written_at = now

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {word}" for word, count in self._counts.most_common())
        return f"Targets: {counts or 'none'}."


def _word(outcome: Outcome) -> str:
    return f"rejected ({outcome.code})" if outcome.kind == "rejected" else outcome.kind


def alerts_of(consumer: Any, records: Sequence[dict[str, Any]], before: int) -> list[Alert]:
    """What a batch is, as alerts: with the bytes by which one is known when it comes again, also through a stream.

    :param before: how many records the consumer has yielded before.
    """
    origins: Sequence[tuple[Any, bool]] = getattr(consumer, "origins", ())
    if len(origins) == len(records):
        return [_of_kafka(record, *origin) for record, origin in zip(records, origins, strict=True)]
    config = consumer.config if isinstance(consumer.config, Mapping) else {}
    place = config.get("FILE_PATH") or config.get("DIRECTORY_PATH") or type(consumer).__name__
    return [
        Alert(STREAM, str(place), 0, before + n, None, (), None, _bytes_of(record), _content=dict(record))
        for n, record in enumerate(records)
    ]


def _of_kafka(record: dict[str, Any], message: Any, alone: bool) -> Alert:
    kind, sent = message.timestamp()
    return Alert(
        STREAM,
        message.topic(),
        message.partition(),
        message.offset(),
        message.key(),
        tuple(message.headers() or ()),
        datetime.fromtimestamp(sent / 1000, timezone.utc) if kind else None,
        message.value() if alone else _bytes_of(record),
        _content=dict(record),
    )


def _bytes_of(record: dict[str, Any]) -> bytes:
    return json.dumps(record, sort_keys=True, default=repr).encode()
