"""Our rows in Django's admin: looked at, never edited, however many and large; dead letters are replayed from there."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timezone
from typing import Any

import pytest
from django.apps import apps
from django.contrib.admin import site
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from guardian.shortcuts import assign_perm
from tom_targets.models import Target, TargetName

from alerce_stream.models import LightCurveFetch
from apf_bridge.models import OutboxMessage, Outlet
from tests.letters import letter
from tests.streams import entry
from tom_alertstreams import admin, read_only_admin
from tom_alertstreams.ingest.models import Classification, TargetAlert, TargetPosition
from tom_alertstreams.models import (
    Alarm,
    DeadLetter,
    Installation,
    LetterAction,
    OutcomeCount,
    Rejection,
    StreamPartition,
    StreamRun,
    SubscribedKey,
)

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

NOW = datetime(2026, 11, 22, 3, 40, tzinfo=timezone.utc)
MODELS = [
    model
    for label in ("tom_alertstreams", "tom_alertstreams_ingest", "alerce_stream", "apf_bridge")
    for model in apps.get_app_config(label).get_models()
]
EVIL = "<script>alert(1)</script>"
PASSWORD = "correct-horse-battery"


#: A Django project that is no TOM: nothing of what the toolkit brings is there.
ELSEWHERE = """
import django
from django.conf import settings
from tests.acceptance import web_settings

