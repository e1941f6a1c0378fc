"""SCiMMA's Hopskotch: messages that say their own format, read with hop's models."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from confluent_kafka import Message

from tom_alertstreams.alerts import Alert
from tom_alertstreams.avro_limits import check_container
from tom_alertstreams.conf import Start
from tom_alertstreams.decoders import CONTAINER_MAGIC
from tom_alertstreams.exceptions import ConfigurationError, DecodeError, RejectAlert
from tom_alertstreams.logs import get_logger
from tom_alertstreams.topics import EVERYTHING, INTERNAL, TopicKeys

from .kafka import KafkaAlertStream, kafka_message
from .offloaded import OffloadedMessages

if TYPE_CHECKING:  # hop takes half a second to import
    from hop.auth import Auth
    from hop.io import Metadata
    from hop.models import JSONBlob

logger = get_logger(__name__)

_DEFAULT_PORT = 9092
#: The header of a message that its sender calls a test.
_TEST_HEADER = "_test"


class HopskotchAlertStream(KafkaAlertStream):
    """Alerts from Hopskotch, or from another broker whose messages are hop's.

    A 1.x handler gets ``(model, metadata)``: a model of ``hop.models`` and a ``hop.io.Metadata``. The content of an
    Alert is the model.

    OPTIONS: URL (``kafka://host[:port]/``), USERNAME, PASSWORD, TOPIC_HANDLERS; and if wanted GROUP_ID (SCiMMA wants it
    to begin with ``USERNAME-``), START_POSITION (``LATEST``, ``EARLIEST``), INCLUDE_TEST (messages marked as a test are
    rejected otherwise), CONFIG (any librdkafka key; applied last). Without a USERNAME there is no login and no TLS, for
    tests and mirrors.
    """

    required_keys: Sequence[str] = ["URL", "TOPIC_HANDLERS"]
    allowed_keys: Sequence[str] = [
        "URL", "GROUP_ID", "USERNAME", "PASSWORD", "TOPIC_HANDLERS", "START_POSITION", "CONFIG", "INCLUDE_TEST",
    ]  # fmt: skip
    default_start: ClassVar[Start] = "latest"
    v1_arguments: ClassVar[int | None] = 2
    prefix_regex_keys: ClassVar[bool] = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """
        :raises ConfigurationError: hop is not installed, or URL, USERNAME or PASSWORD cannot be used.
        """
        super().__init__(*args, **kwargs)
        if "username" in self.__dict__ and self.__dict__["username"] is None:
            raise ConfigurationError(
                "USERNAME is None.", hint='Set it to your SCiMMA credential, or to "" for a broker without a login.'
            )
        import_hop()
        self.connection_config()

    def connection_config(self) -> dict[str, Any]:
        """The addresses in URL, and the login as hop configures it."""
        return connection_config(self._option("url"), self._credential)

    def make_topic_keys(self) -> TopicKeys:
        """Keys with ``*`` are read as 1.x read them; a topic that a glob would not mean is warned about."""
        return HopskotchKeys((topic.key for topic in self.settings.topics), self.settings.label)

    def decode(self, alert: Alert) -> Any:
        """The message as a model of ``hop.models``.

        :raises DecodeError: it is not of the format that its header names.
        :raises RejectAlert: its sender calls it a test.
        :raises RetryLater: it was stored outside of Kafka, and that server does not answer.
        """
        return self._open(alert)[0]

    def handler_arguments(self, alert: Alert) -> tuple[Any, ...]:
        """The model and the metadata, both new at each call: handlers take them apart.

        :raises DecodeError: as :meth:`decode`, which may also raise RejectAlert and RetryLater.
        """
        model, message = self._open(alert)
        return model, import_hop().Metadata.from_message(message)

    def _open(self, alert: Alert) -> tuple[Any, Message]:
        """The model, and the message it was made from: the one in Kafka or the one stored outside that it points to."""
        if not self._option("include_test", False) and any(name == _TEST_HEADER for name, _ in alert.headers):
            raise RejectAlert("test")
        if alert.raw is None:
            raise DecodeError("a tombstone: the message has no value.")
        message = kafka_message(alert)
        model = _deserialize(message)
        if isinstance(model, import_hop().models.ExternalMessage):
            message = self._offloaded.fetch(str(model.url), alert)
            model = _deserialize(message)
        return model, message

    @property
    def _credential(self) -> Auth | None:
        return credential(self._option("username"), self._option("password"), self._config())

    @cached_property
    def _offloaded(self) -> OffloadedMessages:
        return OffloadedMessages(self, self._credential)


class HopskotchKeys(TopicKeys):
    """Keys as 1.x read them. It warns, once a key, of a topic where that and the glob the key looks like differ."""

    def __init__(self, keys: Iterable[str], label: str) -> None:
        """:param label: of the stream, for the warnings."""
        super().__init__(keys, prefix_regex=True)
        self._label = label
        self._warned: set[str] = set()

    def _match(self, topic: str) -> str | None:
        found = super()._match(topic)
        if found is not None and not self.glob_agrees(found, topic):
            self._warn(
                found,
                f"the key {found!r} takes the topic {topic!r}, which it would not as a glob: as in tom-alertstreams 1.x it "
                "is a regular expression for the beginning of the name. If you do not want that topic, name those you do.",
            )
        elif found in (None, EVERYTHING) and not topic.startswith(INTERNAL):
            for key in self.keys:
                if "*" in key and key != EVERYTHING and self.glob_agrees(key, topic):
                    self._warn(
                        key,
                        f"the key {key!r} does not take the topic {topic!r}, which it would as a glob: as in tom-alertstreams "
                        "1.x it is a regular expression for the beginning of the name. If you want that topic, add its name.",
                    )
        return found

    def _warn(self, key: str, text: str) -> None:
        if key not in self._warned:
            self._warned.add(key)
            logger.warning("%s: %s", self._label, text, extra={"stream": self._label})


def import_hop() -> Any:
    """The module ``hop.io``, imported when it is first needed.

    :raises ConfigurationError: hop, or what it needs, is not installed.
    """
    try:
        from hop import io
    except ImportError as error:
        raise ConfigurationError(
            f"hop-client cannot be imported: {error}.", hint="Install it: pip install 'tom-alertstreams[hopskotch]'."
        ) from error
    return io


def connection_config(url: str, login: Auth | None) -> dict[str, Any]:
    """Addresses and login as librdkafka settings; CONFIG is not yet applied.

    :raises ConfigurationError: ``url`` is not one.
    """
    return {"bootstrap.servers": _servers(url), **(login() if login is not None else {})}


def credential(username: str | None, password: str | None, config: Mapping[str, Any]) -> Auth | None:
    """A login as hop's object; None where the name is empty.

    :param config: CONFIG, whose ``security.protocol`` may do without TLS.
    :raises ConfigurationError: the password is empty.
    """
    if not username:
        return None
    if not password:
        raise ConfigurationError("PASSWORD is empty.", hint="USERNAME and PASSWORD are the two halves of a credential.")
    import_hop()
    from hop.auth import Auth

    protocol = str(config.get("security.protocol", "SASL_SSL"))
    return Auth(username, password, ssl=protocol.upper() == "SASL_SSL")


def _servers(url: str) -> str:
    """``kafka://user@host:port,host/`` as librdkafka wants it: ``host:port,host:9092``."""
    text = str(url or "")
    parts = urlsplit(text if "//" in text else f"kafka://{text}")
    hosts = [host.strip() for host in parts.netloc.rpartition("@")[2].split(",")]
    if parts.scheme != "kafka" or not all(hosts) or parts.path not in ("", "/"):
        raise ConfigurationError(
            f"URL is {text!r}.", hint='Write "kafka://host/" or "kafka://host:port/"; topics belong in TOPIC_HANDLERS.'
        )
    return ",".join(host if re.search(r":\d+$", host) else f"{host}:{_DEFAULT_PORT}" for host in hosts)


