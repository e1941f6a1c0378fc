"""What the outbox gives librdkafka: PARAMS of a step's producer over defaults that keep the order. Tried out at the start."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from confluent_kafka import KafkaException, Producer

from tom_alertstreams.logs import get_logger
from tom_alertstreams.redaction import redact

from .step_config import producer_params

logger = get_logger(__name__)

#: Order is kept and no message expires: what is not sent waits. PARAMS of the step may say otherwise.
_DEFAULTS: Final = {"enable.idempotence": True, "message.timeout.ms": 0, "linger.ms": 5}
#: The same for PARAMS that librdkafka takes with no idempotent producer, as ``acks: 1``: one request at a time keeps order too.
_WITHOUT_IDEMPOTENCE: Final = {**_DEFAULTS, "enable.idempotence": False, "max.in.flight": 1}
_SERVERS: Final = ("bootstrap.servers", "metadata.broker.list")


def client_config(params: Mapping[str, Any]) -> dict[str, Any]:
    """PARAMS as librdkafka gets them. Connects to nothing.

    :raises ValueError: librdkafka does not take them.
    """
    config = {**_DEFAULTS, **params}
    refused = _refusal(config)
    if refused is not None and "enable.idempotence" not in params:
        config = {**_WITHOUT_IDEMPOTENCE, **params}
        refused = refused if _refusal(config) is not None else None
    if refused is not None:
        raise ValueError(redact(refused))
    return config


def check_producers(step_config: Mapping[str, Any]) -> None:
    """Try what STEP_CONFIG says of its Kafka producers, and warn where that costs the order.

    :raises ValueError: librdkafka takes none of it.
    """
    for name, params in producer_params(step_config).items():
        if any(key in params for key in _SERVERS):  # else it is no Kafka producer, but one of the step's own
            check_params(name, params)


def check_params(name: str, params: Mapping[str, Any]) -> None:
    """The same for one producer.

    :raises ValueError: librdkafka does not take them.
    """
    try:
        config = client_config(params)
    except ValueError as error:
        raise ValueError(f"PARAMS of {name} cannot be used: {error}") from error
    if config["enable.idempotence"] is False and "enable.idempotence" not in params:
        logger.warning(
            "PARAMS of %s exclude an idempotent producer: a retry may put a message on its topic twice, and where "
            "max.in.flight is above 1 out of order. Leave acks, retries and max.in.flight out where you do not need them.",
            name,
        )


def _refusal(config: Mapping[str, Any]) -> str | None:
    """Why librdkafka does not take it."""
    unconnected = {key: value for key, value in config.items() if key not in _SERVERS}
    try:
        Producer(unconnected, logger=logging.getLogger(__name__))
    except KafkaException as error:
        return str(error.args[0].str())
    except (TypeError, ValueError) as error:
        return str(error)
    return None
