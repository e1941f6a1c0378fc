"""What a step puts out, in place of a Kafka producer: kept until its batch has ended, then written to the outbox."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from confluent_kafka import Message

from tom_alertstreams.alerts import Alert
from tom_alertstreams.redaction import remember_secrets

from .client_config import check_params
from .models import OutboxMessage, Outlet
from .producer_names import name_of

#: Rows in one INSERT.
_AT_ONCE: Final = 500
_SOURCE_LENGTH: Final = 500

Pairs = Sequence[tuple[str, bytes | None]]


@dataclass(frozen=True)
class Output:
    """One message that a step has produced."""

    producer: str
    topic: str
    key: bytes | None
    value: bytes | None
    headers: Pairs = ()
    #: None: it follows from the key.
    partition: int | None = None
    #: Milliseconds since 1970; None: when it is sent.
    timestamp: int | None = None


class Recorder:
    """What the producers of one step have put out since it was last taken, in order.

    :param params: key of STEP_CONFIG → PARAMS of the producer that it configures.
    """

    def __init__(self, params: Mapping[str, Mapping[str, Any]]) -> None:
        #: Name of each producer → its PARAMS. Also of those that the step makes of other settings than its STEP_CONFIG.
        self.params: dict[str, Mapping[str, Any]] = {name_of(key, given): given for key, given in params.items()}
        self.outputs: list[Output] = []

    def take(self) -> list[Output]:
        """What was put out; nothing is kept of it."""
        outputs = [*self.outputs]
        del self.outputs[: len(outputs)]  # a thread of the step may have put out more meanwhile
        return outputs

    def producer(self, params: Mapping[str, Any], *_args: Any, **_kwargs: Any) -> RecordingProducer:
        """In place of ``confluent_kafka.Producer``."""
        for name, known in self.params.items():
            if dict(known) == dict(params):
                return RecordingProducer(self, name)
        name = name_of(str(params.get("bootstrap.servers", "")), params)
        remember_secrets(params)
        check_params(name, params)
        self.params[name] = dict(params)
        return RecordingProducer(self, name)


class RecordingProducer:
    """Looks like a ``confluent_kafka.Producer`` and sends nothing: the outbox has its messages, as a broker would."""

    def __init__(self, recorder: Recorder, name: str) -> None:
        self._recorder = recorder
        self._name = name
        self._reports: list[Callable[[], Any]] = []

    def produce(
        self,
        topic: str,
        value: str | bytes | None = None,
        key: str | bytes | None = None,
        partition: int = -1,
        on_delivery: Callable[..., Any] | None = None,
        timestamp: int = 0,
        headers: Any = None,
        callback: Callable[..., Any] | None = None,
    ) -> None:
        """Keep the message."""
        if not isinstance(topic, str) or not topic:
            raise TypeError(f"a topic is a text, not {topic!r}")
        pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
        given = tuple((str(name), _bytes(text)) for name, text in pairs)
        place = partition if partition >= 0 else None
        self._recorder.outputs.append(
            Output(self._name, topic, _bytes(key), _bytes(value), given, place, timestamp or None)
        )
        report = on_delivery or callback
        if report is not None:
            message = Message(topic=topic, key=_bytes(key), value=_bytes(value), headers=list(given) or None)
            self._reports.append(partial(report, None, message))

    def poll(self, timeout: float = 0) -> int:
        """Tell the step that the messages are taken."""
        reports, self._reports = self._reports, []
        for report in reports:
            report()
        return len(reports)

    def flush(self, timeout: float = 0) -> int:
        """The same; nothing is left."""
        self.poll()
        return 0

    def purge(self, *_args: Any, **_kwargs: Any) -> None:
        """There is nothing to drop."""

    def __len__(self) -> int:
        return len(self._reports)


def store(outlet: Outlet, outputs: Sequence[Output], alerts: Sequence[Alert]) -> None:
    """Write what a batch has put out, inside the batch's transaction."""
    source = source_of(alerts)
    for start in range(0, len(outputs), _AT_ONCE):
        OutboxMessage.objects.bulk_create(
            OutboxMessage(
                outlet=outlet,
                producer=output.producer,
                topic=output.topic,
                partition=output.partition,
                timestamp=output.timestamp,
                key=output.key,
                value=output.value,
                headers=[[name, None if text is None else base64.b64encode(text).decode()] for name, text in output.headers],
                source=source,
            )
            for output in outputs[start : start + _AT_ONCE]
        )  # fmt: skip


def source_of(alerts: Sequence[Alert]) -> str:
    """``topic[partition]@first-last`` for each partition of a batch."""
    ends: dict[str, tuple[int, int]] = {}
    for alert in alerts:
        place = f"{alert.topic}[{alert.partition}]"
        first, last = ends.get(place, (alert.offset, alert.offset))
        ends[place] = (min(first, alert.offset), max(last, alert.offset))
    text = ", ".join(f"{place}@{first}-{last}" for place, (first, last) in ends.items())
    return text if len(text) <= _SOURCE_LENGTH else text[: _SOURCE_LENGTH - 1] + "…"


def _bytes(value: str | bytes | None) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    raise TypeError(f"a bytes-like object is required, not {type(value).__name__!r}")
