"""The pages of dead letters: what they show, what they do, and how little they ask of the database."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.utils import timezone

from tests.effects import handlers
from tests.effects.models import Effect
from tests.letters import letter, pressed
from tests.streams import entry
from tom_alertstreams.delivery.letter_actions import begin
from tom_alertstreams.delivery.letters import LetterFilter
from tom_alertstreams.delivery.waiting import UNSETTLED
from tom_alertstreams.models import DeadLetter, LetterAction
from tom_alertstreams.views import letters as pages
from tom_alertstreams.views.letter_actions import ActionStep
from tom_alertstreams.views.letter_filter import LetterFilterForm, query_of

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases, pytest.mark.usefixtures("fresh_handlers")]

ROOT = "/alertstreams/deadletters/"


@pytest.fixture
def staff(client: Client, settings: Any) -> Client:
    settings.ALERT_STREAMS = [entry("127.0.0.1:1", "group", {"ztf_*": "one"}, label="ztf")]
    client.force_login(User.objects.create_user("dr.lee", is_staff=True))
    return client


def text(page: Any) -> str:
    """What is to be read on it."""
    assert page.status_code == 200, page.status_code
    content = re.search(r'<div class="alertstreams">(.*)</main>', page.content.decode(), re.DOTALL)
    words = content[1] if content else page.content.decode()
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", words)).split())


def queries(page: str, client: Client, allowed: Any) -> str:
    with allowed(10):
        return text(client.get(page))


def test_the_tab_is_lit_on_each_of_its_pages(staff: Client) -> None:
    one = letter(1)
    action = begin(LetterAction.Kind.DISMISS, "dr.lee", LetterFilter())
    for page in ("", "each/", f"{one.pk}/", "actions/", f"actions/{action.pk}/"):
        links = re.findall(r'<a class="nav-link([^>]*)>([^<]*)</a>', staff.get(ROOT + page).content.decode())
        [lit] = [
            (attributes, words)
            for attributes, words in links
            if "aria-current" in attributes and " active" in attributes
        ]
        assert lit[1] == "Dead letters"
        assert f'aria-current="{"true" if page else "page"}"' in lit[0]


def button(page: str, kind: str) -> dict[str, Any]:
    """What the last such button of a page sends, and to which address: that for all of the letters."""
    form = re.findall(r'<form method="post" action="([^"]*)">((?:(?!</form>).)*)</form>', page, re.DOTALL)
    address, fields = next((to, inside) for to, inside in reversed(form) if f'name="kind" value="{kind}"' in inside)
    given = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', fields))
    return {"address": unescape(address), "data": {**given, "kind": kind}}


class TestGroups:
    def test_by_cause(self, staff: Client, django_assert_max_num_queries: Any) -> None:
        for offset in range(12):
            letter(offset, state="waiting" if offset < 4 else "open", topic=f"ztf_{offset % 3}")
        letter(0, error_class="DecodeError", error="not Avro\nbut", fingerprint="f2", handler="")
        found = queries(ROOT, staff, django_assert_max_num_queries)
        assert "12 times since 2026-11-22 03:12 UTC : KeyError: 'candid' in my.handler" in found
        assert "Stream ztf, topics ztf_0 to ztf_2; 4 of them wait for their next try." in found
        assert "once since 2026-11-22 03:12 UTC : DecodeError: not Avro in no handler" in found
        assert "Replay 12 " in found
        assert "Replay all 13 " in found
        assert "restart the web server" in found

    def test_many_causes_are_paged(self, staff: Client, django_assert_max_num_queries: Any) -> None:
        for number in range(120):
            letter(number, fingerprint=f"f{number}", error=f"number {number};")
        found = queries(ROOT, staff, django_assert_max_num_queries)
        assert found.count("once since") == 25
        assert "Page 1 of 5" in found
        last = queries(f"{ROOT}?page=5", staff, django_assert_max_num_queries)
        assert last.count("once since") == 20
        assert "number 119;" in last

    def test_none(self, staff: Client) -> None:
        assert "No dead letter matches." in text(staff.get(ROOT))

    def test_settled_ones_cannot_be_acted_on(self, staff: Client) -> None:
        letter(0, state="replayed")
        letter(1)
        found = text(staff.get(f"{ROOT}?state=replayed&state=open"))
        assert "Replay" not in found.replace("Replays", "")
        assert "choose these states alone" in found

    def test_the_newest_lines_of_the_journal(self, staff: Client) -> None:
        started = timezone.now().replace(hour=3, minute=40)
        LetterAction.objects.create(
            kind="replay", who="dr.lee", started=started, finished=started, total=1204,
            chosen={"error": "KeyError", "newer_than": 7200.0}, became={"done": 1203, "dead": 1},
        )  # fmt: skip
        found = text(staff.get(ROOT))
        assert f"dr.lee replayed 1,204 at {started:%Y-%m-%d} 03:40 UTC : 1,203 done, 1 failed again" in found
        assert "(error KeyError, newer than 2h)" in found


class TestFilters:
    @pytest.mark.parametrize(
        ("query", "offsets"),
        [
            ("", [0, 1, 2, 3]),
            ("stream=gcn", [1]),
            ("topic=ztf_20261122", [0, 3]),
            ("topic=ztf_*", [0, 2, 3]),
            ("error=valueerror", [3]),
            ("fingerprint=f2", [3]),
            ("handler=other.handler", [2]),
            ("older_than=1d", [0, 1]),
            ("newer_than=24h", [2, 3]),
            ("older_than=1d&topic=ztf_*", [0]),
            ("state=replayed", [4]),
            ("state=replayed&state=waiting", [3, 4]),
            ("text=CANDID", [0, 1]),
            ("text=notices", [1]),
            ("text=other.h", [2]),
            ("text=%25", []),
            ("text=%5C", []),
            ("text=ztf_", [0, 2, 3]),
            ("text=my_handler", []),
            ("error=Value_rror", []),
        ],
    )
    def test_choose(self, staff: Client, query: str, offsets: list[int]) -> None:
        now = timezone.now()
        letter(0, first_failed_at=now - timedelta(days=2))
        letter(1, first_failed_at=now - timedelta(days=3), stream="gcn", topic="gcn.notices")
        letter(2, first_failed_at=now, topic="ztf_20261121", error="jd", handler="other.handler")
        letter(3, first_failed_at=now, error_class="ValueError", error="ra", fingerprint="f2", state="waiting")
        letter(4, state="replayed")
        page = staff.get(f"{ROOT}each/?{query}")
        pks = sorted(shown.pk for shown in page.context["letters"])
        assert list(DeadLetter.objects.filter(pk__in=pks).order_by("pk").values_list("offset", flat=True)) == offsets
        # A link to what a filter chooses chooses the same.
        form = LetterFilterForm(page.wsgi_request.GET)
        assert form.is_valid()
        assert ("Shown: " in text(page)) == (query not in ("", "state=replayed", "state=replayed&state=waiting"))
        again = staff.get(f"{ROOT}each/?{query_of(form.chosen)}")
        assert sorted(shown.pk for shown in again.context["letters"]) == pks

    def test_spaces_at_the_ends_of_names_are_of_the_names(self, staff: Client) -> None:
        """The fingerprint of a RetryLater is the beginning of its reason, cut wherever it may be."""
        letter(0, stream=" ztf ", handler=" h ", fingerprint=" not in the archive ")
        letter(1, stream="ztf", handler="h", fingerprint="not in the archive")
        for query in ("stream=+ztf+", "handler=+h+", "fingerprint=+not+in+the+archive+"):
            [shown] = staff.get(f"{ROOT}each/?{query}").context["letters"]
            assert shown.place == "ztf_20261122[0]@0"
        buttons = set(re.findall(r'action="([^"]*begin[^"]*fingerprint[^"]*)"', staff.get(ROOT).content.decode()))
        assert len(buttons) == 2
        for address in buttons:
            staff.post(unescape(address), pressed("dismiss"))
        assert list(LetterAction.objects.values_list("total", flat=True)) == [1, 1]

    @pytest.mark.parametrize(
        "query",
        ["older_than=abc", "older_than=0d", "state=gone", "letter=x", "letter=0", f"letter={10**30}", "streem=ztf",
         "topic=%00", f"stream={'s' * 200}"],
    )  # fmt: skip
    def test_one_that_cannot_be_read_chooses_nothing(self, staff: Client, query: str) -> None:
        letter(0)
        for page in ("", "each/"):
            found = text(staff.get(f"{ROOT}{page}?{query}"))
            assert "This filter cannot be read, so nothing is shown." in found
            assert "candid" not in found
        for kind in ("replay", "dismiss"):
            assert staff.post(f"{ROOT}begin/?{query}", pressed(kind)).status_code == 400
        assert not LetterAction.objects.exists()


@pytest.mark.postgres
def test_how_many_letters_words_find_is_known_beforehand() -> None:
    """Else PostgreSQL takes them for few, and sorts 100,000 of them on its disk."""
    DeadLetter.objects.bulk_create(
        DeadLetter(
            stream="ztf", cluster="c", group_id="g", topic="a", partition=0, offset=offset, handler="my.handler",
            error_class="KeyError", error=f"'candid' of {offset % 60}", fingerprint=f"f{offset % 60}",
        )
        for offset in range(3000)
    )  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {DeadLetter._meta.db_table}")
    for chosen, found in ((LetterFilter(text="CANDID"), 3000), (LetterFilter(error="keyerror"), 3000)):
        plan = json.loads(chosen.rows().order_by().explain(format="json"))[0]["Plan"]
        assert plan["Plan Rows"] > found / 2


class TestOneByOne:
    @pytest.mark.parametrize("query", ["stream=ztf", "text=candid"])
    def test_pages(self, staff: Client, monkeypatch: Any, django_assert_max_num_queries: Any, query: str) -> None:
        monkeypatch.setattr(pages, "LETTERS_A_PAGE", 3)
        for offset in range(7):
            letter(offset)
        seen, address = [], f"{ROOT}each/?{query}"
        while address:
            with django_assert_max_num_queries(10):
                page = staff.get(address)
            seen += [shown.place for shown in page.context["letters"]]
            older = re.search(r'href="(\?[^"]*before=\d+)"', page.content.decode())
            address = f"{ROOT}each/{unescape(older[1])}" if older else ""
        assert seen == [f"ztf_20261122[0]@{offset}" for offset in reversed(range(7))]
        assert "Replay all 7 " in text(page)

    @pytest.mark.parametrize("before", ["x", "-1", str(10**30), "²"])
    def test_an_odd_page_is_the_first(self, staff: Client, before: str) -> None:
        letter(0)
        assert "candid" in text(staff.get(f"{ROOT}each/", {"before": before}))

    def test_neither_bytes_nor_tracebacks_are_read(self, staff: Client, django_assert_num_queries: Any) -> None:
        letter(0)
        for page in (ROOT, f"{ROOT}each/"):
            with django_assert_num_queries(5 if page == ROOT else 4) as asked:
                staff.get(page)
            for query in asked.captured_queries:
                assert '"raw"' not in query["sql"]
                assert '"traceback"' not in query["sql"]


class TestOne:
    def test_all_that_is_known(self, staff: Client, django_assert_max_num_queries: Any) -> None:
        row = letter(
            7, key=b"\xff\x00", headers=[["schema", "AP8="], ["note", None], ["id", "NDI="]], raw=b'{"n": "\x01"}'
        )
        found = queries(f"{ROOT}{row.pk}/", staff, django_assert_max_num_queries)
        for words in (
            "given up", "ztf_20261122[0]@7", "KeyError: 'candid'", "Traceback (most recent call last):", "key ff 00",
            "header schema 00 ff", "header note none", "header id 42", "10 bytes.", "7b 22 6e 22 3a 20 22 01 22 7d",
            '{"n": "."}', "Nobody has replayed or dismissed it.",
        ):  # fmt: skip
            assert words in found, words

    def test_the_actions_that_chose_it(self, staff: Client, django_assert_max_num_queries: Any) -> None:
        row = letter(0)
        for chosen in ({"error": "KeyError"}, {"ids": [row.pk]}, {"ids": [row.pk + 1]}, {"stream": "gcn"}):
            LetterAction.objects.create(kind="replay", who=f"{chosen}", chosen=chosen, became={"dead": 1}, total=1)
        found = queries(f"{ROOT}{row.pk}/", staff, django_assert_max_num_queries)
        assert found.count("1 failed again") == 2
        assert "gcn" not in found

    def test_a_large_one_does_not_hang_the_page(self, staff: Client, django_assert_max_num_queries: Any) -> None:
        row = letter(0, raw=b'"' + b"x" * (20 * 2**20) + b'"')
        with django_assert_max_num_queries(10) as asked:
            found = text(staff.get(f"{ROOT}{row.pk}/"))
        assert "20,971,522 bytes." in found
        # Their number and the first of them: nothing else of the bytes is asked for.
        assert sum(query["sql"].count('."raw"') for query in asked.captured_queries) == 2
        with django_assert_max_num_queries(5):
            assert "too many to be decoded on a page" in text(staff.get(f"{ROOT}{row.pk}/content/"))
        assert len(staff.get(f"{ROOT}{row.pk}/bytes/").content) == 20 * 2**20 + 2

    def test_a_tombstone(self, staff: Client) -> None:
        row = letter(0, raw=None)
        assert "It is a tombstone" in text(staff.get(f"{ROOT}{row.pk}/"))
        assert "it is a tombstone" in text(staff.get(f"{ROOT}{row.pk}/content/"))
        assert staff.get(f"{ROOT}{row.pk}/bytes/").status_code == 404

    @pytest.mark.parametrize("page", ["", "content/", "bytes/"])
    @pytest.mark.parametrize("pk", [404, 10**30])
    def test_one_that_is_not_there(self, staff: Client, page: str, pk: int) -> None:
        assert staff.get(f"{ROOT}{pk}/{page}").status_code == 404

    def test_the_content(self, staff: Client) -> None:
        row = letter(0, raw=handlers.content(candid=1, prv=[{"mag": 18.5}, None]))
        assert text(staff.get(f"{ROOT}{row.pk}/content/")) == "{ } 2 candid 1 prv [ ] 2 0 { } 1 mag 18.5 1 None"

    @pytest.mark.parametrize(
        ("values", "why"),
        [({"raw": b"{"}, "not decoded: "), ({"stream": "gone"}, "not decoded: there is no active stream gone")],
    )
    def test_content_that_cannot_be_decoded(self, staff: Client, values: dict[str, Any], why: str) -> None:
        row = letter(0, **values)
        assert text(staff.get(f"{ROOT}{row.pk}/content/")).startswith(why)


class TestActions:
    @pytest.fixture
    def pks(self) -> list[int]:
        return [letter(offset).pk for offset in range(4)]

    def run(self, client: Client, kind: str, query: str, drawn: datetime | None = None) -> LetterAction:
        answer = client.post(f"{ROOT}begin/?{query}", pressed(kind, drawn))
        action = LetterAction.objects.latest("pk")
        assert answer.headers["Location"] == f"{ROOT}actions/{action.pk}/?go=1"
        while action.finished is None:
            page = client.post(f"{ROOT}actions/{action.pk}/step/", headers={"HX-Request": "true"})
            action.refresh_from_db()
            assert page.status_code == 200
            # It asks for the next step itself.
            assert ("hx-trigger" in page.content.decode()) == (action.finished is None)
        return action

    def test_one(self, staff: Client, pks: list[int]) -> None:
        action = self.run(staff, "replay", f"letter={pks[1]}")
        assert (action.who, action.total, action.became) == ("dr.lee", 1, {"done": 1})
        assert list(Effect.objects.values_list("offset", flat=True)) == [1]

    def test_a_filter(self, staff: Client, pks: list[int]) -> None:
        letter(9, error_class="ValueError")
        action = self.run(staff, "replay", "error=KeyError&older_than=1m")
        assert action.became == {"done": 4}
        assert sorted(DeadLetter.objects.values_list("offset", "state"))[-1] == (9, "open")

    def test_dismiss(self, staff: Client, pks: list[int]) -> None:
        assert self.run(staff, "dismiss", f"letter={pks[0]}&letter={pks[3]}").became == {"dismissed": 2}
        assert [row.state for row in DeadLetter.objects.order_by("pk")] == ["dismissed", "open", "open", "dismissed"]

    def test_a_link_of_a_group_chooses_the_group(self, staff: Client, pks: list[int]) -> None:
        letter(7, handler="other.handler")  # the handler may be another one for the same code of a retry
        page = staff.get(ROOT)
        group = next(shown for shown in page.context["groups"] if shown.group.handler == "my.handler")
        assert self.run(staff, "dismiss", group.query).total == 4

    def test_what_came_of_it(self, staff: Client, pks: list[int], django_assert_max_num_queries: Any) -> None:
        handlers.trouble.append(lambda alert: alert.offset == 2 and {}["candid"])
        letter(9, topic="gcn.notices")
        action = self.run(staff, "replay", "")
        found = queries(f"{ROOT}actions/{action.pk}/", staff, django_assert_max_num_queries)
        assert "dr.lee replayed 5" in found
        assert "3 done, 1 failed again, 1 left as they were" in found
        assert "Add a key for it to TOPIC_HANDLERS." in found
        assert "5 of 5" in found
        assert "What failed again is still a dead letter: see why" in found

    def test_why_a_thousand_failed_again(
        self, staff: Client, pks: list[int], django_assert_max_num_queries: Any
    ) -> None:
        """As many as Django's admin begins with: an address with all their numbers no web server takes."""
        handlers.trouble.append(lambda alert: alert.offset == 2 and {}["candid"])
        letter(9, state="open")
        ids = (*pks, *range(10**6, 10**6 + 996))
        action = begin(LetterAction.Kind.REPLAY, "dr.lee", LetterFilter(ids=ids))
        step = staff.post(f"{ROOT}actions/{action.pk}/step/", headers={"HX-Request": "true"}).content.decode()
        link = unescape(re.search(r'href="([^"]*)">see why', step)[1])  # type: ignore[index]
        assert len(link) < 200
        with django_assert_max_num_queries(10):
            page = staff.get(link)
        assert [row.pk for row in page.context["letters"]] == [pks[2]]
        # Links and buttons of that page choose the same.
        for address in (link, link.replace("/each/", "/")):
            page = staff.get(address)
            html = page.content.decode()
            assert f"action={action.pk}" in page.context["query"]
            assert "letter=" not in html
            assert f'name="action" value="{action.pk}"' in html
        group = staff.get(f"{ROOT}?{page.context['query']}").context["groups"][0]
        assert self.run(staff, "dismiss", group.query).became == {"dismissed": 1}
        assert DeadLetter.objects.get(offset=9).state == "open"

    def test_an_action_that_names_no_letters_chooses_none(self, staff: Client, pks: list[int]) -> None:
        by_filter = begin(LetterAction.Kind.REPLAY, "dr.lee", LetterFilter())
        by_number = begin(LetterAction.Kind.REPLAY, "dr.lee", LetterFilter(ids=(pks[0],)))
        unknown = by_number.pk + 1
        queries = (f"action={by_filter.pk}", f"action={unknown}", f"action={by_number.pk}&letter={pks[1]}", "action=x")
        for query in queries:
            assert "This filter cannot be read" in text(staff.get(f"{ROOT}?{query}"))
            assert staff.post(f"{ROOT}begin/?{query}", pressed("dismiss")).status_code == 400

    def test_only_who_has_just_begun_it_goes_on_by_looking(self, staff: Client, pks: list[int], client: Client) -> None:
        begun = staff.post(f"{ROOT}begin/", pressed("replay"))
        action = LetterAction.objects.get()
        page = f"{ROOT}actions/{action.pk}/"
        running = staff.get(begun.headers["Location"]).content.decode()
        assert 'hx-trigger="load' in running
        # To stop it at once, before anything was done, is to stop it.
        assert f'id="letter-stop" href="{page}"' in running
        assert 'hx-trigger="load' not in staff.get(page).content.decode()
        page += "?go=1"
        other = Client()
        other.force_login(User.objects.create_user("dr.kim", is_staff=True))
        looked_at = other.get(page).content.decode()
        assert 'hx-trigger="load' not in looked_at
        assert "Go on" in looked_at
        LetterAction.objects.update(started=timezone.now() - timedelta(minutes=1))
        assert 'hx-trigger="load' not in staff.get(page).content.decode()
        assert DeadLetter.objects.filter(state="open").count() == 4
        # Another one of the staff may go on.
        DeadLetter.objects.update(updated_at=timezone.now() - timedelta(days=1))
        other.post(f"{ROOT}actions/{action.pk}/step/")
        assert LetterAction.objects.get().became == {"done": 4}
        assert LetterAction.objects.get().who == "dr.lee, dr.kim"

    def test_without_javascript_each_press_is_a_step(self, staff: Client, pks: list[int]) -> None:
        staff.post(f"{ROOT}begin/", pressed("replay"))
        action = LetterAction.objects.get()
        answer = staff.post(f"{ROOT}actions/{action.pk}/step/")
        assert (answer.status_code, answer.headers["Location"]) == (302, f"{ROOT}actions/{action.pk}/")
        assert "Finished at" in text(staff.get(f"{ROOT}actions/{action.pk}/"))

    def test_what_handlers_write_commits_with_each_of_them(self) -> None:
        """Also where ATOMIC_REQUESTS is set, which would make one transaction of a request."""
        assert "default" in ActionStep.as_view()._non_atomic_requests

    def test_another_page_looks_on(self, staff: Client, pks: list[int]) -> None:
        staff.post(f"{ROOT}begin/", pressed("replay"))
        LetterAction.objects.update(held_until=timezone.now() + timedelta(minutes=1))
        action = LetterAction.objects.get()
        page = staff.post(f"{ROOT}actions/{action.pk}/step/", headers={"HX-Request": "true"})
        assert "this page looks on" in text(page)
        assert 'hx-trigger="load delay:2s' in page.content.decode()

    def test_the_journal(self, staff: Client, django_assert_max_num_queries: Any) -> None:
        for number in range(130):
            LetterAction.objects.create(kind="dismiss", who=f"user {number}", total=number)
        found = queries(f"{ROOT}actions/", staff, django_assert_max_num_queries)
        assert "user 129 dismissed 129" in found
        assert "not finished" in found
        assert "Page 1 of 2" in found
        assert "user 0 dismissed 0" in queries(f"{ROOT}actions/?page=2", staff, django_assert_max_num_queries)

    @pytest.mark.parametrize("page", ["", "each/", "?stream=ztf", "each/?newer_than=99d"])
    @pytest.mark.parametrize("kind", ["replay", "dismiss"])
    def test_what_came_since_is_left(self, staff: Client, pks: list[int], page: str, kind: str) -> None:
        """A page is looked at for a while; what nobody has seen is neither dismissed nor tried."""
        form = button(staff.get(ROOT + page).content.decode(), kind)
        letter(8, first_failed_at=timezone.now())
        letter(9, first_failed_at=timezone.now(), error="another cause", fingerprint="f2")
        address = staff.post(form["address"], form["data"]).headers["Location"]
        action = LetterAction.objects.get()
        assert action.total == 4
        shown = text(staff.get(address))
        assert "Then the page with the button was drawn: letters that came since are left as they are;" in shown
        step = staff.post(f"{ROOT}actions/{action.pk}/step/", headers={"HX-Request": "true"})
        assert "4 of 4" in text(step)
        assert list(LetterAction.objects.values_list("became", flat=True)) == [
            {{"replay": "done"}.get(kind, "dismissed"): 4}
        ]
        assert list(DeadLetter.objects.filter(state="open").values_list("offset", flat=True)) == [8, 9]
        # They are what the way back leads to, and what no action has chosen.
        now = unescape(re.search(r'href="([^"]*)">see what is there now', staff.get(address).content.decode())[1])  # type: ignore[index]
        assert sum(shown.group.count for shown in staff.get(now).context["groups"]) == 2
        left = DeadLetter.objects.get(offset=8)
        assert "Nobody has replayed or dismissed it." in text(staff.get(f"{ROOT}{left.pk}/"))

    def test_ages_end_when_the_page_was_drawn(self, staff: Client, pks: list[int]) -> None:
        drawn = timezone.now() - timedelta(minutes=20)
        letter(8, first_failed_at=drawn - timedelta(minutes=50))  # was too young to be shown
        letter(9, first_failed_at=drawn - timedelta(minutes=70))
        action = self.run(staff, "dismiss", "older_than=1h", drawn)
        assert action.became == {"dismissed": 5}
        assert DeadLetter.objects.get(offset=8).state == "open"

    def test_what_failed_again_is_shown_without_what_came_since(self, staff: Client, pks: list[int]) -> None:
        handlers.trouble.append(lambda alert: alert.offset == 2 and {}["candid"])
        action = self.run(staff, "replay", "stream=ztf")
        letter(9, first_failed_at=timezone.now())
        link = re.search(r'href="([^"]*)">see why', staff.get(f"{ROOT}actions/{action.pk}/").content.decode())
        page = staff.get(unescape(link[1]))  # type: ignore[index]
        assert [row.pk for row in page.context["letters"]] == [pks[2]]
        assert "Shown: stream ztf, first failed by 20" in text(page)
        # Of two pages the earlier one counts, however its buttons are pressed.
        chosen = LetterFilter.from_json(action.chosen)
        later = self.run(staff, "dismiss", query_of(chosen))
        assert LetterFilter.from_json(later.chosen) == chosen
        assert later.became == {"dismissed": 1}

    def test_one_by_its_number_needs_no_moment(self, staff: Client, pks: list[int]) -> None:
        """The clock of the reader may be ahead: what is seen on the page of a letter is that letter."""
        row = letter(9, first_failed_at=timezone.now() + timedelta(minutes=5))
        assert self.run(staff, "dismiss", f"letter={row.pk}").became == {"dismissed": 1}
        assert "letters that came since" not in text(staff.get(f"{ROOT}actions/{LetterAction.objects.get().pk}/"))

    @pytest.mark.parametrize(
        "moment",
        [
            None, "", "x", "\0", "2026", "²", "2026-11-22", "2026-11-22T03:12:00", "2026-11-22T03:12:00+01:00",
            "0001-01-01T00:00:00+00:00", "1999-12-31T00:00:00+00:00", "9999-12-31T23:59:59+00:00",
            "2026-13-01T00:00:00+00:00", "1" * 10_000, "<script>alert(1)</script>", "{later}",
        ],
    )  # fmt: skip
    def test_a_moment_that_cannot_be_is_refused(self, staff: Client, pks: list[int], moment: str | None) -> None:
        data = {"kind": "dismiss"}
        if moment is not None:
            later = timezone.now() + timedelta(minutes=2)
            data["seen_until"] = moment.replace("{later}", later.isoformat())
        for query in ("", "older_than=99999d", f"letter={pks[0]}"):
            answer = staff.post(f"{ROOT}begin/?{query}", data)
            assert (answer.status_code, answer.headers["Content-Type"]) == (400, "text/plain")
            assert answer.content.decode() == (
                "It cannot be told when the page with this button was drawn, so nothing was done. "
                "Load that page again, and press the button there."
            )
        assert not LetterAction.objects.exists()

    @pytest.mark.parametrize("moment", ["x", "2026-11-22T03:12:00", "9999-12-31T23:59:59+00:00"])
    def test_a_moment_in_an_address_is_checked_too(self, staff: Client, pks: list[int], moment: str) -> None:
        assert "Its address is not whole." in text(staff.get(ROOT, {"seen_until": moment}))
        assert staff.post(f"{ROOT}begin/?seen_until={moment}", pressed("dismiss")).status_code == 400
        assert not LetterAction.objects.exists()

    def test_unknown_kinds_are_refused(self, staff: Client, pks: list[int]) -> None:
        assert staff.post(f"{ROOT}begin/", pressed("delete")).status_code == 400
        assert staff.post(f"{ROOT}begin/").status_code == 400
        assert not LetterAction.objects.exists()

    def test_one_that_is_not_there(self, staff: Client) -> None:
        assert staff.get(f"{ROOT}actions/404/").status_code == 404
        assert staff.post(f"{ROOT}actions/404/step/").status_code == 404


def test_the_tab_is_for_staff(staff: Client, settings: Any) -> None:
    assert f'href="{ROOT}"' in staff.get("/alertstreams/").content.decode()
    user = Client()
    user.force_login(User.objects.create_user("astronomer"))
    assert f'href="{ROOT}"' not in user.get("/alertstreams/").content.decode()


def test_unsettled_states_are_what_is_shown_at_first() -> None:
    assert set(UNSETTLED) == {"open", "waiting"}


def test_the_longest_names_fit_into_the_index_of_causes() -> None:
    """A letter that could not be stored would be lost; PostgreSQL takes 2,704 bytes."""
    names = "".join(chr(0x4E00 + 7 * number) for number in range(1000))  # of three bytes each, and nothing to compress
    letter(
        0, stream=names[:100], topic="t" * 249, handler=names[100:355], error_class=names[355:610], fingerprint="f" * 64
    )
    assert DeadLetter.objects.get().error_class == names[355:610]
