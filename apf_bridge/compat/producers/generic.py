"""``apf.producers.generic``."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any


class GenericProducer:
    """Where a step's output goes. By itself it takes none, and is for the tests of steps."""

    def __init__(self, config: Any = None) -> None:
        self.logger = logging.getLogger(f"alerce.{type(self).__name__}")
        self.logger.info("Creating %s", type(self).__name__)
        self.config = config
        self._key_field: str | None = None
        self._key_function: Callable[[dict[str, Any]], Any] | None = None

    @property
    def key_field(self) -> str | None:
        return self._key_field

    @property
    def key_function(self) -> Callable[[dict[str, Any]], Any] | None:
        return self._key_function

    def set_key_field(self, key: str | None) -> None:
        """The field of a message that is its key."""
        self._key_field = key

    def set_key_function(self, function: Callable[[dict[str, Any]], Any] | None) -> None:
        """What makes the key of a message; it goes before the key field."""
        self._key_function = function

    def key_of(self, message: Any, key: Any = None) -> str | bytes | None:
        """The key of a message as Kafka takes it: a number becomes its text.

        :param key: what the caller gave; used where neither a function nor a field is set.
        :raises KeyError: the message does not have the key field.
        """
        if message and self._key_function is not None:
            key = self._key_function(message)
        elif message and self._key_field:
            if self._key_field not in message:
                raise KeyError(f"The message has no field {self._key_field!r}, which is to be its key.")
            key = message[self._key_field]
        return key if key is None or isinstance(key, str | bytes) else str(key)

    def produce(self, message: Any = None, **kwargs: Any) -> None:
        """Send one message.

        :param message: a dict.
        :raises NotImplementedError: the class does not say how.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method produce.")

    def flush(self) -> None:
        """Wait until all that was given is delivered.

        :raises KafkaException: something was not.
        """

    def close(self) -> None:
        """Flush, and let go of what is open."""
        self.flush()

    def __del__(self) -> None:
        """Nothing: steps call this in ``tear_down``, of whatever producer they have."""
