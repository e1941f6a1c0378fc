"""The ANTARES broker: loci as compressed BSON."""

from __future__ import annotations

import importlib.util
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

from tom_alertstreams.alerts import Alert
from tom_alertstreams.conf import Start
from tom_alertstreams.exceptions import ConfigurationError, DecodeError
from tom_alertstreams.handlers import resolve
from tom_alertstreams.logs import get_logger
from tom_alertstreams.topics import TopicKeys

from .kafka import KafkaAlertStream

logger = get_logger(__name__)

_SERVERS: Final = "kafka.antares.noirlab.edu:9092"
#: What topics are called on the broker, before the name that users know.
_PREFIX: Final = "client."
_LARGEST_BYTES: Final = 256 * 1024 * 1024
_INSTALL: Final = "Install it: pip install 'tom-alertstreams[antares]'."


class AntaresAlertStream(KafkaAlertStream):
    """Loci from ANTARES. A 1.x handler gets antares_client's ``Locus``; the content of an Alert is a dict.

    Topics are named as on ANTARES' pages. ``Alert.topic`` is the name on the broker, which begins with ``client.``.

    OPTIONS: API_KEY, API_SECRET, TOPIC_HANDLERS; and if wanted GROUP, SSL_CA_LOCATION (default: the certificate in
    antares_client; ANTARES signs its own, so without either there is no connection), START_POSITION, CONFIG (any
    librdkafka key; applied last). ENABLE_AUTO_COMMIT is accepted and does nothing: offsets advance with the database.
    """

    required_keys: Sequence[str] = ["API_KEY", "API_SECRET", "TOPIC_HANDLERS"]
    allowed_keys: Sequence[str] = [
        "API_KEY", "API_SECRET", "TOPIC_HANDLERS", "GROUP", "SSL_CA_LOCATION", "ENABLE_AUTO_COMMIT", "CONFIG",
        "START_POSITION",
    ]  # fmt: skip
    default_start: ClassVar[Start] = "earliest"
    v1_arguments: ClassVar[int | None] = 1

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """
        :raises ConfigurationError: the key is empty, or a handler wants a Locus and antares_client is not installed.
        """
        super().__init__(*args, **kwargs)
        if group := self._option("group"):
            self.__dict__["group_id"] = str(group)
        if self._option("enable_auto_commit"):
            logger.info("ENABLE_AUTO_COMMIT of ANTARES does nothing any more: offsets advance with the database.")
        self.connection_config()
        _import_bson()
        if not all(resolve(t.handler, t.options, self.v1_arguments).marked for t in self.settings.topics):
            _import_locus()

    def connection_config(self) -> dict[str, Any]:
        """ANTARES' broker and login, unless CONFIG says otherwise.

        :raises ConfigurationError: API_KEY or API_SECRET is empty.
        """
        given = self._config()
        key, secret = self._option("api_key"), self._option("api_secret")
        if not (key and secret):
            if key or secret or "bootstrap.servers" not in given:
                raise ConfigurationError(
                    f"{'API_SECRET' if key else 'API_KEY'} is empty.", hint="Ask ANTARES for a key and its secret."
                )
            return {"bootstrap.servers": given["bootstrap.servers"]}
        config: dict[str, Any] = {
            "bootstrap.servers": _SERVERS,
            "security.protocol": "SASL_SSL",
            "sasl.mechanisms": "PLAIN",
            "sasl.username": key,
            "sasl.password": secret,
        }
        if "SSL" in str(given.get("security.protocol", "SASL_SSL")).upper().split("_"):
            # The certificate does not name the host.
            config["ssl.endpoint.identification.algorithm"] = "none"
            if (authority := self._option("ssl_ca_location") or _bundled_authority()) is not None:
                config["ssl.ca.location"] = str(authority)
            elif "ssl.ca.location" not in given:
                logger.warning(
                    "ANTARES signs its own certificate: set SSL_CA_LOCATION to it, or install antares-client."
                )
        return config

    def make_topic_keys(self) -> TopicKeys:
        """Keys without the prefix, topics with it."""
        return AntaresKeys(topic.key for topic in self.settings.topics)

    def decode(self, alert: Alert) -> Any:
        """The locus as a dict.

        :raises DecodeError: it is not zlib-compressed BSON.
        """
        document = _inflate(alert)
        try:
            return _import_bson()(document)
        except ConfigurationError:
            raise
        except Exception as error:
            # IndexError, struct.error, UnicodeDecodeError, ValueError …, and others from another BSON library
            raise DecodeError(f"the BSON of the locus is broken: {type(error).__name__}: {error}") from error

    def handler_arguments(self, alert: Alert) -> tuple[Any, ...]:
        """antares_client's Locus, new at each call.

        :raises DecodeError: it is no locus.
        """
        make_locus, document = _import_locus(), self.decode(alert)
        try:
            return (make_locus(document),)
        except Exception as error:
            raise DecodeError(f"antares_client cannot read the locus: {type(error).__name__}: {error}") from error


