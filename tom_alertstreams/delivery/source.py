"""What the delivery loop asks of a stream, and how it is told to stop."""

from __future__ import annotations

import threading
from collections.abc import Mapping
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
    #: Alerts to take at most, all streams together; None is no limit.
    max_alerts: int | None = None
    stopping: Stopping = field(default_factory=Stopping)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def reserve(self, wanted: int) -> int:
        """How many of the wanted alerts may be handled now. What is not used is given back by :meth:`give_back`."""
        if self.max_alerts is None:
            return wanted
        with self._lock:
            granted = min(wanted, self.max_alerts)
            self.max_alerts -= granted
            return granted

    def give_back(self, unused: int) -> None:
        """Alerts that were reserved and not handled."""
        if self.max_alerts is not None:
            with self._lock:
                self.max_alerts += unused

    @property
    def exhausted(self) -> bool:
        """No more alerts may be taken."""
        return self.max_alerts == 0
