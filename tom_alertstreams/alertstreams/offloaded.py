"""Hopskotch messages too large for Kafka: their bytes are on a web server, and Kafka carries the address."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from confluent_kafka import OFFSET_BEGINNING as BEGINNING
from confluent_kafka import TIMESTAMP_CREATE_TIME, Consumer, KafkaError, KafkaException, Message, TopicPartition

from tom_alertstreams.alerts import Alert
from tom_alertstreams.exceptions import DecodeError, RetryLater
from tom_alertstreams.logs import get_logger
from tom_alertstreams.redaction import redact

from .silent_servers import SilentServers

if TYPE_CHECKING:
    import requests
    from hop.auth import Auth

    from .kafka import KafkaAlertStream

logger = get_logger(__name__)

#: Where the broker names the server it trusts with large messages.
_METADATA_TOPIC = "sys.metadata"
_ENDPOINT = "LargeMessageUploadEndpoint"
_BROKER_TIMEOUT_S: Final = 10.0
#: Fetches at a time, those included that hang.
_AT_ONCE: Final = 4
_LARGEST_BYTES: Final = 256 * 1024 * 1024
_CHUNK_BYTES: Final = 1024 * 1024
#: The address may be wrong for ever, so the alert waits in the database and holds nobody up, and not for ever.
_RETRY_S: Final = 120.0
_GIVE_UP_S: Final = 48 * 3600.0
#: What a later request may answer differently.
_COME_AGAIN = {408, 425, 429}
_ACCESS_DENIED = {401, 403}


class OffloadedMessages:
    """Fetches what ``hop.models.ExternalMessage`` points to, as hop's own consumer does, but with an end to all waiting."""

    def __init__(self, stream: KafkaAlertStream, credential: Auth | None) -> None:
        """
        :param stream: whose broker says which server may see the credential.
        :param credential: sent to no other server, and only if it asks.
        """
        self._stream = stream
        self._credential = credential
        self._trusted: str | None = None
        self._room = threading.BoundedSemaphore(_AT_ONCE)
        self._silent = SilentServers()

    def fetch(self, url: str, alert: Alert) -> Message:
        """The whole message: value, key, headers and time of the original, in the place of ``alert``.

        :raises DecodeError: there is no such message, we may not read it, or it is not what hop stores.
        :raises RetryLater: the server does not answer.
        """
        if urlsplit(url).scheme not in ("http", "https"):
            raise DecodeError(f"the address of the stored message is not one of the web: {url[:200]!r}.")
        return _message(self._in_time(url), alert)

    def _in_time(self, url: str) -> bytes:
        """What the server has, or a wait for a later try. Who sends a byte now and then would hold the stream up for ever.

        The time-outs of sockets are for silence. So the fetch has a thread, which is left behind when its time is over, and
        of which there are few. Nor is each message waited for that lies on one server that is away.
        """
        if self._credential is not None:
            _ = self._stream.group_id  # may ask the database, to which the thread has no connection
        seconds = self._silent.patience_s(url, self._stream.settings.delivery.prepare_timeout_s)
        if not seconds:
            raise RetryLater(_RETRY_S, redact(f"{url} is not asked for: its server did not answer lately"), _GIVE_UP_S)
        if not self._room.acquire(blocking=False):
            raise RetryLater(_RETRY_S, f"{_AT_ONCE} fetches of stored messages hang already", _GIVE_UP_S)
        found: list[bytes | Exception] = []
        thread = threading.Thread(target=self._fetch, args=(url, found), name="stored-message", daemon=True)
        thread.start()
        thread.join(seconds)
        if not found:
            self._silent.note(url)
            raise RetryLater(
                _RETRY_S, redact(f"{url} cannot be fetched: it takes longer than {seconds:g} s"), _GIVE_UP_S
            )
        if isinstance(found[0], Exception):
            raise found[0]
        return found[0]

    def _fetch(self, url: str, found: list[bytes | Exception]) -> None:
        import requests  # hop needs it too

        silent = False
        try:
            found.append(self._get(url))
        except Exception as error:  # noqa: BLE001  (raised where it is waited for)
            found.append(error)
            silent = isinstance(error.__cause__, (requests.ConnectionError, requests.Timeout))
        finally:
            (self._silent.note if silent else self._silent.answers)(url)
            self._room.release()

    def _get(self, url: str) -> bytes:
        import requests

        deadline = time.monotonic() + self._stream.settings.delivery.prepare_timeout_s
        try:
            with requests.Session() as session:
                # What is in ~/.netrc is not for a server that somebody's message names.
                session.trust_env = False
                with session.get(url, timeout=_left(deadline), stream=True) as answer:
                    if answer.status_code not in _ACCESS_DENIED or not self._trusts(url):
                        return _body(answer, deadline)
                with session.get(url, timeout=_left(deadline), stream=True, auth=self._login()) as answer:
                    return _body(answer, deadline)
        except (requests.RequestException, KafkaException, OSError) as error:
            raise RetryLater(_RETRY_S, redact(f"{url} cannot be fetched: {error}"), _GIVE_UP_S) from error

    def _login(self) -> Any:
        from hop.http_scram import SCRAMAuth

        return SCRAMAuth(self._credential, shortcut=True)

    def _trusts(self, url: str) -> bool:
        """Whether the broker names the server of ``url`` as its own."""
        if self._credential is None:
            return False
        if self._trusted is None:
            self._trusted = self._ask_broker()
        ours, theirs = urlsplit(self._trusted), urlsplit(url)
        return bool(ours.netloc) and (ours.scheme, ours.netloc) == (theirs.scheme, theirs.netloc)

    def _ask_broker(self) -> str:
        """The endpoint in the last message of the metadata topic; empty where there is none.

        :raises KafkaException: the broker does not answer.
        """
        config = {
            **self._stream.consumer_config(),
            "group.id": self._stream.group_id,  # demanded by librdkafka; no group is joined and nothing committed
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
        }
        consumer = Consumer(config, logger=logger)
        try:
            found = consumer.list_topics(_METADATA_TOPIC, timeout=_BROKER_TIMEOUT_S).topics[_METADATA_TOPIC]
            if found.error is not None:
                return ""
            consumer.assign([TopicPartition(_METADATA_TOPIC, 0, BEGINNING)])
            endpoint = ""
            deadline = time.monotonic() + _BROKER_TIMEOUT_S
            while time.monotonic() < deadline:
                message = consumer.poll(0.2)
                if message is None:
                    continue
                if (error := message.error()) is None:
                    endpoint = _endpoint(message.value())
                elif error.code() == KafkaError._PARTITION_EOF:
                    return endpoint
                else:
                    raise KafkaException(error)
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{_METADATA_TOPIC} cannot be read"))
        finally:
            consumer.close()


