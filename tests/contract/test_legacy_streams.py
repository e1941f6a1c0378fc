"""Streams that override ``listen()``, as in 1.x: what their handlers do is counted, what fails is kept, nothing ends them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import Message

from tests.contract import legacy
from tests.processes import wait_until
from tests.streams import counts
from tom_alertstreams.alertstreams import legacy as legacy_streams
from tom_alertstreams.alertstreams.alertstream import AlertStream, get_alert_streams
from tom_alertstreams.alertstreams.legacy import as_bytes
from tom_alertstreams.delivery import runs
from tom_alertstreams.delivery.source import Control
from tom_alertstreams.delivery.supervisor import StreamThread
from tom_alertstreams.exceptions import ConfigurationError, LookUpUnavailable, RejectAlert, RetryLater
from tom_alertstreams.handlers import alert_handler
from tom_alertstreams.models import DeadLetter, StreamRun

pytestmark = pytest.mark.django_db(transaction=True)

#: What :func:`handler` is to raise for an alert.
raises: dict[Any, BaseException] = {}


def eats(alert: Any, **keywords: Any) -> None:
    """As handlers of 1.x do: takes the large part out of what it is given, and then fails."""
    alert.pop("skymap")
    raise ValueError("no")


@alert_handler
def marked(alert: Any) -> None:
    """What no ``listen`` of 1.x can call."""


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


class Leaves(Numbers):
    """As written for a script."""

    def listen(self) -> None:
        raise SystemExit("nothing to do")


may_return = threading.Event()


class Waits(Numbers):
    """No alert comes."""

    def listen(self) -> None:
        may_return.wait(60)


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


def test_one_that_ends_its_program_ends_neither_the_stream_nor_its_thread() -> None:
    raises[2] = SystemExit(1)
    assert run(1, 2, 3).succeeded
    assert counts() == {"done": 2, "dead": 1}
    assert DeadLetter.objects.get().error == "the handler called sys.exit(1)."


def test_a_listen_that_ends_its_program_is_down() -> None:
    assert not run(name="Leaves").succeeded
    life = StreamRun.objects.get()
    assert (life.state, life.reason) == ("down", "its listen() has failed: SystemExit")
    assert life.last_error == "its listen() has failed: SystemExit: nothing to do"


def test_one_that_brings_nothing_for_hours_is_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(legacy_streams, "HEARTBEAT_S", 0.02)
    monkeypatch.setattr(runs, "HEARTBEAT_S", 0.0)
    control = Control()
    options = {"ALERTS": [], "TOPIC_HANDLERS": {"numbers": f"{__name__}.handler"}}
    stream = get_alert_streams([{"NAME": f"{__name__}.Waits", "LABEL": "test", "OPTIONS": options}])[0]
    thread = StreamThread(stream, control)
    thread.start()
    try:
        first = wait_until(StreamRun.objects.first, "the run")
        wait_until(lambda: StreamRun.objects.get().heartbeat > first.heartbeat, "the next heartbeat")
    finally:
        may_return.set()
        thread.join(20)
    assert not thread.is_alive()
    assert StreamRun.objects.get().state == "stopped"


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


def test_what_is_kept_is_what_came_and_not_what_the_handler_left() -> None:
    run({"objectId": "ZTF1", "skymap": [1, 2]}, HANDLER=f"{__name__}.eats")
    assert json.loads(bytes(DeadLetter.objects.get().raw)) == {"objectId": "ZTF1", "skymap": [1, 2]}


def test_nobody_tries_again_so_nothing_waits() -> None:
    raises["a"] = RetryLater(1, "the catalogue is not there yet", 3600)
    run("a")
    assert DeadLetter.objects.get().state == "open"
    assert counts() == {"dead": 1}


@pytest.mark.parametrize("topic", [{"HANDLER": f"{__name__}.marked"}, {"OPTIONS": {"MIN_RB": 0.5}}])
def test_what_its_listen_cannot_call_is_told_at_the_start(topic: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"reads by a listen\(\) of its own"):
        run(1, **topic)


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
