"""What holds for every template: nothing comes from other servers, no script stands in an attribute, and no number in one
is written as people of some country write it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.utils import timezone

from tests import busy_night
from tests.busy_streams import STREAMS
from tests.our_pages import pages
from tom_alertstreams.models import LetterAction
from tom_alertstreams.views import letters

ROOT = Path(__file__).resolve().parents[3]
TEMPLATES = sorted(
    template for app in ("tom_alertstreams", "alerce_stream", "apf_bridge") for template in (ROOT / app).rglob("*.html")
)


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_no_strangers_and_no_inline_handlers(template: Path) -> None:
    text = template.read_text()
    assert not re.search(r"""(?:src|@import|url\()\s*=?\s*["'(]?\s*(?:https?:)?//""", text)
    assert not re.search(r"<link[^>]*href=[\"'](?:https?:)?//", text)
    assert not re.search(r"<[^>]*\son[a-z]+\s*=", text)
    assert "|safe" not in text
    assert "autoescape off" not in text
    assert "javascript:" not in text


@pytest.mark.django_db
def test_numbers_in_attributes_are_for_programs(client: Client, settings: Any, monkeypatch: Any) -> None:
    """Whatever USE_THOUSAND_SEPARATOR is: addresses of pages, values of bars."""
    settings.USE_THOUSAND_SEPARATOR = True
    settings.LANGUAGE_CODE = "fr"  # 1 234, with a space that stands in no attribute otherwise
    settings.ALERT_STREAMS = STREAMS
    monkeypatch.setattr(letters, "LETTERS_A_PAGE", 2)
    with connection.cursor() as cursor:  # all rows have large numbers
        cursor.execute("DELETE FROM sqlite_sequence")
        cursor.execute("INSERT INTO sqlite_sequence SELECT name, 5000 FROM sqlite_master WHERE type = 'table'")
    busy_night.fill(timezone.now())
    LetterAction.objects.update(total=2000, became={"done": 1500}, finished=None)
    client.force_login(User.objects.create_user("operator", is_staff=True))
    found = pages(client)
    assert {"letter", "letter_action", "letters", "target-alerts", "target-alerce"} <= {page.name for page in found}
    for page in found:
        html = client.get(page.path).content.decode().partition('class="alertstreams"')[2]  # the rest is not ours
        in_tags = "".join(re.findall(r"<script.*?</script>|<[^>]*>", html, re.DOTALL))
        assert re.findall(r".{40}\d[\xa0\u202f]\d{3}.*", in_tags) == [], page.name
        if page.name == "letters":
            [older] = re.findall(r'href="[^"]*before=(\d+)">Older', html)
            assert int(older) > 5000
