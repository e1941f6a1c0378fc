"""Any Kafka broker: the generic stream, and the base of the streams of particular brokers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from functools import cached_property, lru_cache
from typing import Any, ClassVar

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Message

from tom_alertstreams.alerts import Alert, Headers
from tom_alertstreams.conf import Start
from tom_alertstreams.decoders import Decoder, make_decoder, without_cutouts
from tom_alertstreams.delivery.loop import DeliveryLoop
from tom_alertstreams.delivery.runs import Status
from tom_alertstreams.delivery.source import Binding, Control
from tom_alertstreams.exceptions import ConfigurationError
from tom_alertstreams.handlers import resolve
from tom_alertstreams.models import Installation
from tom_alertstreams.topics import TopicKeys

from .alertstream import AlertStream
from .diagnosis import Failure

#: What the tables have room for.
_LONGEST_GROUP = 255


class KafkaAlertStream(AlertStream):
    """Alerts from any Kafka broker. A handler without a mark gets the :class:`~tom_alertstreams.alerts.Alert`.

    OPTIONS: BOOTSTRAP_SERVERS, TOPIC_HANDLERS; and if wanted GROUP_ID, CONFIG (any librdkafka key; applied last),
    DECODER (``auto``, ``key-schema``, ``schemaless``), SCHEMA (a file, a folder of .avsc files, or the URL of a
    registry), START_POSITION.

    A subclass for one broker overrides :meth:`connection_config`, and where its messages need it :meth:`decode` and
    :meth:`handler_arguments`.
    """

    required_keys: Sequence[str] = ["BOOTSTRAP_SERVERS", "TOPIC_HANDLERS"]
    allowed_keys: Sequence[str] = [
        "BOOTSTRAP_SERVERS", "GROUP_ID", "TOPIC_HANDLERS", "CONFIG", "DECODER", "SCHEMA", "START_POSITION",
    ]  # fmt: skip

    stops_when_asked = True
    #: Where a key begins that is used for the first time, unless settings say otherwise.
    default_start: ClassVar[Start] = "earliest"
    #: How many positional arguments a 1.x handler gets; None where this stream has no 1.x shape.
    v1_arguments: ClassVar[int | None] = None
    #: Whether keys with ``*`` are read as 1.x's Hopskotch stream read them.
    prefix_regex_keys: ClassVar[bool] = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.__dict__.get("group_id"):  # None out of an environment variable would hide the property below
            self.__dict__.pop("group_id", None)
        if not self.topic_handlers:
            raise ConfigurationError("TOPIC_HANDLERS is empty.", hint="Name at least one topic and its handler.")
        config = getattr(self, "config", None)
        if config is not None and not isinstance(config, Mapping):
            raise ConfigurationError("CONFIG is not a dict.", hint="It holds librdkafka settings.")
        self._decoder: Decoder = make_decoder(getattr(self, "decoder", "auto"), getattr(self, "schema", None))
        #: Topic → how its alerts are decoded.
        self._decode_of = lru_cache(maxsize=4096)(self._choose_decode)

    # --- what a subclass may change --------------------------------------------------------------------------------

    def connection_config(self) -> dict[str, Any]:
        """Addresses and login as librdkafka settings."""
        return {"bootstrap.servers": self._option("bootstrap_servers")}

    @property
    def group_prefix(self) -> str:
        """What a group id begins with that is made for this stream: brokers that check it want the user name."""
        return str(self._option("username") or "tom")

    def decode(self, alert: Alert) -> Any:
        """The content of an alert.

        :raises DecodeError: the bytes are not what they should be.
        """
        return self._decoder(alert)

    def handler_arguments(self, alert: Alert) -> tuple[Any, ...]:
        """The positional arguments of a handler without a mark."""
        return (alert,)

    def make_topic_keys(self) -> TopicKeys:
        """How topics are found from the keys of TOPIC_HANDLERS."""
        return TopicKeys((topic.key for topic in self.settings.topics), prefix_regex=self.prefix_regex_keys)

    def other_logins(self) -> Mapping[str, Mapping[str, Any]]:
        """How else the broker may want us to log in: tried by ``checkstreams`` where our way is refused.

        :returns: what to set in settings, in words → all that the Kafka client is given, in place of
            :meth:`consumer_config`.
        """
        return {}

    def explain(self, failure: Failure) -> Failure:
        """What a refusal means at this broker, and the next step, where that is known better than of any broker."""
        return failure

    # --- what the delivery loop asks -------------------------------------------------------------------------------

    def consumer_config(self) -> dict[str, Any]:
        """The connection, then the user's CONFIG."""
        return {**self.connection_config(), **self._config()}

    @cached_property
    def topic_keys(self) -> TopicKeys:
        return self.make_topic_keys()

    @cached_property
    def bindings(self) -> Mapping[str, Binding]:
        # A subclass of 1.x may have put functions of its own into alert_handler.
        bindings = {
            topic.key: Binding(
                topic, resolve(topic.handler, topic.options, self.v1_arguments, self.alert_handler.get(topic.key))
            )
            for topic in self.settings.topics
        }
        for key, binding in bindings.items():
            if binding.handler.marked and not binding.topic.atomic:
                raise ConfigurationError(
                    f'TOPIC_HANDLERS[{key!r}]: "ATOMIC": False is for handlers without a mark.',
                    hint="Remove it: a marked handler always runs inside the transaction of its group.",
                )
        return bindings

    @cached_property
    def group_id(self) -> str:
        """GROUP_ID, else ``group.id`` in CONFIG, else a name drawn once for this database.

        Two TOMs with one login never share a group, and a restart goes on where it stopped.
        """
        given = self._config().get("group.id")
        return str(given) if given else f"{self.group_prefix or 'tom'}-{Installation.current().id}"

    @property
    def start(self) -> Start:
        """DELIVERY.START, else START_POSITION, else ``auto.offset.reset`` in CONFIG, else the stream's own.

        :raises ConfigurationError: another word than these have.
        """
        if self.settings.delivery.start is not None:
            return self.settings.delivery.start
        given = self._option("start_position") or self._config().get("auto.offset.reset") or self.default_start
        word = str(given).lower()
        if word in ("earliest", "smallest", "beginning"):
            return "earliest"
        if word in ("latest", "largest", "end"):
            return "latest"
        raise ConfigurationError(
            f"START_POSITION, or auto.offset.reset in CONFIG, is {given!r}.", hint='Use "earliest" or "latest".'
        )

    def open_alert(self, message: Message) -> Alert:
        topic: Any = message.topic()
        partition: Any = message.partition()
        offset: Any = message.offset()
        key, raw, headers = _bytes(message.key()), _bytes(message.value()), _headers(message.headers())
        return Alert(
            self.settings.label,
            topic,
            partition,
            offset,
            key,
            headers,
            _sent(*message.timestamp()),
            raw,
            self._decode_of(topic),
        )

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
        return Alert(
            self.settings.label, topic, partition, offset, key, headers, timestamp, raw, self._decode_of(topic)
        )

    def verify(self) -> None:
        """Build every handler's options and every topic's pattern now rather than at the first alert.

        :raises ConfigurationError: one of them cannot be built, or the loop cannot work with GROUP_ID or CONFIG.
        """
        _ = self.bindings, self.topic_keys, self.start
        _check_group(self.__dict__.get("group_id", ""), "GROUP_ID")
        _check_group(str(self._config().get("group.id") or ""), "group.id in CONFIG")
        if type(self).listen is KafkaAlertStream.listen:
            _refuse_partitions_one_by_one(self._config())

    def deliver(self, control: Control, status: Status) -> None:
        """Listen under a supervisor. A subclass that overrides ``listen`` reads and commits by itself, as in 1.x."""
        if type(self).listen is not KafkaAlertStream.listen:
            super().deliver(control, status)
            return
        self.control, self.status = control, status
        self.listen()

    def listen(self) -> None:
        """Run the delivery loop until it is told to stop."""
        DeliveryLoop(self, self.control or Control(), self.status).run()

    def _choose_decode(self, topic: str) -> Decoder:
        key = self.topic_keys.match(topic)
        wants_cutouts = key is None or self.bindings[key].handler.cutouts
        return self.decode if wants_cutouts else self._decode_without_cutouts

    def _decode_without_cutouts(self, alert: Alert) -> Any:
        return without_cutouts(self.decode(alert))

    # --- for subclasses --------------------------------------------------------------------------------------------

    def _option(self, name: str, default: Any = None) -> Any:
        value = self.__dict__.get(name)
        return default if value is None else value

    def _config(self) -> dict[str, Any]:
        return dict(self._option("config", {}))


