"""The base class of every stream, and the making of streams from settings."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from tom_alertstreams.conf import Finding, StreamSettings, configured_streams, read_streams, stream_settings
from tom_alertstreams.exceptions import ConfigurationError
from tom_alertstreams.handlers import import_handler, is_marked
from tom_alertstreams.logs import get_logger

if TYPE_CHECKING:  # this module is imported by apps that are not loaded yet, so it must not import models
    from tom_alertstreams.delivery.runs import Status
    from tom_alertstreams.delivery.source import Control

logger = get_logger(__name__)


class AlertStream(abc.ABC):
    """A stream of alerts.

    A subclass names its OPTIONS in ``required_keys`` and ``allowed_keys`` and implements :meth:`listen`. Every allowed
    option becomes an attribute of the same name in lower case; ``self.alert_handler`` maps the keys of TOPIC_HANDLERS to
    the imported functions.

    This is the contract of tom-alertstreams 1.x. For a Kafka broker derive from
    :class:`~tom_alertstreams.alertstreams.kafka.KafkaAlertStream` instead, whose ``listen`` is the delivery loop.
    """

    required_keys: Sequence[str] = ()
    allowed_keys: Sequence[str] = ()

    #: Whether ``listen`` ends soon after ``control.stopping`` is set; one of 1.x is left behind when the process ends.
    stops_when_asked: bool = False

    topic_handlers: dict[str, Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """
        :param kwargs: the OPTIONS of the stream.
        :raises ImproperlyConfigured: a required option is missing.
        """
        super().__init__()
        self.__dict__.update({key.lower(): value for key, value in kwargs.items() if key in self.allowed_keys})
        if missing := sorted(set(self.required_keys) - set(kwargs)):
            raise ConfigurationError(
                f"the OPTIONS of {self._get_stream_classname()} lack {', '.join(missing)}.",
                hint="Check your ALERT_STREAMS setting.",
            )
        self._options = kwargs
        self._settings: StreamSettings | None = None
        #: What the supervisor tells this stream; None while nobody supervises it.
        self.control: Control | None = None
        #: What this stream tells the supervisor.
        self.status: Status | None = None
        self.alert_handler = self._process_topic_handlers()

    def __repr__(self) -> str:
        return f"<{self._get_stream_classname()} {self.settings.label}>"

    @property
    def settings(self) -> StreamSettings:
        """The entry of ALERT_STREAMS this stream was made from; defaults where it was made by hand."""
        if self._settings is None:
            name = type(self).__name__
            label = name.replace("AlertStream", "").lower() or "stream"
            self._settings = stream_settings(label, name, self._options)
        return self._settings

    @settings.setter
    def settings(self, value: StreamSettings) -> None:
        self._settings = value

    def _get_stream_classname(self) -> str:
        return type(self).__qualname__

    def _process_topic_handlers(self) -> dict[str, Callable[..., Any]]:
        """Import the functions that TOPIC_HANDLERS names."""
        return {
            topic: import_handler(entry["HANDLER"] if isinstance(entry, dict) else entry)
            for topic, entry in self.topic_handlers.items()
        }

    @abc.abstractmethod
    def listen(self) -> None:
        """Read the stream and call the handlers. May return when there is nothing more to read."""

    def verify(self) -> None:
        """Look at what settings say beyond OPTIONS, once the stream has them.

        A ``listen`` of 1.x calls its handlers as 1.x does, and knows nothing of marks and OPTIONS.

        :raises ConfigurationError: something cannot be used.
        """
        for topic in self.settings.topics:
            if topic.options or is_marked(self.alert_handler.get(topic.key)):
                raise ConfigurationError(
                    f"TOPIC_HANDLERS[{topic.key!r}]: {self._get_stream_classname()} reads by a listen() of its own, which can "
                    f"call neither {topic.handler} with OPTIONS nor a handler that is marked.",
                    hint="Read this broker with KafkaAlertStream and its DECODER, or name a plain function.",
                )

    def deliver(self, control: Control, status: Status) -> None:
        """Listen under a supervisor."""
        from .legacy import LegacyRun

        self.control, self.status = control, status
        LegacyRun(self, status).listen()


@dataclass(frozen=True)
class Unusable:
    """A stream that cannot be made, and why."""

    label: str
    reason: str


def get_default_alert_streams() -> list[AlertStream]:
    """The streams of settings.py.

    :raises ImproperlyConfigured: ALERT_STREAMS is missing, or one of its streams cannot be made.
    """
    if not hasattr(settings, "ALERT_STREAMS"):
        raise ConfigurationError("ALERT_STREAMS is not set.", hint="List your streams in settings.py; see the README.")
    return get_alert_streams(settings.ALERT_STREAMS)


def get_alert_streams(alert_stream_configs: list[Any]) -> list[AlertStream]:
    """The active streams of a list like ALERT_STREAMS.

    :raises ImproperlyConfigured: one of them cannot be made.
    """
    parsed, findings = read_streams(alert_stream_configs)
    if findings:
        raise ConfigurationError(f"{findings[0].label}: {findings[0].message}", hint=findings[0].hint)
    return [make_stream(stream) for stream in parsed]


def make_stream(stream: StreamSettings) -> AlertStream:
    """Make one stream.

    :raises ImproperlyConfigured: its class or a handler cannot be imported, or its OPTIONS do not fit.
    """
    made: AlertStream = stream_class(stream)(**stream.options)
    made.settings = stream
    made.verify()
    return made


def stream_class(stream: StreamSettings) -> type[AlertStream]:
    """The class that NAME names.

    :raises ConfigurationError: it cannot be imported.
    """
    try:
        found: type[AlertStream] = import_string(stream.name)
    except ImportError as error:
        raise ConfigurationError(
            f"the class {stream.name} (NAME) cannot be imported: {error}",
            hint="Check NAME, and that the extra for this broker is installed, e.g. pip install 'tom-alertstreams[gcn]'.",
            stream=stream.label,
        ) from error
    return found


def make_streams() -> tuple[list[AlertStream], list[Finding]]:
    """All streams of settings.py that can be made, and what is wrong with the others."""
    parsed, findings = configured_streams()
    streams: list[AlertStream] = []
    for stream in parsed:
        try:
            streams.append(make_stream(stream))
        except ImproperlyConfigured as error:
            message = error.message if isinstance(error, ConfigurationError) else str(error)
            findings.append(Finding("W004", message, getattr(error, "hint", None) or "Check OPTIONS.", stream.label))
        except (Exception, SystemExit) as error:  # noqa: BLE001  (a 1.x constructor may do anything; the others must start)
            findings.append(
                Finding(
                    "W004", f"{type(error).__name__}: {error}", "The stream's class could not be made.", stream.label
                )
            )
    return streams, findings


def alert_logger(alert: Any, *args: Any, **kwargs: Any) -> None:
    """Handler for a first try: logs the alert."""
    logger.info("alert received: %s %s", alert, args or "")
