"""ALeRCE's Kafka broker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar, Final

from tom_alertstreams.alertstreams.diagnosis import Failure
from tom_alertstreams.alertstreams.kafka import KafkaAlertStream
from tom_alertstreams.conf import Start
from tom_alertstreams.delivery.source import Binding
from tom_alertstreams.exceptions import ConfigurationError
from tom_alertstreams.topics import TopicKeys

from .decoding import AlerceDecoder
from .options import AlerceOptions
from .topics import DailyTopicKeys

BOOTSTRAP_SERVERS: Final = "kafka.alerce.science:9093"
#: PROTOCOL and MECHANISM, as ALeRCE's broker has taken them: since 2023, and as its documentation of 2022 says.
LOGINS: Final = (("SASL_SSL", "SCRAM-SHA-512"), ("SASL_PLAINTEXT", "SCRAM-SHA-256"))


class AlerceAlertStream(KafkaAlertStream):
    """Classifications from ALeRCE. A handler without a mark gets the :class:`~tom_alertstreams.alerts.Alert`.

    OPTIONS: USERNAME and PASSWORD from ALeRCE ("" is for brokers without login), TOPIC_HANDLERS with keys like
    ``lc_classifier`` and ``stamp_classifier``: the topics of every day (see :class:`~alerce_stream.topics.DailyTopicKeys`).

    And if wanted: GROUP_PREFIX (what ALeRCE told your group ids must begin with; USERNAME), GROUP_ID (begins with it),
    PROTOCOL (``SASL_SSL``), MECHANISM (``SCRAM-SHA-512``), BOOTSTRAP_SERVERS, SCHEMA (.avsc file or folder for bare
    Avro of a schema that is not shipped, or a registry's URL), RESOLVER (dotted path of a function
    that finds positions), API_URL (where it looks), RATE (requests a second to ALeRCE's API at most), CONFIG (any librdkafka
    key; applied last), START_POSITION.
    """

    required_keys: Sequence[str] = ["USERNAME", "TOPIC_HANDLERS"]
    allowed_keys: Sequence[str] = [
        "USERNAME", "PASSWORD", "GROUP_PREFIX", "GROUP_ID", "TOPIC_HANDLERS", "PROTOCOL", "MECHANISM",
        "BOOTSTRAP_SERVERS", "SCHEMA", "RESOLVER", "API_URL", "RATE", "CONFIG", "START_POSITION",
    ]  # fmt: skip

    #: Daily topics hold two days; nobody wants half a night.
    default_start: ClassVar[Start] = "earliest"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._decoder = AlerceDecoder(self._option("schema"))
        if self._option("username") and not self._option("password"):
            raise ConfigurationError(
                "PASSWORD is missing.", hint="Put the one that ALeRCE sent you with your USERNAME into OPTIONS."
            )
        self._check_group()
        # Here for its checks only: handlers of one's own do not need it.
        self._with_defaults(AlerceOptions())

    @property
    def group_prefix(self) -> str:
        """What ALeRCE's broker demands of a group id."""
        return str(self._option("group_prefix") or self._option("username") or "")

    def connection_config(self) -> dict[str, Any]:
        """ALeRCE's address and login."""
        servers = self._option("bootstrap_servers", BOOTSTRAP_SERVERS)
        protocol = str(self._option("protocol", LOGINS[0][0])).upper()
        if not self._option("username"):
            return {"bootstrap.servers": servers, "security.protocol": protocol.removeprefix("SASL_")}
        return {
            "bootstrap.servers": servers,
            "security.protocol": protocol,
            "sasl.mechanisms": self._option("mechanism", LOGINS[0][1]),
            "sasl.username": self._option("username"),
            "sasl.password": self._option("password"),
        }

    def other_logins(self) -> Mapping[str, Mapping[str, Any]]:
        """The other one of :data:`LOGINS`: ALeRCE does not say in public which of them it takes."""
        ours = self.consumer_config()
        if not ours.get("sasl.username"):
            return {}
        # Either name is one setting for librdkafka, and the last one holds.
        mechanism = ours.pop("sasl.mechanism", ours.get("sasl.mechanisms"))
        in_config = {"security.protocol", "sasl.mechanism", "sasl.mechanisms"} & set(self._config())
        names = ("security.protocol", "sasl.mechanisms") if in_config else ("PROTOCOL", "MECHANISM")
        return {
            f"{names[0]} {login[0]!r} and {names[1]} {login[1]!r}": {
                **ours, "security.protocol": login[0], "sasl.mechanisms": login[1],
            }
            for login in LOGINS
            if login != (str(ours["security.protocol"]).upper(), str(mechanism).upper())
        }  # fmt: skip

    def explain(self, failure: Failure) -> Failure:
        """ALeRCE takes only groups that begin with the prefix that it gave out with the login."""
        if failure.cause != "group":
            return failure
        message = (
            f"the user name and the password are right, and the consumer group {self.group_id!r} is not allowed: it must "
            f"begin with the prefix that ALeRCE gave you, and {self.group_prefix!r} is not it. Put that prefix into "
            "GROUP_PREFIX, and begin GROUP_ID with it where you have one."
        )
        return replace(failure, message=message)

    def make_topic_keys(self) -> TopicKeys:
        """Prefixes of daily topics."""
        return DailyTopicKeys(topic.key for topic in self.settings.topics)

    @cached_property
    def bindings(self) -> Mapping[str, Binding]:
        """As for any stream; the ready-made handler learns RESOLVER, API_URL and RATE where its topic names none."""
        return {key: self._with_stream_options(binding) for key, binding in super().bindings.items()}

    def _with_stream_options(self, binding: Binding) -> Binding:
        options = binding.handler.options
        if not isinstance(options, AlerceOptions):
            return binding
        return replace(binding, handler=replace(binding.handler, options=self._with_defaults(options)))

    def _with_defaults(self, options: AlerceOptions) -> AlerceOptions:
        try:
            return options.with_defaults(
                resolver=self._option("resolver"), api_url=self._option("api_url"), rate=self._option("rate")
            )
        except ValueError as error:
            raise ConfigurationError(str(error), hint="Correct it in the stream's OPTIONS.") from error

    def _check_group(self) -> None:
        given, prefix = self._option("group_id") or self._config().get("group.id"), self.group_prefix
        if given and not str(given).startswith(prefix):
            raise ConfigurationError(
                f"GROUP_ID {given!r} does not begin with {prefix!r}, and ALeRCE's broker refuses such groups.",
                hint=f"Call it {f'{prefix}-{given}'!r}, leave it out, or set GROUP_PREFIX to the prefix ALeRCE gave you.",
            )
