"""A stream out of the settings of a step: APF's settings.py runs as it is, on our delivery."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cached_property
from typing import Any, Final

from tom_alertstreams.alerts import Alert
from tom_alertstreams.alertstreams.kafka import KafkaAlertStream
from tom_alertstreams.conf import StreamSettings, stream_settings
from tom_alertstreams.delivery.source import Binding
from tom_alertstreams.exceptions import ConfigurationError
from tom_alertstreams.handlers import resolve
from tom_alertstreams.logs import get_logger
from tom_alertstreams.redaction import remember_secrets

from . import install
from .compat.consumers.kafka import KafkaConsumer
from .compat.core import get_class
from .compat.core.config_keys import ConfigError
from .options import StepOptions
from .own_consumer import OwnDecoding
from .step_config import read_config, section

logger = get_logger(__name__)

HANDLER: Final = "apf_bridge.handlers.run_step"
#: Of OPTIONS, what the handler is told.
_OF_THE_STEP: Final = tuple(field.name.upper() for field in fields(StepOptions) if field.init)
#: Of PARAMS, what the delivery decides.
_OURS: Final = frozenset({"enable.auto.commit", "enable.auto.offset.store", "enable.partition.eof"})


class StepAlertStream(KafkaAlertStream):
    """Runs a step on the topics that its own CONSUMER_CONFIG names.

    OPTIONS: STEP and STEP_CONFIG, and if wanted CONTRACT, RESULT_HANDLER, FIELDS, RULES, OUTBOX_DAYS, PROMETHEUS_PORT
    as for :func:`apf_bridge.handlers.run_step`; GROUP_ID, CONFIG, DECODER, SCHEMA, START_POSITION as for any Kafka
    stream, where CONSUMER_CONFIG shall not decide.
    """

    required_keys: Sequence[str] = ["STEP", "STEP_CONFIG"]
    allowed_keys: Sequence[str] = [*_OF_THE_STEP, "GROUP_ID", "CONFIG", "DECODER", "SCHEMA", "START_POSITION"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.topic_handlers = {}
        self._params: dict[str, Any] = {}
        self._own_decoding: OwnDecoding | None = None
        if "STEP" in kwargs and "STEP_CONFIG" in kwargs:  # else it is said below what is missing
            kwargs = {**kwargs, **self._read(kwargs)}
        super().__init__(*args, **kwargs)

    def _read(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Take the topics and the connection out of STEP_CONFIG; what else it says for this stream.

        :raises ConfigurationError: with all that is wrong.
        """
        install()
        found: list[str] = []
        more: dict[str, Any] = {}
        options = {key: value for key, value in given.items() if key in _OF_THE_STEP}
        try:
            options["STEP_CONFIG"] = read_config(given["STEP_CONFIG"])  # once for all topics
            remember_secrets(options["STEP_CONFIG"])
            more = self._of_consumer(section(options["STEP_CONFIG"], "CONSUMER_CONFIG"), given, options)
        except ConfigError as error:
            found += error.problems
            options["STEP_CONFIG"] = options["STEP_CONFIG"] if isinstance(options["STEP_CONFIG"], dict) else {}
        try:
            self._handler = resolve(HANDLER, options)
        except ConfigurationError as error:
            found.append(error.message)
        if found:
            raise ConfigurationError(" ".join(found), hint="Correct it in STEP_CONFIG or OPTIONS.")
        return more

    def _of_consumer(
        self, consumer: Mapping[str, Any], given: Mapping[str, Any], options: Mapping[str, Any]
    ) -> dict[str, Any]:
        """
        :raises ConfigError: with all that is wrong.
        """
        found: list[str] = []
        params = consumer.get("PARAMS") or {}
        topics, missing = [], []
        try:
            topics = _topics(consumer)
            if not topics:
                missing.append("TOPICS or TOPIC_STRATEGY")
        except ConfigError as error:
            found += error.problems
        try:
            self._own_decoding = _own_decoding(consumer, given)
        except ConfigError as error:
            found += error.problems
        if not isinstance(params, Mapping) or not {**params, **(given.get("CONFIG") or {})}.get("bootstrap.servers"):
            missing.append("bootstrap.servers in PARAMS")
        if missing:
            found.append(f"CONSUMER_CONFIG lacks {' and '.join(missing)}.")
        if found:
            raise ConfigError(*found)
        self._params = {key: value for key, value in params.items() if key not in _OURS}
        self.topic_handlers = {topic: {"HANDLER": HANDLER, "OPTIONS": options} for topic in topics}
        schema = _schema(consumer, given) if self._own_decoding is None else {}
        return {**schema, "TOPIC_HANDLERS": self.topic_handlers}

    @property
    def settings(self) -> StreamSettings:
        """The entry of ALERT_STREAMS, with a key for each topic of CONSUMER_CONFIG."""
        return super().settings

    @settings.setter
    def settings(self, value: StreamSettings) -> None:
        options = {**value.options, "TOPIC_HANDLERS": self.topic_handlers}
        self._settings = stream_settings(value.label, value.name, options, value.delivery)

    def decode(self, alert: Alert) -> Any:
        """As the step's consumer would, where that is a class of its own."""
        return super().decode(alert) if self._own_decoding is None else self._own_decoding(alert)

    def connection_config(self) -> dict[str, Any]:
        """PARAMS of CONSUMER_CONFIG; CONFIG goes over them."""
        return {}

    @cached_property
    def bindings(self) -> Mapping[str, Binding]:
        """One step for all topics."""
        return {topic.key: Binding(topic, self._handler) for topic in self.settings.topics}

    def _config(self) -> dict[str, Any]:
        return {**self._params, **super()._config()}