class AntaresKeys(TopicKeys):
    """Keys of TOPIC_HANDLERS without the prefix that topics have on the broker."""

    def _match(self, topic: str) -> str | None:
        return super()._match(topic.removeprefix(_PREFIX)) if topic.startswith(_PREFIX) else None

    def subscription(self) -> list[str]:
        """Names and regular expressions with the prefix."""
        regex = _PREFIX.replace(".", "[.]")
        return [f"^{regex}{name[1:]}" if name.startswith("^") else _PREFIX + name for name in super().subscription()]


def _inflate(alert: Alert) -> bytes:
    if not alert.raw:
        raise DecodeError("a tombstone: the message has no value." if alert.raw is None else "the message is empty.")
    inflater = zlib.decompressobj()
    try:
        document = inflater.decompress(alert.raw, _LARGEST_BYTES)
    except zlib.error as error:
        raise DecodeError(f"the locus is not compressed with zlib: {error}") from error
    if inflater.unconsumed_tail:
        raise DecodeError(f"the locus is larger than {_LARGEST_BYTES:,} bytes.")
    if not inflater.eof:
        raise DecodeError("the compressed locus is cut short.")
    return document


def _import_bson() -> Callable[[bytes], Any]:
    """A function that reads BSON: of the package bson or of pymongo, which share a name, or the copy inside hop.

    :raises ConfigurationError: there is none.
    """
    try:
        import bson
    except ImportError:
        try:
            from hop import bson
        except ImportError as error:
            raise ConfigurationError("no package to read BSON is installed.", hint=_INSTALL) from error
    read: Callable[[bytes], Any] = bson.loads if hasattr(bson, "loads") else bson.decode
    return read


def _import_locus() -> Callable[[Any], Any]:
    """A function from the decoded message to antares_client's Locus, as its own client makes one.

    That client wants the package bson, which pymongo overwrites where both are installed: so the BSON is read here.

    :raises ConfigurationError: antares_client is not installed.
    """
    try:
        from antares_client.stream import LocusMessageToUsers, OldMarshmallowLocusFromKafka, ValidationError, search
    except ImportError as error:
        raise ConfigurationError(
            f"antares-client cannot be imported: {error}.",
            hint=f"{_INSTALL} Or mark the handlers with @alert_handler: those get a dict, which needs no antares-client.",
        ) from error

    def make_locus(document: Any) -> Any:
        try:
            found = OldMarshmallowLocusFromKafka.model_validate(document)
        except ValidationError:
            found = LocusMessageToUsers.model_validate(document)
        return found.to_model(search_module=search)

    return make_locus


def _bundled_authority() -> Path | None:
    """The certificate that antares_client brings; found without importing it, which takes seconds."""
    spec = importlib.util.find_spec("antares_client")
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(next(iter(spec.submodule_search_locations))) / "certificates" / "kafka-ca.pem"
    return path if path.is_file() else None
