"""Streams and handlers as projects wrote them for tom-alertstreams 1.x."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Group

from tom_alertstreams.alerts import Alert
from tom_alertstreams.alertstreams.alertstream import AlertStream
from tom_alertstreams.handlers import alert_handler, batch_handler

#: What handlers were called with, and what streams did.
calls: list[tuple[Any, ...]] = []


def two_arguments(alert: Any, metadata: Any) -> str:
    """A handler of Hopskotch's shape."""
    calls.append(("two_arguments", alert, metadata))
    return "returned"


def one_argument(message: Any) -> None:
    """A handler of GCN's and ANTARES' shape."""
    calls.append(("one_argument", message))


def any_arguments(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
    """A handler of a shape that only its stream knows."""
    calls.append(("any_arguments", args, kwargs))
    return args


def takes_apart(alert: Any, metadata: Any) -> None:
    """A handler that consumes what it gets, and raises the first time."""
    calls.append(("takes_apart", alert.content.pop("name"), dict(metadata.headers).get("_format")))
    metadata.headers.clear()
    if len(calls) == 1:
        raise ValueError("the first time")


def of_2_0(alert: Any, *, alert_stream: Any, topic: str, metadata: Any, **kwargs: Any) -> None:
    """A handler as announced for 2.0."""
    calls.append(("of_2_0", alert, alert_stream, topic, metadata, kwargs))


@alert_handler
def marked(alert: Alert) -> None:
    """A handler of ours."""
    calls.append(("marked", alert.content))


@batch_handler
def marked_batch(alerts: list[Alert]) -> None:
    """A handler of ours, with a list."""
    calls.extend(("marked_batch", alert.content) for alert in alerts)


class Minimal(AlertStream):
    """Returns from ``listen`` when it has polled often enough, as Fink's does."""

    required_keys = ["URL", "TOPIC_HANDLERS"]
    allowed_keys = ["URL", "TOPIC_HANDLERS", "CONFIG", "MAX_POLL_NUMBER"]

    def listen(self) -> None:
        calls.append(("super().listen()", super().listen()))  # type: ignore[func-returns-value, safe-super]
        for number in range(getattr(self, "max_poll_number", 1)):
            for topic in self.topic_handlers:
                self.alert_handler[topic](number, self, key=topic)


class LowerCase(AlertStream):
    """Its keys are in lower case, and it changes its CONFIG."""

    required_keys = ["config"]
    allowed_keys = ["config", "topic_handlers"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.config: dict[str, Any]
        self.config["group.id"] = self.config.pop("group")

    def listen(self) -> None:
        super().listen()  # type: ignore[safe-super]


class TouchesDatabase(Minimal):
    """Makes a row when it is made."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group, _ = Group.objects.get_or_create(name="made by the stream")


class CrashesOnce(Minimal):
    """``listen`` raises the first time."""

    def listen(self) -> None:
        calls.append(("listen",))
        if len(calls) == 1:
            raise RuntimeError("the connection is lost")


class CannotBeMade(Minimal):
    """Its constructor fails with an error of its own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise OSError("no network")
