"""One stream of settings.py by its label: for commands and pages that need its decoder, its handlers or its login."""

from __future__ import annotations

from tom_alertstreams.conf import configured_streams
from tom_alertstreams.exceptions import ConfigurationError

from .alertstream import make_stream
from .kafka import KafkaAlertStream


def find_stream(label: str) -> KafkaAlertStream:
    """The stream as its settings are today. Nothing goes over the network.

    :raises ConfigurationError: there is none, it cannot be made, or it does not read by the delivery loop.
    """
    parsed, findings = configured_streams()
    settings = next((stream for stream in parsed if stream.label == label), None)
    if settings is None:
        if finding := next((finding for finding in findings if finding.label == label), None):
            raise ConfigurationError(finding.message, stream=label, hint=finding.hint)
        known = ", ".join(stream.label for stream in parsed) or "none"
        hint = f"There is {known}."
        raise ConfigurationError(f"there is no active stream {label} in ALERT_STREAMS.", hint=hint)
    try:
        stream = make_stream(settings)
    except ConfigurationError as error:
        raise ConfigurationError(error.message, stream=label, hint=error.hint) from error
    except Exception as error:
        raise ConfigurationError(
            f"{type(error).__name__}: {error}", stream=label, hint="The stream's class could not be made."
        ) from error
    if not isinstance(stream, KafkaAlertStream):
        raise ConfigurationError(f"{settings.name} reads by a listen() of its own.", stream=label)
    return stream