def _topics(consumer: Mapping[str, Any]) -> list[str]:
    """Keys of TOPIC_HANDLERS.

    :raises ConfigError: a regular expression that is no glob, or a strategy that has none.
    """
    topics = consumer.get("TOPICS")
    if topics:
        return [_key(str(topic)) for topic in ([topics] if isinstance(topics, str) else topics)]
    strategy = consumer.get("TOPIC_STRATEGY")
    return [_key(pattern) for pattern in _patterns(strategy)] if strategy else []


def _patterns(strategy: Any) -> list[str]:
    """Regular expressions of a TOPIC_STRATEGY.

    :raises ConfigError: it cannot be made, or has none: its names of today would be read, and no later ones.
    """
    try:
        path = strategy["CLASS"]
        made = get_class(path)(**strategy.get("PARAMS") or {})
        found = [str(pattern) for pattern in made.patterns()] if hasattr(made, "patterns") else []
    except (Exception, SystemExit) as error:
        raise ConfigError(f"TOPIC_STRATEGY cannot be made: {type(error).__name__}: {error}") from error
    if not found:
        raise ConfigError(
            f"TOPIC_STRATEGY names {path}, and only it knows its topics, so that a stream would not find new ones. "
            "Write TOPICS in place of it, such as '^my_.*', or give it a method patterns() that returns such."
        )
    return found


def _key(topic: str) -> str:
    """A topic; of a regular expression of librdkafka the glob."""
    if not topic.startswith("^"):
        return topic
    glob = topic[1:].removesuffix("$")
    if not topic.endswith("$") and not glob.endswith(".*"):
        glob += ".*"
    glob = glob.replace(".*", "*").replace(r"\.", ".").replace("[.]", ".")
    glob = re.sub(r"\[0-9\]\{(\d)\}", lambda found: "[0-9]" * int(found[1]), glob)
    if re.fullmatch(r"(?:[A-Za-z0-9._*-]|\[0-9\])+", glob):
        return glob
    raise ConfigError(f"TOPICS has the regular expression {topic!r}. Write the topics, or globs such as 'ztf_*'.")


def _own_decoding(consumer: Mapping[str, Any], given: Mapping[str, Any]) -> OwnDecoding | None:
    """How a consumer class of the group's own decodes; None where it is APF's, or DECODER decides.

    :raises ConfigError: it cannot be imported or made.
    """
    path = str(consumer.get("CLASS", ""))
    if not path or path.startswith("apf.") or "DECODER" in given:
        return None
    try:
        found = get_class(path)
        if isinstance(found, type) and issubclass(found, KafkaConsumer):
            return OwnDecoding(found, consumer)
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"CONSUMER_CONFIG names {path}, which cannot be made: {type(error).__name__}: {error}"
        ) from error
    logger.warning(
        "CONSUMER_CONFIG names %s, which is no KafkaConsumer: it is not used, but DECODER and SCHEMA of OPTIONS", path
    )
    return None


def _schema(consumer: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """DECODER and SCHEMA, as APF's class of the consumer would decode."""
    name = str(consumer.get("CLASS", "")).rpartition(".")[2]
    found: dict[str, Any] = {}
    if "SCHEMA_PATH" in consumer and "SCHEMA" not in given:
        found["SCHEMA"] = consumer["SCHEMA_PATH"]
    if "Schemaless" in name and "Registry" not in name and "DECODER" not in given:
        found["DECODER"] = "schemaless"
    return found
