"""Who tells what, when, and how often; with real servers where somebody has to hear it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from tests.listeners import MailListener, WebListener
from tests.marks import CORE_TABLES
from tests.unit.test_status import STREAM, State, run
from tom_alertstreams.alarms import book
from tom_alertstreams.alarms.book import Book
from tom_alertstreams.alarms.mail import MailNotifier
from tom_alertstreams.alarms.notifier import Item, Notice, Notifier
from tom_alertstreams.alarms.options import AlarmSettings
from tom_alertstreams.alarms.webhook import WebhookNotifier
from tom_alertstreams.models import Alarm, DeadLetter, OutcomeCount, StreamRun

pytestmark = [CORE_TABLES, pytest.mark.both_databases]


@dataclass(frozen=True)
class Slate(Notifier):
    """Keeps what it is told."""

    told: list[Item]
    #: Not empty: fails.
    broken: list[bool]

    def tell(self, notice: Notice) -> None:
        if self.broken:
            raise OSError("no route to tinker-tailor")
        self.told.extend(notice.items)


@pytest.fixture
def slate() -> Slate:
    return Slate([], [])


@pytest.fixture
def watched(slate: Slate) -> Book:
    return Book(AlarmSettings((slate,), down_minutes=10))


@pytest.fixture(autouse=True)
def _stream(settings: Any) -> None:
    settings.ALERT_STREAMS = [STREAM]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time of the book; rows of streams are as old as the test says."""
    clock = Clock()
    monkeypatch.setattr(book.timezone, "now", clock)
    return clock


class Clock:
    """The wall's, put on."""

    def __init__(self) -> None:
        self._ahead = timedelta(0)
        self._real = timezone.now

    def __call__(self) -> datetime:
        return self._real() + self._ahead

    def go_on(self, **by: float) -> None:
        """Also the streams that are alive are heard of then."""
        self._ahead += timedelta(**by)
        StreamRun.objects.filter(ended=None).update(heartbeat=self())


def down() -> StreamRun:
    return run(state=State.DOWN, reason="KeyError: 'candid'")


def becomes(living: StreamRun, state: State, reason: str = "", **fields: Any) -> None:
    StreamRun.objects.filter(pk=living.pk).update(state=state, reason=reason, **fields)


