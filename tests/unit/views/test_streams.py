"""The streams page: what a card says, who sees what, and how much it asks of the database."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.template.loader import get_template
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy

from tests.unit.test_status import STREAM, State, run
from tom_alertstreams.delivery.gaps import CUT_OFF, MADE_ANEW
from tom_alertstreams.models import OutcomeCount, StreamPartition, StreamRun
from tom_alertstreams.signals import describing
from tom_alertstreams.status import ADVICE
from tom_alertstreams.views.cards import Card, stream_cards

PAGE = "/alertstreams/"
EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture(autouse=True)
def _stream(settings: Any, db: None) -> None:
    settings.ALERT_STREAMS = [STREAM]


@pytest.fixture
def user(client: Client) -> Client:
    client.force_login(User.objects.create_user("astronomer"))
    return client


@pytest.fixture
def staff(client: Client) -> Client:
    client.force_login(User.objects.create_user("operator", is_staff=True))
    return client


def card(*, is_staff: bool = False) -> Card:
    [found] = stream_cards(is_staff=is_staff)
    return found


@contextmanager
def answering(answer: Callable[[list[str]], Any]) -> Iterator[None]:
    """Another app answers so, by the labels of the streams."""

    def says(sender: None, labels: list[str], **_: Any) -> Any:
        return answer(labels)

    describing.connect(says)
    try:
        yield
    finally:
        describing.disconnect(says)


def saying(line: str) -> AbstractContextManager[None]:
    """Another app says this of every stream."""
    return answering(lambda labels: {label: [line] for label in labels})


def count(outcome: str = "done", n: int = 1, *, hours_ago: int = 0, topic: str = "a", code: str = "") -> None:
    hour = timezone.now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=hours_ago)
    OutcomeCount.objects.create(stream="ztf", topic=topic, hour=hour, outcome=outcome, code=code, n=n)


def text(client: Client, **headers: str) -> str:
    answer = client.get(PAGE, headers=headers)
    assert answer.status_code == 200
    return answer.content.decode()


@pytest.mark.parametrize("state", sorted(State.values))
def test_a_card_says_the_state_the_reason_and_what_to_do(user: Client, state: str) -> None:
    run(state=state, reason="because it is so")
    page = text(user)
    words, advice = ADVICE[state]
    assert f">{words}</span>" in page
    assert "because it is so" in page
    assert f"<strong>{advice}</strong>" in page or not advice


def test_states_that_no_run_has(user: Client, settings: Any) -> None:
    settings.ALERT_STREAMS = [STREAM, {"LABEL": "broken"}]
    page = text(user)
    for state in ("never", "unreadable"):
        assert f">{ADVICE[state][0]}</span>" in page
        assert ADVICE[state][1] in page


def test_numbers_of_a_card(user: Client) -> None:
    topics = {"a": {"handler": "my.on_a", "lag": 12_345}, "b": {"handler": "", "lag": None}}
    run(lag=12_345, rate=84.31, topics=topics)
    at = timezone.now() - timedelta(seconds=200)
    StreamPartition.objects.create(cluster="c", group_id="tom", topic="a", partition=0, next_offset=9, last_alert_at=at)
    count("done", 1000)
    count("rejected", 5, code="filter")
    count("rejected", 6, code="class")
    page = text(user)
    for said in (
        "12,345 alerts",
        "84.3 alerts/s",
        "my.on_a",
        ">1,000<",
        ">11<",
        "none: its alerts become dead letters",
    ):
        assert said in page
    assert f'<time datetime="{at:%Y-%m-%dT%H:%M:%S}Z" title="{at:%Y-%m-%d %H:%M:%S} UTC">3 min ago</time>' in page


def test_the_last_alert_of_a_listen_of_ones_own_is_not_known(user: Client) -> None:
    run(group_id="")
    assert "<dt>Last alert</dt><dd>unknown</dd>" in text(user)
    run(group_id="tom")
    assert "<dt>Last alert</dt><dd>never</dd>" in text(user)


def test_counts_of_the_last_24_hours_only() -> None:
    run(topics={"a": {"handler": "h", "lag": 0}})
    count("done", 7, hours_ago=23)
    count("done", 100, hours_ago=24)
    count("dead", 2)
    count("waiting", 50)
    found = card()
    assert found.topics[0].activity.counts == {"done": 7, "dead": 2, "waiting": 50}
    assert "9 alerts in the last 24 hours" in found.sparkline
    assert found.sparkline.count("<rect") == 2


def test_one_alert_is_one_alert() -> None:
    run()
    count("done", 1)
    assert "1 alert in the last 24 hours" in card().sparkline


def test_a_stream_without_alerts_has_a_sparkline_that_says_so() -> None:
    assert 'aria-label="No alerts in the last 24 hours"' in card().sparkline


def test_each_topic_has_its_hours(user: Client) -> None:
    run(topics={topic: {"handler": "h", "lag": 0} for topic in "abc"})
    count("done", 7, hours_ago=23)
    count("dead", 1)
    count("waiting", 50)
    count("done", 4, hours_ago=1, topic="b")
    count("rejected", 2, hours_ago=1, topic="gone", code="class")
    found = {row.status.topic: row for row in card().topics}
    assert {topic: sum(row.activity.by_hour) for topic, row in found.items()} == {"a": 8, "b": 4, "c": 0, "gone": 2}
    assert (found["a"].activity.by_hour[0], found["a"].activity.by_hour[-1]) == (7, 1)
    assert found["b"].activity.by_hour[-2] == 4
    # Bars of one scale: the first hour is the highest, the last one a seventh of it.
    assert 'd="M0 40v-40h8v40zM230 40v-6h8v6z"' in found["a"].sparkline
    page = text(user)
    busiest = timezone.now() - timedelta(hours=23)
    for said in (f"8 alerts in the last 24 hours, most of them at {busiest:%H}:00 UTC: 7 in that hour", "14 alerts in"):
        assert f'<svg class="sparkline" role="img" aria-label="{said}' in page
    assert page.count('<svg class="sparkline"') == 5  # of the stream, and of four topics
    assert page.count('aria-label="No alerts in the last 24 hours"') == 1


def test_heartbeats_of_the_provider_are_in_their_own_row_only(user: Client) -> None:
    run(topics={topic: {"handler": "h", "lag": 0} for topic in ("a", "gcn.heartbeat")})
    now = timezone.now()
    for topic, at in (("a", now - timedelta(days=3)), ("gcn.heartbeat", now)):
        StreamPartition.objects.create(
            cluster="c", group_id="tom", topic=topic, partition=0, next_offset=9, last_alert_at=at
        )
    count("done", 3)
    count("done", 3600, topic="gcn.heartbeat")
    found = card()
    assert 'aria-label="3 alerts in the last 24 hours' in found.sparkline
    heart = found.topics[1]
    assert (heart.status.topic, heart.status.last_alert_at, heart.activity.counts["done"]) == (
        "gcn.heartbeat",
        now,
        3600,
    )
    assert "3,600 alerts in the last 24 hours" in heart.sparkline
    page = text(user)
    assert re.search(r"<dt>Last alert</dt><dd><time [^>]*>3 d ago</time>", page)
    assert page.count("heartbeats: not counted above") == 1


def test_topics_of_days_come_newest_first_and_are_folded(user: Client) -> None:
    names = [f"lc_{day}" for day in range(20261101, 20261131)] + ["other"]
    run(topics={name: {"handler": "h", "lag": 0} for name in names})
    count(topic="lc_20261031")
    found = card()
    assert [row.status.topic for row in found.topics][:3] == ["other", "lc_20261130", "lc_20261129"]
    assert (found.topics[-1].status.topic, found.topics[-1].is_over) == ("lc_20261031", True)
    assert f"and {32 - len(found.shown)} more topics" in text(user)


class TestWhoSeesWhat:
    """Machines and runs are for staff."""

    @pytest.fixture(autouse=True)
    def _gone(self) -> None:
        gap = {"topic": "a", "partition": 3, "expected": 90, "found": 97, "reason": "deleted"}
        gap["time"] = "2026-11-26T03:04:05.678901+00:00"
        run(host="secret-host", pid=4711, heard_s=999, gaps=[gap])

    def test_a_user_sees_streams_and_no_machine(self, user: Client) -> None:
        page = text(user)
        assert "no heartbeat" in page
        assert "secret-host" not in page
        assert "4711" not in page

    def test_nobody_in_particular_sees_as_much(self, client: Client) -> None:
        page = text(client)
        assert "no heartbeat" in page
        assert "secret-host" not in page

    def test_staff_see_runs_and_gaps(self, staff: Client) -> None:
        page = text(staff)
        assert "1 run in the last 7 days" in page
        assert "a[3]: 7 missing, from offset 90 on (2026-11-26 03:04:05 UTC): deleted" in page
        assert page.count("secret-host") == 2  # in the reason too

    @pytest.mark.parametrize(
        ("expected", "found", "reason"), [(9000, 0, MADE_ANEW), (9000, 8950, CUT_OFF), (90, 9997, MADE_ANEW)]
    )
    def test_where_it_is_not_known_how_many_are_missing(
        self, staff: Client, expected: int, found: int, reason: str
    ) -> None:
        gap = {"topic": "a", "partition": 3, "expected": expected, "found": found, "reason": reason, "time": ""}
        StreamRun.objects.update(gaps=[gap])
        page = text(staff)
        assert (
            f"a[3]: read from offset {found} on instead of {expected}; how many are missing is not known: {reason}"
            in page
        )
        assert "Alerts that the broker does not have any more" in page

    def test_the_number_of_dead_letters_leads_staff_to_them(self, client: Client) -> None:
        address = f"{reverse('tom_alertstreams:dead_letters')}?stream=ztf"
        assert address not in text(client)
        client.force_login(User.objects.create_user("operator", is_staff=True))
        assert address in text(client)
        assert client.get(address).context["form"].cleaned_data["stream"] == "ztf"

    def test_a_staff_account_that_was_closed(self, client: Client) -> None:
        closed = User.objects.create_user("former", is_staff=True, is_active=False)
        client.force_login(closed)
        assert "secret-host" not in text(client)

    def test_auth_strategy_of_the_tom_holds(self, client: Client, settings: Any) -> None:
        settings.AUTH_STRATEGY = "LOCKED"
        answer = client.get(PAGE)
        assert answer.status_code == 302
        assert answer.headers["Location"].startswith("/accounts/login/")
        assert client.get("/alertstreams/health/").status_code == 302
        settings.OPEN_URLS = ["/alertstreams/health/"]
        assert Client().get("/alertstreams/health/").status_code == 503  # the middleware is made anew


def test_old_runs_are_left_out_and_many_are_cut(staff: Client) -> None:
    for _ in range(25):
        run(ended=timezone.now(), state=State.STOPPED)
    run(heard_s=8 * 86_400)
    runs = card(is_staff=True).runs
    assert runs is not None
    assert (len(runs.newest), runs.total) == (10, 25)
    assert runs.newest[0].pk > runs.newest[-1].pk
    assert "and 15 before them" in text(staff)


def test_what_alerts_and_settings_say_is_escaped(staff: Client, settings: Any) -> None:
    settings.ALERT_STREAMS = [{**STREAM, "LABEL": EVIL}, {"LABEL": EVIL + "off", "ACTIVE": False}]
    gap = {"topic": EVIL, "partition": 0, "expected": 1, "found": 2, "reason": EVIL, "time": EVIL}
    run(
        stream=EVIL, state=State.DOWN, reason=EVIL, host=EVIL, version="<b>1</b>", gaps=[gap],
        topics={EVIL: {"handler": EVIL, "lag": 0}},
    )  # fmt: skip

    with saying(EVIL):
        page = text(staff)
    assert page.count("&lt;script&gt;alert(1)") > 10
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "<b>1</b>" not in page


def test_secrets_are_blanked(staff: Client, settings: Any) -> None:
    settings.ALERT_STREAMS = [{**STREAM, "OPTIONS": {**STREAM["OPTIONS"], "PASSWORD": "hunter22"}}]
    gap = {"topic": "a", "partition": 0, "expected": 1, "found": 2, "reason": "hunter22", "time": ""}
    run(state=State.DOWN, reason="refused: hunter22", last_error="hunter22", gaps=[gap])
    run(state=State.STOPPED, reason="with hunter22", ended=timezone.now())
    page = text(staff)
    assert "refused: •••" in page
    assert "hunter22" not in page


def test_what_other_apps_say_of_a_stream(user: Client, caplog: pytest.LogCaptureFixture) -> None:
    def fails(labels: list[str]) -> None:
        raise RuntimeError("broken app")

    with answering(fails), saying("3 messages wait for their broker"):
        assert "3 messages wait for their broker" in text(user)
    assert "broken app" in caplog.text


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        (None, []),
        ({}, []),
        ({"ztf": []}, []),
        ({"ztf": "one line"}, ["one line"]),
        ({"ztf": gettext_lazy("one line")}, ["one line"]),
        ({"ztf": ("one", gettext_lazy("two"))}, ["one", "two"]),
        ({"ztf": "with hunter22"}, ["with •••"]),
    ],
)
def test_what_another_app_may_say(
    settings: Any, caplog: pytest.LogCaptureFixture, answer: Any, shown: list[str]
) -> None:
    settings.ALERT_STREAMS = [{**STREAM, "OPTIONS": {**STREAM["OPTIONS"], "PASSWORD": "hunter22"}}]
    with answering(lambda _: answer):
        assert list(card().facts) == shown
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({"ztf": None}, "of ztf: TypeError: NoneType,"),
        ({"ztf": [7]}, "of ztf: TypeError: list of int,"),
        ({"ztf": b"bytes"}, "of ztf: TypeError: bytes of int,"),
        ({"ztf": {"waiting": "3"}}, "of ztf: TypeError: dict,"),
        ({"ztf": map(int, ["hunter22"])}, "of ztf: ValueError: invalid literal for int() with base 10: '•••'"),
        ({None: ["a line"]}, "of all streams: TypeError: list, not label"),
        ("a line", "of all streams: TypeError: str, not label"),
        ([7], "of all streams: TypeError: list, not label"),
    ],
)
def test_what_is_no_text_is_left_out_and_logged(
    user: Client, settings: Any, caplog: pytest.LogCaptureFixture, answer: Any, why: str
) -> None:
    settings.ALERT_STREAMS = [{**STREAM, "OPTIONS": {**STREAM["OPTIONS"], "PASSWORD": "hunter22"}}]
    with answering(lambda _: answer), saying("3 messages wait for their broker"):
        assert "3 messages wait for their broker" in text(user)
    [line] = caplog.messages
    assert line.startswith("left out what tests.unit.views.test_streams.answering.<locals>.says says")
    assert why in line


def test_what_is_text_is_shown_beside_what_is_not() -> None:
    with answering(lambda _: {"other": None, "ztf": ["a line"]}):
        assert card().facts == ("a line",)


def test_a_page_that_this_tom_has_not_has_no_tab(rf: Any) -> None:
    link = get_template("tom_alertstreams/partials/page_link.html")
    request = rf.get(PAGE)
    assert link.render({"name": "tom_alertstreams:no_such_page", "words": "Nowhere"}, request).strip() == ""
    assert 'aria-current="page"' in link.render({"name": "tom_alertstreams:streams", "words": "Streams"}, request)


def test_what_is_not_well_stands_first(user: Client, settings: Any) -> None:
    settings.ALERT_STREAMS = [STREAM]
    living = run()
    assert "1 stream, all well." in text(user)
    living.state = State.DOWN
    living.save()
    page = text(user)
    assert "1 of 1 stream not well" in page
    assert '<a id="to-stream-1" href="#stream-1">ztf</a> (down).' in page


def test_switched_off_entries_are_named(user: Client, settings: Any) -> None:
    settings.ALERT_STREAMS = [
        STREAM,
        {**STREAM, "LABEL": "later", "ACTIVE": False},
        {"NAME": "x.GCNAlertStream", "ACTIVE": 0},
    ]
    assert "Switched off in settings.py: later, gcn." in text(user)


def test_without_a_stream_the_next_step_is_told(user: Client, settings: Any) -> None:
    settings.ALERT_STREAMS = []
    page = text(user)
    assert "No stream is switched on" in page
    assert "./manage.py checkstreams" in page


def test_a_refresh_is_the_cards_alone_and_is_kept_nowhere(user: Client) -> None:
    answer = user.get(PAGE, headers={"HX-Request": "true"})
    assert b"<html" not in answer.content
    assert "no-store" in answer.headers["Cache-Control"]
    assert "HX-Request" in answer.headers["Vary"]


@pytest.mark.both_databases
def test_six_queries_however_many_streams(settings: Any, django_assert_num_queries: Any) -> None:
    """The sixth is that of the app apf_bridge."""
    settings.ALERT_STREAMS = [{**STREAM, "LABEL": str(number)} for number in range(20)]
    for number in range(20):
        run(stream=str(number), group_id=str(number), topics={"a": {"handler": "h", "lag": 0}})
    with django_assert_num_queries(6):
        assert len(stream_cards(is_staff=True)) == 20
    with django_assert_num_queries(5):
        stream_cards(is_staff=False)


@pytest.mark.both_databases
def test_queries_of_the_page_with_its_user(staff: Client, django_assert_max_num_queries: Any) -> None:
    run()
    with django_assert_max_num_queries(8):
        assert staff.get(PAGE, headers={"HX-Request": "true"}).status_code == 200
    with django_assert_max_num_queries(10):
        assert staff.get(PAGE).status_code == 200