def _endpoint(value: Any) -> str:
    try:
        content = json.loads(value)
    except (TypeError, ValueError):
        return ""
    found = content.get(_ENDPOINT) if isinstance(content, Mapping) else None
    return found if isinstance(found, str) else ""


def _left(deadline: float) -> float:
    return max(0.1, deadline - time.monotonic())


def _body(answer: requests.Response, deadline: float) -> bytes:
    import requests

    if not answer.ok:
        if answer.status_code >= 500 or answer.status_code in _COME_AGAIN:
            answer.raise_for_status()
        raise DecodeError(
            f"the server of the stored message answered {answer.status_code} {answer.reason or ''}".rstrip() + ".",
            hint="If your credential should be able to read it, replay this alert once it can.",
        )
    body = bytearray()
    for chunk in answer.iter_content(_CHUNK_BYTES):
        body += chunk
        if len(body) > _LARGEST_BYTES:
            raise DecodeError(f"the stored message is larger than {_LARGEST_BYTES:,} bytes.")
        if time.monotonic() > deadline:
            raise requests.Timeout("the server is too slow")
    return bytes(body)


def _message(body: bytes, alert: Alert) -> Message:
    from hop import bson

    try:
        document = bson.loads(body)
        value, metadata = document["message"], document["metadata"]
        headers = [(name, content) for name, content in metadata["headers"]]
        timestamp, key = metadata["timestamp"], metadata.get("key")
        fits = isinstance(value, bytes) and isinstance(timestamp, int) and isinstance(key, str | bytes | None)
        if not fits or not all(isinstance(n, str) and isinstance(c, bytes) for n, c in headers):
            raise TypeError("a field is of another type")
    except Exception as error:
        # hop's BSON lets through whatever it met: IndexError, struct.error, KeyError …
        raise DecodeError(f"the stored message is not what hop stores: {type(error).__name__}: {error}") from error
    return Message(
        topic=alert.topic,
        partition=alert.partition,
        offset=alert.offset,
        key=key.encode() if isinstance(key, str) else key,
        value=value,
        headers=headers,
        timestamp=(TIMESTAMP_CREATE_TIME, timestamp),
    )