class TestOnce:
    def test_all_is_well(self, watched: Book, slate: Slate, django_assert_max_num_queries: Any) -> None:
        run()
        with django_assert_max_num_queries(5):
            assert watched.look()
        assert slate.told == []
        assert not Alarm.objects.exists()

    def test_down_is_told_after_a_while_and_once(self, watched: Book, slate: Slate, clock: Clock) -> None:
        living = down()
        for _ in range(9):
            assert watched.look()
            clock.go_on(minutes=1)
        assert slate.told == []
        clock.go_on(minutes=2)
        for _ in range(5):
            watched.look()
            clock.go_on(minutes=1)
        [item] = slate.told
        assert (item.stream, item.kind, item.words, item.reason) == ("ztf", "down", "down", "KeyError: 'candid'")
        assert item.advice
        becomes(living, State.RUNNING)
        for _ in range(15):
            watched.look()
            clock.go_on(minutes=1)
        assert [(item.is_over, item.headline) for item in slate.told[1:]] == [(True, "ztf: over, it is running")]
        assert Alarm.objects.get().over is not None

    def test_what_is_mended_soon_is_told_to_nobody(self, watched: Book, slate: Slate, clock: Clock) -> None:
        living = down()
        watched.look()
        clock.go_on(minutes=5)
        becomes(living, State.RUNNING)
        watched.look()
        clock.go_on(minutes=1)
        becomes(living, State.DOWN)
        watched.look()
        clock.go_on(minutes=9)
        watched.look()
        assert slate.told == []

    def test_a_stream_that_comes_and_goes_is_told_of_once(self, watched: Book, slate: Slate, clock: Clock) -> None:
        living = down()
        for state in [*[State.DOWN] * 12, *[State.RUNNING] * 5] * 6:
            becomes(living, state)
            watched.look()
            clock.go_on(minutes=1)
        assert [item.is_over for item in slate.told] == [False]
        becomes(living, State.RUNNING)
        for _ in range(11):
            watched.look()
            clock.go_on(minutes=1)
        assert [item.is_over for item in slate.told] == [False, True]
        assert Alarm.objects.count() == 1

    def test_a_stream_that_starts_and_fails_again_is_down_all_the_time(
        self, watched: Book, slate: Slate, clock: Clock
    ) -> None:
        living = down()
        for minute in range(12):
            becomes(living, State.STARTING if minute % 2 else State.DOWN)
            watched.look()
            clock.go_on(minutes=1)
        becomes(living, State.DOWN)
        watched.look()
        assert len(slate.told) == 1

    def test_the_fuse_is_told_at_once(self, watched: Book, slate: Slate) -> None:
        run(state=State.FUSE, reason="100 in a row", ended=timezone.now())
        watched.look()
        assert [(item.kind, item.words) for item in slate.told] == [("fuse", "stopped by its fuse")]

    def test_one_that_was_never_started(self, slate: Slate) -> None:
        book = Book(AlarmSettings((slate,), down_minutes=0))
        book.look()
        assert [item.words for item in slate.told] == ["never started"]

    def test_it_is_told_again_after_hours(self, watched: Book, slate: Slate, clock: Clock) -> None:
        run(state=State.FUSE)
        watched.look()
        clock.go_on(hours=23.9)
        watched.look()
        assert len(slate.told) == 1
        clock.go_on(hours=0.2)
        watched.look()
        watched.look()
        assert len(slate.told) == 2

    def test_several_at_a_time_are_one_notice(self, slate: Slate, settings: Any) -> None:
        settings.ALERT_STREAMS = [{**STREAM, "LABEL": str(n)} for n in range(7)]
        notices: list[Notice] = []

        class Counting(Slate):
            def tell(self, notice: Notice) -> None:
                notices.append(notice)

        Book(AlarmSettings((Counting([], []),), down_minutes=0)).look()
        [notice] = notices
        assert notice.subject == "0: never started, and 6 more"
        assert "6: never started" in notice.text
        assert "told again every 24 h" in notice.text

    def test_dead_letters(self, watched: Book, slate: Slate) -> None:
        run()
        hour = timezone.now().replace(minute=0, second=0, microsecond=0)
        OutcomeCount.objects.create(stream="ztf", topic="t", hour=hour, outcome="dead", n=60)
        OutcomeCount.objects.create(stream="ztf", topic="u", hour=hour, outcome="dead", n=60)
        OutcomeCount.objects.create(stream="ztf", topic="t", hour=hour, outcome="done", n=9999)
        DeadLetter.objects.create(stream="ztf", cluster="c", group_id="g", topic="t", partition=0, offset=1)
        watched.look()
        assert [item.words for item in slate.told] == ["120 new dead letters within an hour"]
        DeadLetter.objects.update(state=DeadLetter.State.REPLAYED)
        watched.look()
        assert [item.is_over for item in slate.told] == [False, True]

    def test_a_stream_that_is_taken_out_of_the_settings(self, watched: Book, slate: Slate, settings: Any) -> None:
        run(state=State.FUSE)
        watched.look()
        settings.ALERT_STREAMS = [{**STREAM, "LABEL": "other"}]
        watched.look()
        assert slate.told[1].headline == "ztf: over, it is not in ALERT_STREAMS any more"

    def test_a_stream_that_is_switched_off(self, watched: Book, slate: Slate, settings: Any) -> None:
        run(state=State.FUSE)
        watched.look()
        settings.ALERT_STREAMS = [{**STREAM, "ACTIVE": False}]
        watched.look()
        assert slate.told[1].headline == "ztf: over, it is switched off"

    def test_settings_that_cannot_be_read_end_no_alarm(self, watched: Book, slate: Slate, settings: Any) -> None:
        run(state=State.FUSE)
        watched.look()
        settings.ALERT_STREAMS = "ztf"
        watched.look()
        assert [item.is_over for item in slate.told] == [False]
        settings.ALERT_STREAMS = [{**STREAM, "LABEL": "other"}]
        watched.look()
        assert [item.is_over for item in slate.told] == [False, True]

    @pytest.mark.parametrize(
        ("streams", "defaults", "trouble"),
        [
            (None, {}, "ALERT_STREAMS: cannot start"),
            ("ztf", {}, "ALERT_STREAMS: cannot start"),
            ([STREAM, "ztf"], {}, "ALERT_STREAMS: cannot start"),
            ([STREAM], {"NO_SUCH_KEY": 1}, "ALERT_STREAMS_DEFAULTS: partly left out"),
        ],
    )
    def test_settings_that_are_mended(
        self, slate: Slate, settings: Any, streams: Any, defaults: Any, trouble: str
    ) -> None:
        run()
        settings.ALERT_STREAMS, settings.ALERT_STREAMS_DEFAULTS = streams, defaults
        watched = Book(AlarmSettings((slate,), down_minutes=0))
        watched.look()
        settings.ALERT_STREAMS, settings.ALERT_STREAMS_DEFAULTS = [STREAM], {}
        watched.look()
        assert [item.headline for item in slate.told] == [
            trouble,
            f"{trouble.partition(':')[0]}: over, it can be read again",
        ]


