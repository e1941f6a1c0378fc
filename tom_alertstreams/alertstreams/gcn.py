"""NASA's General Coordinates Network over Kafka: JSON notices, circulars, and the classic notices as XML, text or binary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from tom_alertstreams.alerts import Alert
from tom_alertstreams.conf import Start
from tom_alertstreams.decoders import decode_auto
from tom_alertstreams.exceptions import ConfigurationError, DecodeError
from tom_alertstreams.logs import get_logger

from .kafka import KafkaAlertStream, kafka_message

if TYPE_CHECKING:
    from confluent_kafka import Message

logger = get_logger(__name__)

_BINARY_TOPICS: Final = "gcn.classic.binary."
#: 40 integers of four bytes, whatever the kind of notice.
_BINARY_SIZE: Final = 160
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
#: Where the loop, and not librdkafka, has the say.
_NOT_FOR_THE_CLIENT = ("group.id", "auto.offset.reset")


class GCNClassicAlertStream(KafkaAlertStream):
    """Alerts from https://gcn.nasa.gov. A 1.x handler gets the ``confluent_kafka.Message``.

    The content of an Alert is a dict for JSON, bytes for XML and for the classic binary packets, str for text.

    OPTIONS: GCN_CLASSIC_CLIENT_ID, GCN_CLASSIC_CLIENT_SECRET, TOPIC_HANDLERS; and if wanted DOMAIN (``gcn.nasa.gov``, or
    ``test.gcn.nasa.gov``), GROUP_ID, START_POSITION, CONFIG (any librdkafka key; applied last). A broker without a login:
    an empty client id, and ``bootstrap.servers`` in CONFIG.
    """

    required_keys: Sequence[str] = ["GCN_CLASSIC_CLIENT_ID", "GCN_CLASSIC_CLIENT_SECRET", "TOPIC_HANDLERS"]
    allowed_keys: Sequence[str] = [
        "GCN_CLASSIC_CLIENT_ID", "GCN_CLASSIC_CLIENT_SECRET", "TOPIC_HANDLERS", "DOMAIN", "CONFIG", "GROUP_ID",
        "START_POSITION",
    ]  # fmt: skip
    default_start: ClassVar[Start] = "latest"
    v1_arguments: ClassVar[int | None] = 1

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """
        :raises ConfigurationError: gcn-kafka is not installed, or the credentials are empty.
        """
        super().__init__(*args, **kwargs)
        self.connection_config()

    def connection_config(self) -> dict[str, Any]:
        """What gcn_kafka makes of the credentials, DOMAIN and CONFIG.

        :raises ConfigurationError: gcn-kafka is not installed, or the credentials are empty.
        """
        given = self._config()
        client_id, secret = self._option("gcn_classic_client_id"), self._option("gcn_classic_client_secret")
        if not client_id:
            if "bootstrap.servers" not in given:
                raise ConfigurationError(
                    "GCN_CLASSIC_CLIENT_ID is empty.",
                    hint="Get a client id and secret at https://gcn.nasa.gov/quickstart.",
                )
            given.setdefault("security.protocol", "PLAINTEXT")
        elif not secret:
            raise ConfigurationError(
                "GCN_CLASSIC_CLIENT_SECRET is empty.",
                hint="It was shown with the client id at https://gcn.nasa.gov/quickstart.",
            )
        get_config = _import_get_config()
        config: dict[str, Any] = get_config(
            "consumer", given, client_id=client_id or None, client_secret=secret or None, domain=self._option("domain")
        )
        return {name: value for name, value in config.items() if name not in _NOT_FOR_THE_CLIENT}

    def consumer_config(self) -> dict[str, Any]:
        """:meth:`connection_config`, which has taken CONFIG in already: gcn_kafka fills in what CONFIG does not say."""
        return self.connection_config()

    def decode(self, alert: Alert) -> Any:
        """A dict for JSON, bytes for XML and for binary packets, str for text.

        :raises DecodeError: it is empty, invalid JSON, or a binary packet of the wrong size.
        """
        raw = alert.raw or b""
        if raw and alert.topic.startswith(_BINARY_TOPICS):
            if len(raw) != _BINARY_SIZE:
                raise DecodeError(f"{len(raw)} bytes; a binary notice has {_BINARY_SIZE}.")
            return raw
        if raw.removeprefix(_BYTE_ORDER_MARK).lstrip()[:1] == b"<":
            return raw  # XML brings its own encoding: it must be parsed as bytes
        return decode_auto(alert.raw)

    def handler_arguments(self, alert: Alert) -> tuple[Any, ...]:
        """The message as confluent_kafka gives it, new at each call."""
        return (kafka_message(alert),)


def _import_get_config() -> Any:
    """``gcn_kafka.core.get_config``, imported when it is first needed.

    :raises ConfigurationError: gcn-kafka is not installed, or so old that a quiet stream loses its login after an hour.
    """
    hint = "Install it: pip install 'tom-alertstreams[gcn]'."
    try:
        import gcn_kafka
        from gcn_kafka.core import get_config
    except ImportError as error:
        raise ConfigurationError(f"gcn-kafka cannot be imported: {error}.", hint=hint) from error
    found = str(gcn_kafka.__version__)
    if tuple(int(part) for part in found.split(".")[:3] if part.isdecimal()) < (0, 3, 4):
        raise ConfigurationError(f"gcn-kafka {found} is too old; 0.3.4 is needed.", hint=hint)
    return get_config


def alert_logger(alert: Message) -> None:
    """Handler for a first try: logs the topic and the value of the message."""
    logger.info("alert received on topic %s: %s", alert.topic(), alert.value())
