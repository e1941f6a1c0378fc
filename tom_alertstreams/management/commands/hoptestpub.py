"""``manage.py hoptestpub``: publishes a message to try a Hopskotch stream with."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from django.core.management.base import BaseCommand, CommandError

from tom_alertstreams.alertstreams.alertstream import stream_class
from tom_alertstreams.alertstreams.hopskotch import HopskotchAlertStream, connection_config, credential, import_hop
from tom_alertstreams.conf import StreamSettings, configured_streams
from tom_alertstreams.delivery.broker_errors import REFUSALS
from tom_alertstreams.exceptions import ConfigurationError
from tom_alertstreams.redaction import redact

#: SCiMMA lets a credential write where its owner has said so.
TOPIC = "tomtoolkit.test"
_TIMEOUT_S = 30.0


class Command(BaseCommand):
    help = f"Publish a message with the time to the topic {TOPIC} of the first Hopskotch stream in ALERT_STREAMS."

    def handle(self, *args: Any, **options: Any) -> None:
        stream = _hopskotch_stream()
        try:
            self._publish(stream)
        except (ConfigurationError, KafkaException) as error:
            raise CommandError(redact(f"{stream.label}: {error}")) from error
        self.stdout.write(f"{stream.label}: published to {TOPIC}")

    def _publish(self, stream: StreamSettings) -> None:
        message = {"created": datetime.now(timezone.utc).isoformat(), "created-by": "tom-alertstreams hoptestpub.py"}
        options = stream.options
        given = options.get("CONFIG") or {}
        login = credential(options.get("USERNAME"), options.get("PASSWORD"), given)
        value, headers = import_hop().Producer.pack(message, auth=login)
        config = {**connection_config(options.get("URL", ""), login), **given}
        config.pop("group.id", None)
        reported: list[KafkaError] = []
        refused: list[KafkaError] = []

        def delivered(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                refused.append(error)

        producer = Producer({**config, "log_level": 0, "error_cb": reported.append})
        try:
            producer.produce(TOPIC, value, headers=headers, on_delivery=delivered)
            deadline = time.monotonic() + _TIMEOUT_S
            while len(producer) and time.monotonic() < deadline and not any(e.code() in REFUSALS for e in reported):
                producer.poll(0.1)
            if len(producer) or refused:
                told = [*refused, *(e for e in reported if e.code() in REFUSALS), *reversed(reported)]
                reason = f": {told[0].str()}" if told else ""
                raise CommandError(redact(f"{stream.label}: the broker did not take the message{reason}."))
        finally:
            producer.purge()  # which reports what is left as refused too
            producer.close()


def _hopskotch_stream() -> StreamSettings:
    """The first Hopskotch stream of ALERT_STREAMS.

    :raises CommandError: there is none.
    """
    streams, findings = configured_streams()
    for stream in streams:
        try:
            if issubclass(stream_class(stream), HopskotchAlertStream):
                return stream
        except ConfigurationError:
            continue  # another stream's trouble
    reason = "".join(f" {finding.label or 'ALERT_STREAMS'}: {finding.message}" for finding in findings)
    raise CommandError(
        f"ALERT_STREAMS has no active Hopskotch stream that can be used.{redact(reason)} See the README."
    )
