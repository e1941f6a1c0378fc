"""Streams that override ``listen()``, as in 1.x: what their handlers do is counted, what fails is kept, nothing ends them."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import Message

from tests.contract import legacy
from tests.streams import counts
from tom_alertstreams.alertstreams.alertstream import AlertStream, get_alert_streams
from tom_alertstreams.alertstreams.legacy import as_bytes
from tom_alertstreams.delivery.source import Control
from tom_alertstreams.delivery.supervisor import StreamThread
from tom_alertstreams.exceptions import LookUpUnavailable, RejectAlert
from tom_alertstreams.models import DeadLetter, StreamRun

pytestmark = pytest.mark.django_db(transaction=True)

#: What :func:`handler` is to raise for an alert.
raises: dict[Any, Exception] = {}


def handler(alert: Any, *arguments: Any, **keywords: Any) -> Any:
    """A handler of 1.x."""
    legacy.calls.append(alert)
    if error := raises.get(alert if isinstance(alert, (str, int)) else "message"):
        raise error
    return alert


class Numbers(AlertStream):
    """Calls its handler with what ALERTS holds."""

    required_keys = ["ALERTS", "TOPIC_HANDLERS"]
    allowed_keys = ["ALERTS", "TOPIC_HANDLERS"]
    alerts: list[Any]

    def listen(self) -> None:
        for alert in self.alerts:
            self.alert_handler["numbers"](alert, key="any")


@pytest.fixture(autouse=True)
def calls() -> Iterator[list[Any]]:
    legacy.calls.clear()
    raises.clear()
    yield legacy.calls
    legacy.calls.clear()
    raises.clear()


def run(*alerts: Any, name: str = "Numbers", once: bool = True, **topic: Any) -> StreamThread:
    entry = {"HANDLER": f"{__name__}.handler", **topic}
    options = {"ALERTS": list(alerts), "TOPIC_HANDLERS": {"numbers": entry}}
    stream = get_alert_streams([{"NAME": f"{__name__}.{name}", "LABEL": "test", "OPTIONS": options}])[0]
    thread = StreamThread(stream, Control(once=once))
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    return thread


def test_one_that_raises_becomes_a_dead_letter_and_the_rest_goes_on(calls: list[Any]) -> None:
    raises[2] = KeyError("candid")
    assert run(1, 2, 3).succeeded
    assert calls == [1, 2, 3]
    assert counts() == {"done": 2, "dead": 1}
    letter = DeadLetter.objects.get()
    assert (letter.state, letter.attempts, letter.error_class, bytes(letter.raw)) == ("open", 1, "KeyError", b"2")
    assert letter.handler == f"{__name__}.handler"
    run_row = StreamRun.objects.get()
    assert (run_row.state, run_row.reason) == ("stopped", "its listen() has returned")
    assert run_row.ended is not None


def test_the_same_alert_again_is_the_same_dead_letter() -> None:
    raises[2] = KeyError("candid")
    run(2)
    run(2)
    assert DeadLetter.objects.count() == 1


def test_rejections_are_counted_and_on_error_holds() -> None:
    raises["a"] = RejectAlert("sky")
    raises["b"] = ValueError("bad")
    run("a", "b", "c", ON_ERROR="reject")
    assert counts() == {"done": 1, "rejected:sky": 1, "rejected:error": 1}
    assert not DeadLetter.objects.exists()


def test_the_place_and_the_bytes_of_a_message_are_kept() -> None:
    raises["message"] = ValueError("bad")
    message = Message(topic="fink", partition=3, offset=77, key=None, value=b"\x00raw", headers=None, error=None)
    run(message)
    letter = DeadLetter.objects.get()
    assert (letter.topic, letter.partition, letter.offset, bytes(letter.raw)) == ("fink", 3, 77, b"\x00raw")


def test_what_is_away_is_not_the_alerts_fault(calls: list[Any]) -> None:
    """No dead letter: listen() fails, and is started again by the supervisor."""
    raises[2] = LookUpUnavailable("the catalogue is down")
    thread = run(1, 2, 3)
    assert not thread.succeeded
    assert "the catalogue is down" in StreamRun.objects.get().reason
    assert calls == [1, 2]
    assert counts() == {"done": 1}


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        (b"\xff", b"\xff"),
        ("text \N{GREEK SMALL LETTER ALPHA}", "text \N{GREEK SMALL LETTER ALPHA}".encode()),
        ({"ra": 1.5, "at": complex(1, 2)}, b'{"ra": 1.5, "at": "(1+2j)"}'),
        (SimpleNamespace(value=lambda: b"of a message"), b"of a message"),
        (SimpleNamespace(serialize=lambda: {"format": "voevent", "content": b"<xml/>"}), b"<xml/>"),
        ({1, 2}, b'"{1, 2}"'),
        ("\ud800", b"\xed\xa0\x80"),
    ],
)
def test_bytes_of_whatever_a_handler_is_called_with(content: Any, kept: bytes) -> None:
    assert as_bytes(content) == kept