class TestFailures:
    def test_nobody_could_be_told(self, watched: Book, slate: Slate, caplog: pytest.LogCaptureFixture) -> None:
        run(state=State.FUSE)
        slate.broken.append(True)
        assert not watched.look()
        assert not watched.look()
        assert Alarm.objects.get().told is None
        assert "alarm not told by Slate: OSError" in caplog.text
        slate.broken.clear()
        assert watched.look()
        assert len(slate.told) == 1
        assert Alarm.objects.get().told is not None

    def test_that_it_is_over_could_not_be_told(self, watched: Book, slate: Slate) -> None:
        living = run(state=State.FUSE)
        watched.look()
        becomes(living, State.RUNNING, fuse_blown=False)
        slate.broken.append(True)
        assert not watched.look()
        assert not watched.look()
        slate.broken.clear()
        assert watched.look()
        assert [item.is_over for item in slate.told] == [False, True]

    def test_who_has_heard_it_does_not_hear_it_again_because_another_one_failed(self, slate: Slate) -> None:
        run(state=State.FUSE)
        other = Slate([], [True])
        book = Book(AlarmSettings((slate, other)))
        assert not book.look()
        assert not book.look()
        other.broken.clear()
        assert book.look()
        assert book.look()
        assert (len(slate.told), len(other.told)) == (1, 1)

    def test_many_silent_servers_outlast_no_claim(self, slate: Slate, clock: Clock) -> None:
        other = Book(AlarmSettings((slate,)))

        class Silent(Notifier):
            def tell(self, notice: Notice) -> None:
                clock.go_on(minutes=1)
                other.look()
                raise TimeoutError

        run(state=State.FUSE, ended=timezone.now())
        assert not Book(AlarmSettings((*[Silent()] * 8, slate))).look()
        assert len(slate.told) == 1

    def test_what_was_claimed_by_a_process_that_died_is_told_by_another(
        self, watched: Book, slate: Slate, clock: Clock
    ) -> None:
        run(state=State.FUSE)

        class Dies(Slate):
            def tell(self, notice: Notice) -> None:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            Book(AlarmSettings((Dies([], []),))).look()
        clock.go_on(minutes=4)
        watched.look()
        assert slate.told == []
        clock.go_on(minutes=2)
        watched.look()
        assert len(slate.told) == 1


class Slow(Book):
    """Acts on what it has read only when the others have read the same."""

    def __init__(self, settings: AlarmSettings, read: threading.Barrier) -> None:
        super().__init__(settings)
        self._read = read

    def _claim(self, *arguments: Any) -> Any:
        self._read.wait(20)
        return super()._claim(*arguments)


