"""What the delivery loop asks of a stream, and how it is told to stop."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from tom_alertstreams.alerts import Alert, Headers
from tom_alertstreams.conf import Start, StreamSettings, TopicSettings
from tom_alertstreams.handlers import Handler
from tom_alertstreams.topics import TopicKeys

if TYPE_CHECKING:
    from confluent_kafka import Message


@dataclass(frozen=True)
class Binding:
    """A key of TOPIC_HANDLERS with its handler, ready to be called."""

    topic: TopicSettings
    handler: Handler


class AlertSource(Protocol):
    """A stream as the delivery loop sees it. It knows its broker's login, topics and wire format, and no more."""

    @property
    def settings(self) -> StreamSettings:
        """Label, DELIVERY and topics."""

    @property
    def group_id(self) -> str:
        """The consumer group."""

    @property
    def start(self) -> Start:
        """Where a key begins that is used for the first time."""

    @property
    def bindings(self) -> Mapping[str, Binding]:
        """Key of TOPIC_HANDLERS → handler."""

    @property
    def topic_keys(self) -> TopicKeys:
        """Topic → key of TOPIC_HANDLERS."""

    def consumer_config(self) -> dict[str, Any]:
        """The librdkafka configuration: addresses, login, the user's CONFIG."""

    def open_alert(self, message: Message) -> Alert:
        """The envelope of a message; nothing is decoded yet."""

    def restore_alert(
        self,
        *,
        topic: str,
        partition: int,
        offset: int,
        key: bytes | None,
        headers: Headers,
        timestamp: datetime | None,
        raw: bytes | None,
    ) -> Alert:
        """The envelope of an alert that was kept in the database."""

    def handler_arguments(self, alert: Alert) -> tuple[Any, ...]:
        """The positional arguments of a 1.x handler, made anew at each call.

        :raises DecodeError: the bytes are not what the stream's format says.
        """


def handlers_of(source: AlertSource, topics: Iterable[str]) -> dict[str, str]:
    """Topic → dotted path of its handler; empty: it has none."""
    keys = {topic: source.topic_keys.match(topic) for topic in topics}
    bindings = {topic: source.bindings.get(key) for topic, key in keys.items() if key is not None}
    return {topic: binding.topic.handler if (binding := bindings.get(topic)) else "" for topic in keys}


class Stopping(threading.Event):
    """Set when everything shall end."""

    _asked = False

    def ask(self) -> None:
        """What a signal handler may do: ``set`` could wait for a lock that the interrupted code holds.

        Whoever asks ``is_set`` sees it at once; whoever waits goes on when ``set`` is called.
        """
        self._asked = True

    def is_set(self) -> bool:
        return self._asked or super().is_set()


@dataclass
class Control:
    """What the supervisor tells a running stream. One for all streams of a process; safe between threads."""

    #: Read to the end of what is there at the start, then finish.
    once: bool = False
    #: Alerts to take at most, all streams together; None is no limit. What is left of it, while they run.
    max_alerts: int | None = None
    stopping: Stopping = field(default_factory=Stopping)
    #: Alerts that streams have reserved and not settled yet.
    _in_hand: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def reserve(self, wanted: int) -> int:
        """How many of the wanted alerts may be handled now; afterwards they are to be settled."""
        if self.max_alerts is None:
            return wanted
        with self._lock:
            granted = min(wanted, self.max_alerts)
            self.max_alerts -= granted
            self._in_hand += granted
            return granted

    def settle(self, reserved: int, finished: int) -> None:
        """Of so many alerts that were reserved only these were finished: somebody may take the others."""
        if self.max_alerts is not None:
            with self._lock:
                self.max_alerts += reserved - finished
                self._in_hand -= reserved

    @property
    def exhausted(self) -> bool:
        """No more alerts may be taken, and none that another stream has in hand can come free again."""
        with self._lock:
            return self.max_alerts == 0 and not self._in_hand
