"""EXTRA_METRICS of METRICS_CONFIG: fields of the messages that are sent with the metrics."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from .contracts import is_6x

#: A message and an item of EXTRA_METRICS → name and value.
_Reader = Callable[[dict[str, Any], Any], tuple[str, Any]]


def wrong_with(item: Any) -> Exception | None:
    """What an item of EXTRA_METRICS raises where it is used; None where it is well."""
    if isinstance(item, str):
        return None
    if not isinstance(item, dict):
        return TypeError(f"An item of EXTRA_METRICS must be str or dict, not {type(item).__name__}: {item!r}.")
    if "key" not in item:
        return KeyError(f"'key' in parameteres not found: {item!r}")  # APF's spelling, here and below
    if "format" in item and not callable(item["format"]):
        return ValueError(f"'format' parameter must be a calleable: {item!r}")
    if not isinstance(item.get("alias", ""), str):
        return ValueError(f"'alias' parameter must be a string: {item!r}")
    return None


class ExtraMetrics:
    """The part of GenericStep that reads them."""

    extra_metrics: list[Any]
    contract: Any
    logger: logging.Logger
    #: What could not be read, and is told.
    _told_extra_metrics: set[str]

    def get_value(self, message: dict[str, Any], params: str | dict[str, Any]) -> tuple[str, Any]:
        """Name and value of one metric of one message.

        :param params: a key, or a dict of ``key``, ``alias`` (the name to send), ``format`` (called with the value,
            also with None) and, in 6.x, ``value`` (a constant).
        :raises KeyError: the dict has no ``key``.
        :raises ValueError: ``format`` cannot be called, or ``alias`` is no text.
        """
        if isinstance(params, str):
            return params, message.get(params)
        if (error := wrong_with(params)) is not None:
            raise error
        value = message.get(params["key"])
        if value is None or "value" in params:
            value = params.get("value")
        if "format" in params:
            value = params["format"](value)
        return params.get("alias", params["key"]), value

    def get_extra_metrics(self, message: Any) -> dict[str, Any]:
        """Values of a dict; of a list of messages, a list of values each. With ``n_messages``.

        In 6.x a value that is a list is laid out flat among those of the other messages.
        """
        return self._read_extra_metrics(message, self.get_value)

    def _extra_metrics_in_a_batch(self, message: Any) -> dict[str, Any]:
        """The same, with None for what cannot be read: metrics fail no batch."""
        try:
            return dict(self.get_extra_metrics(message))
        except Exception as raised:  # noqa: BLE001  (whatever a format of the step's own raises)
            failed = raised
        told: dict[str, Exception] = {}

        def read(one: dict[str, Any], params: Any) -> tuple[str, Any]:
            try:
                return self.get_value(one, params)
            except Exception as error:  # noqa: BLE001
                name = _name_of(params)
                told.setdefault(
                    f"{name} of EXTRA_METRICS of {type(self).__name__} is sent as None where it cannot be read", error
                )
                return name, None

        metrics = self._read_extra_metrics(message, read)
        for text, cause in (told or {f"get_extra_metrics of {type(self).__name__} failed": failed}).items():
            if text not in self._told_extra_metrics:
                self._told_extra_metrics.add(text)
                self.logger.warning("%s: %s: %s", text, type(cause).__name__, cause)
        return metrics

    def _read_extra_metrics(self, message: Any, read: _Reader) -> dict[str, Any]:
        if not isinstance(message, list):
            return {**dict(read(message, params) for params in self.extra_metrics), "n_messages": 1}
        metrics: dict[str, Any] = {}
        for one in message:
            for params in self.extra_metrics:
                name, value = read(one, params)
                values = metrics.setdefault(name, [])
                if isinstance(value, list) and is_6x(self.contract):
                    values.extend(value)
                else:
                    values.append(value)
        metrics["n_messages"] = len(message)
        return metrics


def _name_of(item: Any) -> str:
    """Under which name an item of EXTRA_METRICS is sent."""
    return str(item.get("alias", item.get("key"))) if isinstance(item, dict) else str(item)
