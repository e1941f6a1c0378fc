"""EXTRA_METRICS of METRICS_CONFIG: fields of the messages that are sent with the metrics."""

from __future__ import annotations

from typing import Any


class ExtraMetrics:
    """The part of GenericStep that reads them."""

    extra_metrics: list[Any]
    contract: Any

    def get_value(self, message: dict[str, Any], params: str | dict[str, Any]) -> tuple[str, Any]:
        """Name and value of one metric of one message.

        :param params: a key, or a dict of ``key``, ``alias`` (the name to send), ``format`` (called with the value,
            also with None) and, in 6.x, ``value`` (a constant).
        :raises KeyError: the dict has no ``key``.
        :raises ValueError: ``format`` cannot be called, or ``alias`` is no text.
        """
        if isinstance(params, str):
            return params, message.get(params)
        if not isinstance(params, dict):
            raise TypeError(f"An item of EXTRA_METRICS must be str or dict, not {type(params).__name__}: {params!r}.")
        if "key" not in params:
            raise KeyError(f"'key' in parameteres not found: {params!r}")
        value = message.get(params["key"])
        if value is None or "value" in params:
            value = params.get("value")
        if "format" in params:
            if not callable(params["format"]):
                raise ValueError("'format' parameter must be a calleable.")
            value = params["format"](value)
        alias = params.get("alias", params["key"])
        if not isinstance(alias, str):
            raise ValueError("'alias' parameter must be a string.")
        return alias, value

    def get_extra_metrics(self, message: Any) -> dict[str, Any]:
        """Values of a dict; of a list of messages, a list of values each. With ``n_messages``.

        In 6.x a value that is a list is laid out flat among those of the other messages.
        """
        if not isinstance(message, list):
            return {**dict(self.get_value(message, params) for params in self.extra_metrics), "n_messages": 1}
        metrics: dict[str, Any] = {}
        for one in message:
            for params in self.extra_metrics:
                name, value = self.get_value(one, params)
                values = metrics.setdefault(name, [])
                if isinstance(value, list) and self.contract == "6":
                    values.extend(value)
                else:
                    values.append(value)
        metrics["n_messages"] = len(message)
        return metrics
