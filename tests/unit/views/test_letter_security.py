"""Dead letters hold what strangers have sent: it stays text. Only staff see and touch them, and only by POST with a token."""

from __future__ import annotations

import base64
import json
import re
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.letters import letter, pressed
from tests.secret import PASSWORD
from tests.streams import entry
from tom_alertstreams.models import DeadLetter, LetterAction

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_handlers")]

ROOT = "/alertstreams/deadletters/"
EVIL = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7|add:7 }}"
PAGES = ["", "each/", "{letter}/", "{letter}/content/", "{letter}/bytes/", "actions/", "actions/{action}/"]
ASKED = ["?text={evil}", "each/?text={evil}", "?stream={evil}&older_than={evil}"]
POSTS = ["begin/?letter={letter}", "actions/{action}/step/"]
#: Where one posts to → the page for whoever comes there from a login.
AFTER_LOGIN = [
    ("begin/?letter={letter}", "?letter={letter}"),
    ("begin/?stream=a%26b&topic=ztf_*", "?stream=a%26b&topic=ztf_*"),
    ("begin/", ""),
    ("actions/{action}/step/", "actions/{action}/"),
]


@pytest.fixture
def rows() -> dict[str, int]:
    row = letter(0, raw=json.dumps({"objectId": "ZTF26aaaaaaa"}).encode())
    action = LetterAction.objects.create(
        kind="replay", who="dr.lee", chosen={"ids": [row.pk], "states": ["open"]}, total=1
    )
    return {"letter": row.pk, "action": action.pk}


@pytest.fixture
def staff(client: Client) -> Client:
    client.force_login(User.objects.create_user("dr.lee", is_staff=True))
    return client


def state_of_things() -> list[Any]:
    return [list(model.objects.order_by("pk").values()) for model in (DeadLetter, LetterAction)]


class TestOnlyStaff:
    @pytest.mark.parametrize("strategy", ["READ_ONLY", "LOCKED"])
    @pytest.mark.parametrize("who", ["anonymous", "user", "inactive"])
    @pytest.mark.parametrize("page", [*PAGES, *POSTS])
    def test_nobody_else(
        self, client: Client, rows: dict[str, int], settings: Any, strategy: str, who: str, page: str
    ) -> None:
        settings.AUTH_STRATEGY = strategy
        if who != "anonymous":
            user = User.objects.create_user("astronomer", is_active=who != "inactive")
            client.force_login(user)
        before = state_of_things()
        for method in ("get", "head", "post", "put", "patch", "delete", "options"):
            data = pressed("replay") if method == "post" else None
            answer = getattr(client, method)(ROOT + page.format(**rows), data)
            assert answer.status_code == 302, method
            assert answer.headers["Location"].startswith("/accounts/login/")
            assert b"ZTF26aaaaaaa" not in answer.content
        assert state_of_things() == before

    @pytest.mark.parametrize("page", PAGES)
    def test_looking_changes_nothing(self, staff: Client, rows: dict[str, int], page: str, settings: Any) -> None:
        settings.ALERT_STREAMS = [entry("127.0.0.1:1", "group", {"ztf_*": "one"}, label="ztf")]
        before = state_of_things()
        address = ROOT + page.format(**rows)
        for query in ("", "?kind=replay", "?kind=dismiss&go=1"):
            assert staff.get(address + query).status_code == 200
        assert state_of_things() == before

    @pytest.mark.parametrize("page", POSTS)
    @pytest.mark.parametrize("method", ["get", "head", "put", "patch", "delete"])
    def test_only_a_post_changes_anything(self, staff: Client, rows: dict[str, int], page: str, method: str) -> None:
        before = state_of_things()
        assert getattr(staff, method)(ROOT + page.format(**rows)).status_code == 405
        assert state_of_things() == before

    @pytest.mark.parametrize(("page", "instead"), AFTER_LOGIN)
    @pytest.mark.parametrize("headers", [{}, {"HX-Request": "true"}])
    def test_after_a_login_stands_what_was_done(
        self, client: Client, rows: dict[str, int], page: str, instead: str, headers: dict[str, str]
    ) -> None:
        """Where a session is over: to the address of a POST a login leads in vain."""
        before = state_of_things()
        answer = client.post(ROOT + page.format(**rows), pressed("replay"), headers=headers)
        to = answer.headers["HX-Redirect" if headers else "Location"]
        assert state_of_things() == before
        assert "You were logged out" in client.get(to).content.decode()
        assert parse_qs(urlsplit(to).query)["next"] == [ROOT + instead.format(**rows)]
        client.force_login(User.objects.create_user("dr.lee", is_staff=True))
        assert client.get(ROOT + instead.format(**rows)).status_code == 200
        assert state_of_things() == before

    def test_a_login_elsewhere_leads_back_to_this_site(
        self, client: Client, rows: dict[str, int], settings: Any
    ) -> None:
        settings.LOGIN_URL = "https://login.example.org/"
        to = client.post(f"{ROOT}begin/?stream=ztf", pressed("replay")).headers["Location"]
        assert to.startswith("https://login.example.org/?")
        assert parse_qs(urlsplit(to).query)["next"] == [f"http://testserver{ROOT}?stream=ztf"]

    @pytest.mark.parametrize(("page", "instead"), AFTER_LOGIN)
    def test_who_was_led_to_the_address_of_a_post_finds_the_page(
        self, staff: Client, rows: dict[str, int], page: str, instead: str
    ) -> None:
        answer = staff.get(ROOT + page.format(**rows))
        assert answer.status_code == 405
        assert answer.headers["Allow"] == "POST, OPTIONS"
        link = re.search(r'<a href="([^"]*)">on this page</a>', answer.content.decode())
        assert link
        assert unescape(link[1]) == ROOT + instead.format(**rows)
        assert staff.get(unescape(link[1])).status_code == 200

    @pytest.mark.parametrize("page", POSTS)
    def test_without_a_token_nothing_is_done(self, rows: dict[str, int], page: str) -> None:
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(User.objects.create_user("dr.lee", is_staff=True))
        before = state_of_things()
        for headers in ({}, {"HX-Request": "true"}):
            strict.post(ROOT + page.format(**rows), pressed("replay"), headers=headers)
            assert state_of_things() == before
        shown = strict.get(ROOT).content.decode()
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', shown)
        assert token
        strict.post(ROOT + page.format(**rows), {**pressed("dismiss"), "csrfmiddlewaretoken": token[1]})
        assert state_of_things() != before