def _check_group(given: Any, name: str) -> None:
    """:raises ConfigurationError: it cannot be kept."""
    if not isinstance(given, str) or len(given) > _LONGEST_GROUP or not given.isprintable():
        raise ConfigurationError(
            f"{name} is {given!r}.", hint=f"It is a text of at most {_LONGEST_GROUP} characters, in one line."
        )


def _refuse_partitions_one_by_one(config: Mapping[str, Any]) -> None:
    """The loop places all its partitions at once, which the client refuses where they come and go one by one.

    :raises ConfigurationError: CONFIG asks for that.
    """
    for key, word, instead in (
        ("partition.assignment.strategy", "cooperative-sticky", '"range" or "roundrobin"'),
        ("group.protocol", "consumer", '"classic"'),
    ):
        if word in str(config.get(key, "")).lower():
            raise ConfigurationError(
                f"{key} in CONFIG is {config[key]!r}: partitions would come and go one by one, and the delivery loop takes "
                "all that it has at once.",
                hint=f"Leave it out, or use {instead}.",
            )


def kafka_message(alert: Alert) -> Message:
    """The confluent_kafka Message of an alert, made anew: what a handler did to an earlier one does not show."""
    timestamp = (1, round(alert.timestamp.timestamp() * 1000)) if alert.timestamp else (TIMESTAMP_NOT_AVAILABLE, -1)
    return Message(
        topic=alert.topic,
        partition=alert.partition,
        offset=alert.offset,
        key=alert.key,
        value=alert.raw,
        headers=list(alert.headers) or None,
        timestamp=timestamp,
    )


def _sent(kind: int, milliseconds: int) -> datetime | None:
    if kind == TIMESTAMP_NOT_AVAILABLE or milliseconds < 0:
        return None
    try:
        return datetime.fromtimestamp(milliseconds / 1000, timezone.utc)
    except (
        ValueError,
        OverflowError,
        OSError,
    ):  # a producer may write anything there: microseconds lie in the year 55,000
        return None


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def _headers(headers: Any) -> Headers:
    if not headers:
        return ()
    pairs = headers.items() if isinstance(headers, dict) else headers
    return tuple([(name, _bytes(value)) for name, value in pairs])
