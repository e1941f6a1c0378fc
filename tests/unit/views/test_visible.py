"""An alert of a Target that a user may not see is nowhere: not in the list, its file, the map, the search, or the tab."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, Group, User
from django.test import Client
from guardian.shortcuts import assign_perm
from tom_targets.models import Target, TargetName
from tom_targets.permissions import targets_for_user

from tests.unit.views.rows import a_class, a_rejection, a_target, an_alert
from tom_alertstreams.ingest.visible import Visible

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
OURS, SECRET = "ZTF26aaaours", "ZTF26asecret"
#: Every address that could tell of it. The last ones ask for it by name, which the page may say again.
ADDRESSES = ("alerts/", "alerts.csv", "sky/points.json")
SEARCHES = tuple(
    address.format(SECRET)
    for address in ("alerts/?object={}", "alerts/?target={}-t", "rejections/?object={}", "alerts.csv?object={}")
)


@pytest.fixture(params=[True, False], ids=["permissions of targets only", "permissions of data too"])
def secret(request: pytest.FixtureRequest, settings: Any) -> Any:
    """A Target of a group of others, with an alert, beside one that everybody with an account may see."""
    settings.TARGET_PERMISSIONS_ONLY = request.param
    an_alert(OURS, a_target(f"{OURS}-t", "PUBLIC"))
    target = a_target(f"{SECRET}-t", "PRIVATE", ra=210.0)
    TargetName.objects.create(target=target, name=SECRET)  # as ingest does
    alert = an_alert(SECRET, target, ra=210.0, summary="secret summary")
    a_class(alert, "SecretClass")
    return target


def told(client: Client, address: str) -> str:
    answer = client.get(f"/alertstreams/{address}")
    assert answer.status_code == 200
    content = b"".join(answer.streaming_content) if answer.streaming else answer.content  # type: ignore[arg-type]
    return re.sub(r'(csrf[^>]* value=")\w+', r"\1", content.decode())


def is_told(client: Client, target: Any) -> bool:
    """Whether any page shows it; they are of one mind."""
    shown = {address: SECRET in told(client, address) for address in ADDRESSES}
    for address in SEARCHES:
        text = told(client, address)
        shown[address] = "secret summary" in text or f"/targets/{target.pk}/" in text
    shown["class"] = "SecretClass" in told(client, "sky/points.json?colour=class")
    found = set(shown.values())
    assert len(found) == 1, shown
    return found.pop()


def logged_in(**fields: Any) -> tuple[Client, User]:
    client, user = Client(), User.objects.create_user(f"user-{User.objects.count()}", **fields)
    client.force_login(user)
    return client, user


def test_nobody_but_who_may_see_the_target(secret: Any) -> None:
    assert not is_told(logged_in()[0], secret)
    assert not is_told(logged_in(is_staff=True)[0], secret)
    client, user = logged_in()
    group = Group.objects.create(name="those who know")
    assign_perm("tom_targets.view_target", group, Target.objects.get(pk=secret.pk))
    assert not is_told(client, secret)
    user.groups.add(group)
    assert is_told(client, secret)
    client, user = logged_in()
    assign_perm("tom_targets.view_target", user, Target.objects.get(pk=secret.pk))
    assert is_told(client, secret)
    assert is_told(logged_in(is_superuser=True)[0], secret)


def test_it_says_what_the_toolkit_says(secret: Any) -> None:
    a_target("open", "OPEN")
    _, granted = logged_in()
    assign_perm("tom_targets.view_target", granted, Target.objects.get(pk=secret.pk))
    _, everywhere = logged_in()
    assign_perm("tom_targets.view_target", everywhere)
    seen = set()
    for user in (AnonymousUser(), logged_in()[1], granted, everywhere, logged_in(is_superuser=True)[1]):
        expected = targets_for_user(user, Target.objects.all(), "view_target")
        assert set(Visible(user).targets) == set(expected)
        of_alerts = Visible(user).alerts.exclude(target=None).values_list("target", flat=True)
        assert set(of_alerts) == set(expected.exclude(name="open").values_list("pk", flat=True))
        seen.add(frozenset(expected))
    assert len(seen) == 3


def test_who_is_not_logged_in_sees_what_is_open(secret: Any) -> None:
    visitor = Client()
    assert not is_told(visitor, secret)
    assert OURS not in told(visitor, "alerts/")
    assert json.loads(told(visitor, "sky/points.json"))["object"] == []
    an_alert("ZTF26aaopen", a_target("open", "OPEN"))
    assert "ZTF26aaopen" in told(visitor, "alerts/")


def test_a_search_for_it_says_what_one_for_nothing_says(secret: Any) -> None:
    client, _ = logged_in()
    nothing = told(client, "rejections/?object=NOBODY").replace("NOBODY", SECRET)
    assert told(client, f"rejections/?object={SECRET}") == nothing
    nothing = told(client, "alerts/?object=NOBODY").replace("NOBODY", SECRET)
    assert told(client, f"alerts/?object={SECRET}") == nothing
    nothing = told(client, "alerts/?target=NOBODY").replace("NOBODY", f"{SECRET}-t")
    assert told(client, f"alerts/?target={SECRET}-t") == nothing


def test_what_has_no_target_is_for_whoever_sees_the_pages(secret: Any) -> None:
    an_alert("GRB 1", retraction=True)
    a_rejection("ZTF26rejected")
    for client in (logged_in()[0], Client()):
        for object_id in ("GRB 1", "ZTF26rejected"):
            assert object_id in told(client, "alerts/")
    assert "it has no class that is wanted" in told(Client(), "rejections/?object=ZTF26rejected")


def test_the_tab_is_of_the_targets_page_and_names_no_other_target(secret: Any, settings: Any) -> None:
    ours = Target.objects.get(name=f"{OURS}-t")
    an_alert("ZTF26near", ours, match_method="position", separation_arcsec=0.5, second_candidate_id=secret.pk)
    client, user = logged_in()
    page = client.get(f"/targets/{ours.pk}/").content.decode()
    tab = page.partition('id="alerts">')[2].partition('<div class="tab-pane"')[0]
    assert "ZTF26near" in tab
    assert SECRET not in page
    assert "also near" not in tab
    assert client.get(f"/targets/{secret.pk}/").status_code in (302, 403, 404)
    assign_perm("tom_targets.view_target", user, Target.objects.get(pk=secret.pk))
    assert (
        f'also near <a href="/targets/{secret.pk}/">{SECRET}-t</a>'
        in client.get(f"/targets/{ours.pk}/").content.decode()
    )


def test_a_locked_tom_shows_visitors_nothing(secret: Any, settings: Any) -> None:
    settings.AUTH_STRATEGY = "LOCKED"
    visitor = Client()
    for address in (*ADDRESSES, *SEARCHES, "sky/", "rates/", "rejections/"):
        assert visitor.get(f"/alertstreams/{address}").status_code in (302, 403)
