"""A stream out of the settings of a step: APF's settings.py runs as it is, on our delivery."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Final

from tom_alertstreams.alertstreams.kafka import KafkaAlertStream
from tom_alertstreams.conf import StreamSettings, stream_settings
from tom_alertstreams.delivery.source import Binding
from tom_alertstreams.exceptions import ConfigurationError
from tom_alertstreams.logs import get_logger
from tom_alertstreams.redaction import remember_secrets

from .step_config import read_config, section

logger = get_logger(__name__)

HANDLER: Final = "apf_bridge.handlers.run_step"
#: Of OPTIONS, what the handler is told.
_OF_THE_STEP: Final = ("STEP", "STEP_CONFIG", "CONTRACT", "RESULT_HANDLER", "FIELDS", "RULES", "OUTBOX_DAYS")
#: Of PARAMS, what the delivery decides.
_OURS: Final = frozenset({"enable.auto.commit", "enable.auto.offset.store", "enable.partition.eof"})
#: What a code of strftime looks like in the name of a topic.
_DIGITS: Final = {"%Y": 4, "%m": 2, "%d": 2, "%y": 2, "%j": 3, "%H": 2}


class StepAlertStream(KafkaAlertStream):
    """Runs a step on the topics that its own CONSUMER_CONFIG names.

    OPTIONS: STEP and STEP_CONFIG, and if wanted CONTRACT, RESULT_HANDLER, FIELDS, RULES, OUTBOX_DAYS as for
    :func:`apf_bridge.handlers.run_step`; GROUP_ID, CONFIG, DECODER, SCHEMA, START_POSITION as for any Kafka stream, where
    CONSUMER_CONFIG shall not decide.
    """

    required_keys: Sequence[str] = ["STEP", "STEP_CONFIG"]
    allowed_keys: Sequence[str] = [*_OF_THE_STEP, "GROUP_ID", "CONFIG", "DECODER", "SCHEMA", "START_POSITION"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.topic_handlers = {}
        self._params: dict[str, Any] = {}
        if "STEP" in kwargs and "STEP_CONFIG" in kwargs:  # else it is said below what is missing
            try:
                kwargs = {**kwargs, **self._read(kwargs)}
            except ValueError as error:
                raise ConfigurationError(str(error), hint="Correct it in STEP_CONFIG.") from error
        super().__init__(*args, **kwargs)

    def _read(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Take the topics and the connection out of STEP_CONFIG; what else it says for this stream."""
        config = read_config(given["STEP_CONFIG"])
        remember_secrets(config)
        consumer = section(config, "CONSUMER_CONFIG")
        params = consumer.get("PARAMS") or {}
        topics, missing = _topics(consumer), []
        if not topics:
            missing.append("TOPICS or TOPIC_STRATEGY")
        if not isinstance(params, Mapping) or not {**params, **(given.get("CONFIG") or {})}.get("bootstrap.servers"):
            missing.append("bootstrap.servers in PARAMS")
        if missing:
            raise ValueError(f"CONSUMER_CONFIG lacks {' and '.join(missing)}.")
        self._params = {key: value for key, value in params.items() if key not in _OURS}
        options = {key: value for key, value in given.items() if key in _OF_THE_STEP}
        self.topic_handlers = {topic: {"HANDLER": HANDLER, "OPTIONS": options} for topic in topics}
        return {**_schema(consumer, given), "TOPIC_HANDLERS": self.topic_handlers}

    @property
    def settings(self) -> StreamSettings:
        """The entry of ALERT_STREAMS, with a key for each topic of CONSUMER_CONFIG."""
        return super().settings

    @settings.setter
    def settings(self, value: StreamSettings) -> None:
        options = {**value.options, "TOPIC_HANDLERS": self.topic_handlers}
        self._settings = stream_settings(value.label, value.name, options, value.delivery)

    def connection_config(self) -> dict[str, Any]:
        """PARAMS of CONSUMER_CONFIG; CONFIG goes over them."""
        return {}

    @cached_property
    def bindings(self) -> Mapping[str, Binding]:
        """As for any stream, with one step for all topics."""
        bindings = super().bindings
        options = next(iter(bindings.values())).handler.options
        return {
            key: replace(binding, handler=replace(binding.handler, options=options))
            for key, binding in bindings.items()
        }

    def _config(self) -> dict[str, Any]:
        return {**self._params, **super()._config()}


def _topics(consumer: Mapping[str, Any]) -> list[str]:
    """Keys of TOPIC_HANDLERS.

    :raises ValueError: a regular expression that is no glob.
    """
    topics = consumer.get("TOPICS")
    if topics:
        return [_key(str(topic)) for topic in ([topics] if isinstance(topics, str) else topics)]
    strategy = consumer.get("TOPIC_STRATEGY")
    if not isinstance(strategy, Mapping):
        return []
    params = strategy.get("PARAMS") or {}
    formats = params.get("topic_format", "ztf_%s_programid1")  # APF's own
    day = _pattern(str(params.get("date_format", "%Y%m%d")))
    return [str(name).replace("%s", day) for name in ([formats] if isinstance(formats, str) else formats)]


def _pattern(date_format: str) -> str:
    """A glob for the dates of a format: the topics that there are decide, and no clock."""
    return re.sub("%.", lambda code: "[0-9]" * _DIGITS[code[0]] if code[0] in _DIGITS else "*", date_format)


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
    raise ValueError(f"TOPICS has the regular expression {topic!r}. Write the topics, or globs such as 'ztf_*'.")


def _schema(consumer: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """DECODER and SCHEMA, as the class of the consumer would decode."""
    path = str(consumer.get("CLASS", ""))
    name = path.rpartition(".")[2]
    if path and not path.startswith("apf."):
        logger.warning(
            "CONSUMER_CONFIG names %s, a consumer of your own: its decoding is not used, but DECODER and SCHEMA of OPTIONS",
            path,
        )
    found: dict[str, Any] = {}
    if "SCHEMA_PATH" in consumer and "SCHEMA" not in given:
        found["SCHEMA"] = consumer["SCHEMA_PATH"]
    if "Schemaless" in name and "Registry" not in name and "DECODER" not in given:
        found["DECODER"] = "schemaless"
    return found