class TestTextStaysText:
    @pytest.fixture
    def evil(self, settings: Any) -> dict[str, int]:
        """Everything that strangers, users and settings can put into a letter."""
        label = EVIL[:100]
        settings.ALERT_STREAMS = [entry("127.0.0.1:1", "group", {"*": "one"}, label=label)]
        encoded = base64.b64encode(EVIL.encode()).decode()
        row = letter(
            0, stream=label, cluster=EVIL[:64], group_id=EVIL, topic=EVIL, handler=EVIL, error_class=EVIL, error=EVIL,
            traceback=EVIL, fingerprint=EVIL[:64], key=EVIL.encode(), headers=[[EVIL, encoded]],
            raw=json.dumps({EVIL: [EVIL, {"deep": EVIL}]}).encode(),
        )  # fmt: skip
        action = LetterAction.objects.create(
            kind="replay", who=EVIL, total=1, left={EVIL: 1},
            chosen={"topic": EVIL, "text": EVIL, "stream": label, "states": ["open"], "ids": [row.pk]},
        )  # fmt: skip
        return {"letter": row.pk, "action": action.pk}

    @pytest.mark.parametrize("page", [*PAGES[:4], *PAGES[5:], *ASKED])
    def test_on_every_page(self, staff: Client, evil: dict[str, int], page: str) -> None:
        answer = staff.get(ROOT + page.format(**evil, evil="%22%3E%3Cscript%3Ealert(1)%3C/script%3E"))
        assert answer.status_code == 200
        shown = answer.content.decode()
        assert "&lt;script&gt;alert(1)" in shown
        for markup in ("<script>alert", "<img src=x", "\"'>", "14}}", ">14<"):
            assert markup not in shown, markup

    def test_in_a_step(self, staff: Client, evil: dict[str, int]) -> None:
        shown = staff.post(f"{ROOT}actions/{evil['action']}/step/", headers={"HX-Request": "true"}).content.decode()
        assert "&lt;script&gt;alert(1)" in shown
        assert "<script>alert" not in shown

    def test_bytes_are_a_file_with_a_name_of_ours(self, staff: Client, evil: dict[str, int]) -> None:
        answer = staff.get(f"{ROOT}{evil['letter']}/bytes/")
        assert answer.content == bytes(DeadLetter.objects.get().raw)
        told = answer.headers
        assert told["Content-Type"] == "application/octet-stream"
        assert told["Content-Disposition"] == f'attachment; filename="dead-letter-{evil["letter"]}.bin"'
        assert told["X-Content-Type-Options"] == "nosniff"
        assert told["Content-Security-Policy"] == "sandbox; default-src 'none'"

    def test_a_link_of_theirs_is_no_link(self, staff: Client, rows: dict[str, int]) -> None:
        DeadLetter.objects.update(error="javascript:alert(1)", topic="//evil.example/")
        shown = staff.get(f"{ROOT}{rows['letter']}/").content.decode()
        assert not re.search(r'(href|src|action|hx-get|hx-post)="(javascript:|//)', shown)


class TestSecrets:
    @pytest.mark.parametrize("page", [*PAGES[:4], *PAGES[5:]])
    def test_are_blanked(self, staff: Client, settings: Any, page: str) -> None:
        """Also those that a stream of other settings has stored, before this process has made any stream."""
        settings.ALERT_STREAMS = [entry("127.0.0.1:1", "group", {"*": "one"}, label="ztf")]
        encoded = base64.b64encode(f"token {PASSWORD}".encode()).decode()
        told = f"refused: {PASSWORD}"
        row = letter(
            0, error=told, traceback=told, key=told.encode(), headers=[["Authorization", encoded]],
            raw=json.dumps({PASSWORD: [PASSWORD]}).encode(),
        )  # fmt: skip
        action = LetterAction.objects.create(kind="replay", who="dr.lee", total=1, left={told: 1})
        shown = staff.get(ROOT + page.format(letter=row.pk, action=action.pk)).content.decode()
        assert PASSWORD not in shown
        LetterAction.objects.all().delete()
        row.delete()
