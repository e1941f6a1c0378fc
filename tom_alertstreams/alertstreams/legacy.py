"""Streams that override ``listen()``, as in 1.x: what their handlers do is counted, and what fails is kept.

They read and commit by themselves, so delivery can promise nothing for them. But a handler that raises does not end the
stream any more: its alert becomes a dead letter, with as much of it as can be turned into bytes.
"""

from __future__ import annotations

import functools
import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from django.db import connections, transaction

from tom_alertstreams.alerts import Alert, Outcome
from tom_alertstreams.conf import RetrySettings, TopicSettings
from tom_alertstreams.delivery.failures import (
    Meaning,
    as_exception,
    heal_connection,
    judge,
    outcome_of,
    public_text_of,
    text_of,
)
from tom_alertstreams.delivery.ledger import Ledger
from tom_alertstreams.delivery.runs import HEARTBEAT_S, RunRecord, State, Status
from tom_alertstreams.delivery.source import Binding
from tom_alertstreams.handlers import Handler, Style
from tom_alertstreams.logs import get_logger

from .alertstream import AlertStream

logger = get_logger(__name__)

#: The partition of an alert whose place on a broker is not known; its offset is then made from its bytes.
NO_PARTITION = -1


class LegacyRun:
    """One life of such a stream: wraps its handlers, and keeps its StreamRun."""

    def __init__(self, stream: AlertStream, status: Status) -> None:
        self._stream = stream
        self._status = status
        self._record = RunRecord(stream.settings, "", status)
        self._ledger = Ledger(stream.settings.label, "", "", status.tally)
        self._lock = threading.Lock()  # its listen() may call handlers from threads of its own
        self._over = threading.Event()

    def listen(self) -> None:
        """Run the stream's own ``listen`` to its end."""
        originals = dict(self._stream.alert_handler)
        topics = {topic.key: topic for topic in self._stream.settings.topics}
        for key, function in originals.items():
            path = f"{function.__module__}.{getattr(function, '__qualname__', function)}"
            # A class of 1.x may call its options as it likes: then TOPIC_HANDLERS is not where settings are read from.
            topic = topics.get(key) or TopicSettings(key, path, self._stream.settings.delivery)
            self._stream.alert_handler[key] = self._wrapped(topic, function)
        self._status.connected = True
        self._say(State.RUNNING)
        # Alerts may be hours apart, and to be silent for minutes is to be gone.
        heart = threading.Thread(target=self._beat, name=f"alertstream-heart-{self._status.label}", daemon=True)
        heart.start()
        try:
            self._stream.listen()
            self._say(State.STOPPED, "its listen() has returned")
        except BaseException as error:  # also sys.exit: the row must not say that it runs
            failed = "its listen() has failed"
            whole = f"{failed}: {type(error).__name__}: {text_of(error)}"
            self._say(State.DOWN, f"{failed}: {public_text_of(error)}", whole)
            raise
        finally:
            self._over.set()
            heart.join(2.0)
            self._stream.alert_handler.update(originals)
            self._record.end()

    def _beat(self) -> None:
        """Until ``listen`` returns: what it does meanwhile is not ours to know."""
        while not self._over.wait(HEARTBEAT_S):
            with self._lock:
                self._record.beat()
            connections.close_all()

    def _say(self, state: State, reason: str = "", whole: str = "") -> None:
        self._status.say(state, reason, whole)
        self._record.beat()

    def _wrapped(self, topic: TopicSettings, function: Callable[..., Any]) -> Callable[..., Any]:
        # What fails is not tried again: only the stream itself could bring the alert back.
        once = replace(topic, delivery=replace(topic.delivery, retry=RetrySettings(total=1)))
        binding = Binding(once, Handler(topic.handler, function, Style.V1))

        @functools.wraps(function)
        def call(*arguments: Any, **keywords: Any) -> Any:
            answer = None
            alert = self._alert(topic.key, arguments)  # before the handler may change what it is given
            try:
                answer = function(*arguments, **keywords)
                outcome = Outcome.done()
            except KeyboardInterrupt:
                raise
            except BaseException as raised:
                error = raised if isinstance(raised, Exception) else as_exception(raised, "the handler")
                heal_connection()
                if judge(error) is Meaning.AWAY:  # its dead letter could not be written either
                    raise
                outcome = outcome_of(error)
                if outcome.kind == "retry":  # by nobody: only the stream itself could bring the alert back
                    outcome = Outcome.failed(error)
            with self._lock:
                with transaction.atomic():
                    self._ledger.record(binding, [alert], [outcome], [None])
                self._ledger.committed()
                self._record.beat()
            return answer

        return call

    def _alert(self, key: str, arguments: tuple[Any, ...]) -> Alert:
        """An envelope around whatever the handler was called with."""
        raw = as_bytes(arguments[0] if arguments else None)
        topic, partition, offset = key, NO_PARTITION, int.from_bytes(hashlib.sha256(raw).digest()[:8], "big") >> 1
        for argument in reversed(arguments):  # a confluent Message, or hop's Metadata
            if isinstance(argument, (str, bytes)) or not isinstance(_value(argument, "topic"), str):
                continue  # a str has a partition() too
            found = _value(argument, "partition"), _value(argument, "offset")
            if isinstance(found[0], int) and isinstance(found[1], int):
                topic, partition, offset = _value(argument, "topic"), *found
        return Alert(
            self._stream.settings.label, topic, partition, offset, None, (), None, raw, lambda alert: alert.raw
        )


def as_bytes(content: Any) -> bytes:
    """What an alert came as, as far as that can still be told: its bytes, its text, JSON, or how Python prints it."""
    for name in ("value", "serialize"):  # a confluent Message; a model of hop
        if callable(method := getattr(content, name, None)):
            try:
                content = method()
            except Exception:  # a foreign object; its JSON or its print is kept instead
                logger.debug("%s of %s failed", name, type(content).__name__, exc_info=True)
            break
    if isinstance(content, dict) and isinstance(content.get("content"), bytes):
        content = content["content"]
    if isinstance(content, (bytes, bytearray, memoryview)):
        return bytes(content)
    if isinstance(content, str):
        return content.encode("utf-8", "surrogatepass")
    try:
        return json.dumps(content, default=repr).encode()
    except (TypeError, ValueError, RecursionError):
        return repr(content).encode("utf-8", "backslashreplace")


def _value(thing: Any, name: str) -> Any:
    found = getattr(thing, name, None)
    return found() if callable(found) else found