def at_once(settings: AlarmSettings, processes: int = 4) -> None:
    """So many look at the same moment, each with a session of its own, as processes do."""
    read = threading.Barrier(processes)
    trouble: list[BaseException] = []

    def look() -> None:
        try:
            Slow(settings, read).look()
        except BaseException as error:  # noqa: BLE001
            trouble.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=look) for _ in range(processes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not trouble


class TestServers:
    @pytest.fixture
    def post(self, settings: Any) -> Iterator[MailListener]:
        with MailListener() as listener:
            settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
            settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", listener.port
            settings.ADMINS = [("Me", "me@observatory.org")]
            yield listener

    def test_of_several_processes_one_writes_a_mail_and_one_that_it_is_over(
        self, post: MailListener, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        moment = timezone.now()  # the same for all: who looked before the alarm began would not find it due
        monkeypatch.setattr(book.timezone, "now", lambda: moment)
        living = run(state=State.FUSE, reason="100 in a row: KeyError\nBcc: everybody@example.org")
        settings = AlarmSettings((MailNotifier(),))
        for _ in range(3):
            at_once(settings)
            assert len(post.heard) == 1
        [mail] = post.heard
        assert "Subject: [Django] ztf: stopped by its fuse" in mail
        assert "To: me@observatory.org" in mail
        assert "    100 in a row: KeyError\r\n    Bcc: everybody" in mail
        assert "Mend the handler" in mail
        becomes(living, State.RUNNING, fuse_blown=False)
        at_once(settings)
        assert Book(settings).look()
        assert len(post.heard) == 2
        assert "Subject: [Django] ztf: over, it is running" in post.heard[1]

    def test_a_mail_server_that_refuses(self, post: MailListener, settings: Any) -> None:
        run(state=State.FUSE)
        post.code = 554
        assert not Book(AlarmSettings((MailNotifier(),))).look()
        assert Alarm.objects.get().told is None
        post.code = 250
        assert Book(AlarmSettings((MailNotifier(),))).look()

    def test_a_mail_server_that_hangs(self, post: MailListener, caplog: pytest.LogCaptureFixture) -> None:
        run(state=State.FUSE)
        post.answers.clear()
        assert not Book(AlarmSettings((MailNotifier(timeout_s=0.2),))).look()
        assert "timed out" in caplog.text

    def test_webhook(self) -> None:
        run(state=State.FUSE, reason="<!channel> failed & failed")
        with WebListener() as web:
            assert Book(AlarmSettings((WebhookNotifier(web.url),))).look()
        [posted] = web.heard
        assert posted["text"].startswith("ztf: stopped by its fuse\n")
        assert "&lt;!channel&gt; failed &amp; failed" in posted["text"]
        [alarm] = posted["alarms"]
        assert (alarm["stream"], alarm["kind"], alarm["over"]) == ("ztf", "fuse", False)
        assert alarm["reason"] == "<!channel> failed & failed"

    @pytest.mark.parametrize("code", [302, 404, 500])
    def test_a_webhook_that_does_not_take_it(self, code: int, caplog: pytest.LogCaptureFixture) -> None:
        run(state=State.FUSE)
        with WebListener() as web:
            web.code = code
            assert not Book(AlarmSettings((WebhookNotifier(web.url),))).look()
        assert len(web.heard) == 1  # not sent on to where it points
        assert str(code) in caplog.text
        assert "very-secret-hook" not in caplog.text

    def test_a_webhook_that_hangs(self, caplog: pytest.LogCaptureFixture) -> None:
        run(state=State.FUSE)
        with WebListener() as web:
            web.answers.clear()
            assert not Book(AlarmSettings((WebhookNotifier(web.url, timeout_s=0.2),))).look()
        assert "timed out" in caplog.text
        assert "very-secret-hook" not in caplog.text
