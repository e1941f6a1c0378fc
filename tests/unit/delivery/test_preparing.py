"""Look-ups before the transaction, in a thread of their own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.processes import wait_until
from tom_alertstreams.alerts import Alert
from tom_alertstreams.conf import DeliverySettings, TopicSettings
from tom_alertstreams.delivery import preparing
from tom_alertstreams.delivery.failures import Meaning, judge
from tom_alertstreams.delivery.preparing import Preparer
from tom_alertstreams.delivery.source import Binding
from tom_alertstreams.exceptions import LookUpUnavailable, RetryLater
from tom_alertstreams.handlers import Handler, Style

ALERT = Alert("test", "t", 0, 0, None, (), None, b"")


class Service:
    """What a look-up asks: some of its first answers do not come until ``gate`` is set."""

    def __init__(self, silent: int) -> None:
        self.gate = threading.Event()
        self.asked = 0
        self._silent = silent

    def __call__(self, alerts: list[Alert]) -> int:
        self.asked += 1
        number = self.asked
        if number <= self._silent:
            self.gate.wait(30)
        return number


def binding(prepare: Callable[[list[Alert]], object], *, ahead: bool = False, timeout_s: float = 0.05) -> Binding:
    handler = Handler("a.b", print, Style.BATCH, prepare=prepare, ahead=ahead)
    return Binding(TopicSettings("t", "a.b", DeliverySettings(prepare_timeout_s=timeout_s)), handler)


@pytest.fixture
def preparer() -> Iterator[Preparer]:
    made = Preparer("test")
    yield made
    made.close()


@pytest.fixture
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    made = Service(request.param)
    yield made
    made.gate.set()


def times_out(preparer: Preparer, of: Binding) -> None:
    with pytest.raises(LookUpUnavailable, match="took longer than") as caught:
        preparer.prepare(of, [ALERT])
    assert judge(caught.value) is Meaning.AWAY


@pytest.mark.parametrize("service", [1], indirect=True)
def test_one_that_hangs_is_something_that_is_away_and_the_next_try_is_made(
    preparer: Preparer, service: Service
) -> None:
    times_out(preparer, binding(service))
    assert preparer.prepare(binding(service, timeout_s=20), [ALERT]).result == 2


@pytest.mark.parametrize("service", [100], indirect=True)
def test_no_more_than_a_few_hang(preparer: Preparer, service: Service) -> None:
    """Each may hold a connection; when one of them ends, another may begin."""
    for _ in range(preparing._MOST_HANGING):
        times_out(preparer, binding(service))
    for _ in range(3):
        with pytest.raises(LookUpUnavailable, match=r"look-ups of this stream hang, so that a\.b begins no other"):
            preparer.prepare(binding(service), [ALERT])
    assert service.asked == preparing._MOST_HANGING
    service.gate.set()
    wait_until(lambda: preparer._hang() < preparing._MOST_HANGING, "the end of one")
    assert preparer.prepare(binding(lambda alerts: "found", timeout_s=20), [ALERT]).result == "found"


@pytest.mark.parametrize("service", [1], indirect=True)
def test_what_waited_behind_one_that_hangs_comes_anew(preparer: Preparer, service: Service) -> None:
    """And is no failure of its alerts."""
    ahead, later = binding(service, ahead=True), [Alert("test", "t", 0, 1, None, (), None, b"")]
    preparer.begin(ahead, [ALERT], later)
    times_out(preparer, ahead)
    assert preparer.prepare(binding(service, ahead=True, timeout_s=20), later).result == 2
    assert service.asked == 2


@pytest.mark.parametrize("ahead", [False, True])
def test_what_decoding_takes_is_not_counted(preparer: Preparer, ahead: bool) -> None:
    """A message may have to be fetched first. It is that which waits, where its server is away."""

    def fetch(alert: Alert) -> str:
        time.sleep(4 * timeout_s)
        if alert.offset == 1:
            raise RetryLater(60)
        return "here"

    timeout_s = 0.05
    alerts = [Alert("test", "t", 0, offset, None, (), None, b"", fetch) for offset in range(3)]
    of = binding(lambda ready: [alert.content for alert in ready], ahead=ahead, timeout_s=timeout_s)
    preparer.begin(of, alerts)
    prepared = preparer.prepare(of, alerts)
    assert [type(error) for error in prepared.errors] == [type(None), RetryLater, type(None)]
    assert prepared.result == ["here", "here"]


@pytest.mark.parametrize("service", [1], indirect=True)
def test_behind_the_look_up_of_others_that_hangs_nobody_waits_for_ever(preparer: Preparer, service: Service) -> None:
    """There is one thread for all handlers of a stream, and one of them is ahead."""
    preparer.begin(binding(service, ahead=True), [ALERT])
    wait_until(lambda: service.asked, "the call")
    times_out(preparer, binding(lambda alerts: "found"))


@pytest.mark.parametrize("service", [1], indirect=True)
def test_one_that_hangs_and_that_nobody_waits_for_holds_up_no_end(
    preparer: Preparer, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Begun ahead; then the stream was asked to stop."""
    monkeypatch.setattr(preparing, "_LAST_CALL_S", 0.05)
    preparer.begin(binding(service, ahead=True), [ALERT])
    wait_until(lambda: service.asked, "the call")
    preparer.close()
    assert preparer._thread is not None
    assert preparer._thread.is_alive()