def _deserialize(message: Message) -> Any:
    value = message.value()
    try:
        if isinstance(value, bytes) and value.startswith(CONTAINER_MAGIC):
            check_container(value)
        return import_hop().Deserializer.deserialize(message)
    except ConfigurationError:
        raise
    except Exception as error:
        # The models let through whatever their parsers met: KeyError, TypeError, ExpatError, struct.error …
        names = [value for name, value in message.headers() or () if name == "_format" and isinstance(value, bytes)]
        form = f" as {names[0].decode(errors='replace')}" if names else ""
        raise DecodeError(f"hop cannot read the message{form}: {type(error).__name__}: {error}") from error


# --- handlers to begin with --------------------------------------------------------------------------------------------


def heartbeat_handler(heartbeat: JSONBlob, metadata: Metadata) -> None:
    """Handler for the topic ``sys.heartbeat``: logs every 300th heartbeat."""
    content: dict[str, Any] = heartbeat.content
    if content["count"] % 300 == 0:
        sent = datetime.fromtimestamp(content["timestamp"] / 1e6, tz=timezone.utc)
        logger.info("%s heartbeat: %s; metadata: %s", sent.isoformat(), content, metadata)


def alert_logger(alert: JSONBlob, metadata: Metadata) -> None:
    """Handler for a first try: logs the message and its id."""
    found = next((value for name, value in metadata.headers or () if name == "_id"), None)
    # hop-client before 0.8 sent no id.
    alert_id = uuid.UUID(bytes=found) if isinstance(found, bytes) and len(found) == 16 else None
    logger.info("alert (uuid=%s) received on topic %s: %s; metadata: %s", alert_id, metadata.topic, alert, metadata)