given = {name: value for name, value in vars(web_settings).items() if name.isupper()}
given["INSTALLED_APPS"] += ["django.contrib.admin", "django.contrib.messages"]
settings.configure(**given)
django.setup()
from django.contrib.admin import autodiscover, site
autodiscover()
print(sorted(model._meta.label for model in site._registry))
"""


@pytest.fixture
def staff(client: Client, settings: Any) -> Client:
    settings.ALERT_STREAMS = [
        entry("127.0.0.1:1", "group", {"ztf_*": "one"}, label="ztf", CONFIG={"ssl.key.password": PASSWORD})
    ]
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.fixture
def rows() -> dict[Any, Any]:
    """One row of each table, with what a stranger and a careless handler have put into it."""
    target = Target.objects.create(name="ZTF26aaaaaaa", type="SIDEREAL", ra=150.0, dec=20.0)
    evil = f"{EVIL} {PASSWORD}"
    place = {"topic": EVIL, "partition": 0, "offset": 1}
    position = TargetPosition.objects.filter(target_id=target.pk).first()
    made = [
        letter(0, error=evil, traceback=evil, headers=[[evil, None]], key=EVIL.encode(), raw=b"x" * 5_000_000),
        LetterAction.objects.create(kind="replay", who=EVIL, left={evil: 1}, started=NOW),
        StreamPartition.objects.create(cluster="c", group_id=EVIL, topic=EVIL, partition=0, next_offset=7),
        SubscribedKey.objects.create(cluster="c", group_id=EVIL, key=EVIL),
        StreamRun.objects.create(stream="ztf", reason=evil, last_error=evil, host=EVIL, pid=1, started=NOW),
        Alarm.objects.create(stream="ztf", kind="down", reason=evil),
        OutcomeCount.objects.create(stream="ztf", topic=EVIL, hour=NOW, outcome="done", code="", n=3),
        Rejection.objects.create(stream="ztf", object_id=EVIL, code="sky", **place),
        Installation.current(),
        TargetAlert.objects.create(
            stream="ztf", alert_id="1", object_id=EVIL, target_id=target.pk, summary=EVIL, **place
        ),
        Classification.objects.create(
            object_id=EVIL, target_id=target.pk, alert_id="1", classifier=EVIL, class_name=EVIL, features={EVIL: evil}
        ),
        position or TargetPosition.objects.create(target_id=target.pk, ra=150.0, dec=20.0, cell=1),
        LightCurveFetch.objects.create(target_id=target.pk, object_id=EVIL, asked_at=NOW, problem=evil),
    ]
    outlet = Outlet.objects.create(name=EVIL)
    made += [
        outlet,
        OutboxMessage.objects.create(
            outlet=outlet,
            producer=EVIL,
            topic=EVIL,
            key=b"k",
            value=b"x" * 5_000_000,
            headers=[[EVIL, None]],
            last_error=evil,
        ),
    ]
    return {type(row): row for row in made}


def test_every_table_is_there(rows: dict[Any, Any]) -> None:
    assert set(MODELS) == set(rows)
    assert [model for model in MODELS if not site.is_registered(model)] == []


def test_in_a_project_that_is_no_tom() -> None:
    done = subprocess.run([sys.executable, "-c", ELSEWHERE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "tom_alertstreams.DeadLetter" in done.stdout
    assert "apf_bridge.OutboxMessage" in done.stdout


@pytest.mark.parametrize("model", MODELS)
def test_looked_at_and_never_edited(
    staff: Client, rows: dict[Any, Any], model: Any, django_assert_max_num_queries: Any
) -> None:
    row, name = rows[model], f"admin:{model._meta.app_label}_{model._meta.model_name}"
    for address in (reverse(f"{name}_changelist"), reverse(f"{name}_change", args=[row.pk])):
        with django_assert_max_num_queries(10) as asked:
            page = staff.get(address)
        assert page.status_code == 200
        shown = page.content.decode()
        assert EVIL not in shown
        assert PASSWORD not in shown
        assert len(shown) < 100_000
        for query in asked.captured_queries:  # bytes are counted, not read
            for column in ('."raw"', '."value"'):
                assert query["sql"].count(column) == query["sql"].count(f'LENGTH("{model._meta.db_table}"{column})')
    before = list(model.objects.values())
    for address in (
        reverse(f"{name}_add"), reverse(f"{name}_delete", args=[row.pk]), reverse(f"{name}_change", args=[row.pk])
    ):  # fmt: skip
        staff.post(address, {"post": "yes"})
    staff.post(
        reverse(f"{name}_changelist"), {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"}
    )
    assert list(model.objects.values()) == before


@pytest.mark.parametrize("model", MODELS)
def test_filters_and_searches(staff: Client, rows: dict[Any, Any], model: Any) -> None:
    address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    for query in ("?q=ZTF26aaaaaaa", "?stream=ztf", "?all="):
        assert staff.get(address + query, follow=True).status_code == 200


@pytest.mark.parametrize("model", [TargetAlert, Classification, TargetPosition, LightCurveFetch])
def test_staff_see_of_targets_what_the_tom_shows_them(rows: dict[Any, Any], model: Any) -> None:
    """Whoever may look at a table, but not at every Target."""
    name = f"{model._meta.app_label}_{model._meta.model_name}"
    user, client = User.objects.create_user("clerk", is_staff=True), Client()
    user.user_permissions.add(Permission.objects.get(codename=f"view_{model._meta.model_name}"))
    client.force_login(user)
    lists = reverse(f"admin:{name}_changelist")
    found = (lists, f"{lists}?q=ZTF26aaaaaaa")
    page = reverse(f"admin:{name}_change", args=[rows[model].pk])
    for permissions, shown in (("PRIVATE", False), ("PUBLIC", True)):
        Target.objects.update(permissions=permissions)
        for address in found:
            assert (page in client.get(address).content.decode()) == shown, address
        assert (client.get(page).status_code == 200) == shown
    Target.objects.update(permissions="PRIVATE")
    assign_perm("tom_targets.view_target", user, Target.objects.get())
    assert client.get(page).status_code == 200


def test_a_second_candidate_is_named_to_who_may_see_it(rows: dict[Any, Any]) -> None:
    """Another Target that was within the match radius."""
    Target.objects.update(permissions="PUBLIC")
    hidden = Target.objects.create(name="SN 2026hidden", type="SIDEREAL", ra=1, dec=1, permissions="PRIVATE")
    TargetAlert.objects.update(second_candidate=hidden)
    user, client = User.objects.create_user("clerk", is_staff=True), Client()
    user.user_permissions.add(Permission.objects.get(codename="view_targetalert"))
    client.force_login(user)
    page = reverse("admin:tom_alertstreams_ingest_targetalert_change", args=[rows[TargetAlert].pk])
    assert "2026hidden" not in client.get(page).content.decode()
    assign_perm("tom_targets.view_target", user, hidden)
    assert "2026hidden" in client.get(page).content.decode()


class TestAmongMillions:
    ADDRESS = "/admin/tom_alertstreams/rejection/"

    @pytest.fixture(autouse=True)
    def _few(self, monkeypatch: Any) -> None:
        """Three of five rows are the newest; two are listed, a page for each."""
        monkeypatch.setattr(site._registry[Rejection], "list_per_page", 1)
        monkeypatch.setattr(read_only_admin, "NEWEST", 3)
        monkeypatch.setattr(read_only_admin, "LISTED", 2)
        for number in range(5):
            stream = "old" if number < 2 else "ztf"
            Rejection.objects.create(
                stream=stream, topic="a", partition=0, offset=number, object_id=f"ZTF{number}", code="sky"
            )

    def shown(self, client: Client, query: str = "") -> tuple[list[str], str]:
        """Objects of a page, and the line that says what is left out."""
        context = client.get(self.ADDRESS + query).context
        return [row.object_id for row in context["cl"].result_list], context["subtitle"] or ""

    def test_a_list_counts_few_rows_and_says_so(self, staff: Client, django_assert_max_num_queries: Any) -> None:
        with django_assert_max_num_queries(10) as asked:
            assert self.shown(staff) == (["ZTF4"], "The newest 2; there are more")
        counts = [query["sql"] for query in asked.captured_queries if "COUNT(" in query["sql"]]
        assert counts
        assert all("LIMIT 3" in sql for sql in counts)
        assert self.shown(staff, "?p=2")[0] == ["ZTF3"]
        assert staff.get(f"{self.ADDRESS}?p=3").headers["Location"].endswith("?e=1")

    def test_a_filter_looks_through_the_newest_and_says_so(self, staff: Client) -> None:
        told = "Of the newest 3 rows; for older ones search"
        assert self.shown(staff, "?code=sky&offset=2") == (["ZTF2"], told)
        assert self.shown(staff, "?offset=1") == ([], told)
        page = staff.get(f"{self.ADDRESS}?offset=1").content.decode()
        assert told in page
        assert "_facets" not in page

    def test_a_search_finds_what_is_older(self, staff: Client) -> None:
        assert self.shown(staff, "?q=ZTF0") == (["ZTF0"], "")
        Rejection.objects.update(object_id="ZTF0")
        assert self.shown(staff, "?q=ZTF0") == (["ZTF0"], "The newest 2; there are more")

    def test_a_search_is_for_the_whole_term(self, staff: Client) -> None:
        Rejection.objects.filter(offset=0).update(object_id="GRB 261125A")
        assert self.shown(staff, "?q=GRB 261125A") == (["GRB 261125A"], "")
        assert self.shown(staff, "?q=261125A") == ([], "")

    def test_what_no_row_can_have_is_in_none(self, staff: Client) -> None:
        """PostgreSQL refuses a text with this character."""
        for query in ("stream=%00", "code=%00", "object_id__exact=a%00"):
            assert self.shown(staff, f"?{query}")[0] == []

    def test_nothing_is_said_where_nothing_is_left_out(self, staff: Client) -> None:
        Rejection.objects.filter(offset__lt=3).delete()
        assert self.shown(staff) == (["ZTF4"], "")


@pytest.mark.parametrize("model", [TargetAlert, Classification, TargetPosition, LightCurveFetch])
def test_a_search_is_for_a_target_or_an_id_and_served_by_indexes(
    staff: Client, rows: dict[Any, Any], model: Any, django_assert_max_num_queries: Any
) -> None:
    TargetName.objects.create(target=Target.objects.get(), name="SN 2026abc")
    lists = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    own = [
        getattr(rows[model], field)
        for field in ("object_id", "alert_id")
        if field in site._registry[model].search_fields
    ]
    for term in ("ZTF26aaaaaaa", " SN 2026abc ", *own):
        with django_assert_max_num_queries(10) as asked:
            assert [row.pk for row in staff.get(lists, {"q": term}).context["cl"].result_list] == [rows[model].pk], term
        for query in asked.captured_queries:  # no index serves an OR over two tables
            assert not (f'FROM "{model._meta.db_table}"' in query["sql"] and '"."name" =' in query["sql"])
    for term in ("SN", "2026abc", "ZTF26aaaaaaa SN", "ztf26aaaaaab"):
        assert not staff.get(lists, {"q": term}).context["cl"].result_list, term


class TestActions:
    ADDRESS = "/admin/tom_alertstreams/deadletter/"

    def test_lead_to_the_page_that_does_it(self, staff: Client) -> None:
        pks = [letter(offset).pk for offset in range(3)]
        answer = staff.post(self.ADDRESS, {"action": "replay_them", "_selected_action": pks[:2]})
        action = LetterAction.objects.get()
        assert (action.kind, action.who, action.total) == ("replay", "root", 2)
        assert action.chosen["ids"] == pks[:2]
        assert answer.headers["Location"] == f"/alertstreams/deadletters/actions/{action.pk}/?go=1"
        assert set(DeadLetter.objects.values_list("state", flat=True)) == {"open"}
        staff.post(self.ADDRESS, {"action": "dismiss_them", "_selected_action": pks[2:]})
        assert LetterAction.objects.latest("pk").kind == "dismiss"

    def test_all_are_chosen_by_a_filter(self, staff: Client) -> None:
        """The admin would take what came after its page was drawn too, which nobody has seen."""
        pks = [letter(offset).pk for offset in range(60)]
        data = {"action": "dismiss_them", "_selected_action": pks[:50], "select_across": "1"}
        letter(60, error_class="ValueError")
        page = staff.post(self.ADDRESS, data, follow=True).content.decode()
        assert "Choose all of them by a filter: /alertstreams/deadletters/" in page
        assert not LetterAction.objects.exists()

    @pytest.mark.parametrize("kind", ["replay_them", "dismiss_them"])
    def test_of_letters_that_are_gone_are_not_of_all_letters(self, staff: Client, kind: str) -> None:
        letter(0)
        handled = letter(1, state="waiting")
        waiting = f"{self.ADDRESS}?state__exact=waiting"
        data = {"action": kind, "_selected_action": [handled.pk]}
        handled.delete()
        page = staff.post(waiting, data, follow=True).content.decode()
        assert "None of these is there any more" in page
        assert not LetterAction.objects.exists()

    def test_are_not_there_without_the_pages(self, staff: Client, monkeypatch: Any) -> None:
        """In a Django project that is no TOM."""
        row = letter(0)
        monkeypatch.setattr(admin, "_page", lambda *args: None)
        assert "replay_them" not in staff.get(self.ADDRESS).content.decode()
        assert staff.get(f"{self.ADDRESS}{row.pk}/change/").status_code == 200
        staff.post(self.ADDRESS, {"action": "replay_them", "_selected_action": [row.pk]})
        assert not LetterAction.objects.exists()

    def test_are_for_whoever_may_see_dead_letters(self) -> None:
        row = letter(0)
        client, user = Client(), User.objects.create_user("clerk", is_staff=True)
        client.force_login(user)
        data = {"action": "replay_them", "_selected_action": [row.pk]}
        client.post(self.ADDRESS, data)
        assert not LetterAction.objects.exists()
        user.user_permissions.add(Permission.objects.get(codename="view_deadletter"))
        client.post(self.ADDRESS, data)
        assert LetterAction.objects.get().who == "clerk"
