"""A stream that cannot be made is down, says why, and is tried again."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from tests.processes import wait_until
from tests.streams import entry
from tom_alertstreams.alertstreams.alertstream import AlertStream
from tom_alertstreams.alertstreams.unmade import UnmadeStream
from tom_alertstreams.conf import configured_streams
from tom_alertstreams.delivery import supervisor
from tom_alertstreams.delivery.runs import Status
from tom_alertstreams.delivery.source import Control
from tom_alertstreams.delivery.supervisor import StreamThread
from tom_alertstreams.exceptions import ConfigurationError
from tom_alertstreams.models import StreamRun
from tom_alertstreams.status import stream_statuses

SOUND = entry("127.0.0.1:1", "group", {"t": "one"}, label="sound")
WRONG = [
    ({**SOUND, "NAME": "no.such.Stream"}, "the class no.such.Stream (NAME) cannot be imported"),
    (
        entry("127.0.0.1:1", "group", {"t": "tests.effects.handlers.absent"}),
        "handler 'tests.effects.handlers.absent' cannot",
    ),
    ({"NAME": SOUND["NAME"], "OPTIONS": {"TOPIC_HANDLERS": {}}}, "lack BOOTSTRAP_SERVERS"),
    ({"NAME": f"{__name__}.Hesitant", "OPTIONS": {"TOPIC_HANDLERS": {}}}, "OSError while the stream was made"),
]


class Hesitant(AlertStream):
    """Its constructor logs in somewhere, which fails at first."""

    allowed_keys = ("TOPIC_HANDLERS",)
    stops_when_asked = True
    failures: ClassVar[list[Exception | SystemExit]] = []

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        if self.failures:
            raise self.failures.pop()

    def listen(self) -> None:
        """Nothing more than that it is listened to."""
        assert self.control is not None
        self.control.stopping.wait()


@pytest.fixture
def failures() -> list[Any]:
    """What the next constructors raise."""
    Hesitant.failures[:] = []
    return Hesitant.failures


@pytest.mark.django_db
@pytest.mark.parametrize(("wrong", "says"), WRONG)
def test_the_page_says_why_where_no_stream_can_be_read(
    settings: Any, failures: list[Any], wrong: dict[str, Any], says: str
) -> None:
    failures += [OSError("db: password=hunter22")] * 2
    settings.ALERT_STREAMS = [{**wrong, "LABEL": "mine"}]
    with pytest.raises(CommandError, match="no stream can be read"):
        call_command("readstreams")
    [status] = stream_statuses()
    assert (status.label, status.state) == ("mine", "down")
    assert says in status.reason
    assert "Then restart readstreams." in status.reason
    assert "hunter22" not in status.reason
    assert StreamRun.objects.get().ended is not None


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("error", [OSError("the login server is away"), SystemExit(3)])
def test_it_is_tried_again_by_itself(
    settings: Any, failures: list[Any], monkeypatch: pytest.MonkeyPatch, error: Any
) -> None:
    monkeypatch.setattr(supervisor, "_FIRST_RESTART_S", 0.01)
    settings.ALERT_STREAMS = [{**WRONG[3][0], "LABEL": "mine"}]
    failures += [error] * 2
    control = Control()
    thread = StreamThread(UnmadeStream(configured_streams()[0][0]), control)
    thread.start()
    try:
        wait_until(
            lambda: [status.state for status in stream_statuses()] == ["running"], "the stream that is made at last"
        )
    finally:
        control.stopping.set()
        thread.join(30)
    assert not thread.is_alive()
    states = list(StreamRun.objects.order_by("pk").values_list("state", flat=True))
    assert states == ["down", "stopped"]


@pytest.mark.django_db
def test_tries_that_fail_alike_are_one_row(settings: Any, failures: list[Any]) -> None:
    """There is one every 5 minutes, for as long as nobody corrects the settings."""
    settings.ALERT_STREAMS = [{**WRONG[3][0], "LABEL": "mine"}]
    stream, status = UnmadeStream(configured_streams()[0][0]), Status("mine")
    rows = StreamRun.objects.order_by("pk")
    for says, count in (("away", 1), ("away", 1), ("full", 2), ("full", 2)):
        failures.append(OSError(f"the login server is {says}"))
        before = timezone.now()
        with pytest.raises(ConfigurationError):
            stream.deliver(Control(), status)
        assert len(rows.all()) == count
        run = rows.latest("pk")
        assert says in run.last_error
        assert run.heartbeat >= before
        assert run.ended is not None
        assert run.ended >= before


@pytest.mark.django_db
def test_beside_a_sound_one_it_has_a_thread_of_its_own(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """So it has its series in the metrics, and --stream knows it."""
    given: list[Any] = []
    monkeypatch.setattr(supervisor.Supervisor, "run", lambda self: given.append(self) or 0)
    settings.ALERT_STREAMS = [{**WRONG[0][0], "LABEL": "wrong"}, SOUND]
    for options, labels in (({}, ["wrong", "sound"]), ({"stream": ["sound"]}, ["sound"])):
        with pytest.raises(SystemExit):
            call_command("readstreams", **options)
        assert [thread.settings.label for thread in given.pop().threads] == labels
