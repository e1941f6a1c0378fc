"""All pages of the app, found by its URLs: for tests, pictures and measures that shall leave none out."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from typing import Final

from django.apps import apps
from django.test import Client
from django.urls import Resolver404, URLPattern, resolve, reverse
from django.utils.text import slugify
from tom_targets.models import Target

from tom_alertstreams import urls

NAMESPACE: Final = "tom_alertstreams"
#: Of every page of ours what page.html puts around it.
_FRAME: Final = b'class="alertstreams"'


@dataclass(frozen=True)
class Page:
    """One page."""

    name: str
    path: str
    #: What of it is ours.
    ours: str = ".alertstreams"


def pages(client: Client) -> list[Page]:
    """Every whole page that a user of this client can get: parts for HTMX, JSON and what takes POST only are left out.

    Of the pages of one row the first that another page leads to.
    """
    waiting = {pattern.name: reverse(f"{NAMESPACE}:{pattern.name}") for pattern in _without_arguments()}
    seen, found = set(waiting), []
    while waiting:
        name, path = waiting.popitem()
        text = _page(client, path)
        if not text:
            continue
        found.append(Page(name, path))
        for name, path in _linked(text):
            if name not in seen:
                seen.add(name)
                waiting[name] = path
    return [*sorted(found, key=lambda page: page.path), *_target_tabs()]


def _without_arguments() -> Iterator[URLPattern]:
    for pattern in urls.urlpatterns:
        assert isinstance(pattern, URLPattern)
        assert pattern.name, pattern
        if not pattern.pattern.converters:
            yield pattern


def _page(client: Client, path: str) -> str:
    """Its HTML; empty where it is no page."""
    answer = client.get(path)
    if answer.status_code == 405 or not answer.headers["Content-Type"].startswith("text/html"):
        return ""
    assert answer.status_code == 200, f"{path}: {answer.status_code}"
    return answer.content.decode() if _FRAME in answer.content else ""


def _linked(text: str) -> Iterator[tuple[str, str]]:
    """Names and paths of our URLs that a page leads to."""
    for path in re.findall(r'href="(/[^"?#]*)', text):
        with contextlib.suppress(Resolver404):
            found = resolve(unescape(path))
            if found.namespace == NAMESPACE and found.url_name:
                yield found.url_name, unescape(path)


def _target_tabs() -> list[Page]:
    """The tabs that our apps put on the page of a Target."""
    target = Target.objects.order_by("pk").first()
    if target is None:
        return []
    labels = [
        tab["label"]
        for config in apps.get_app_configs()
        if config.name.startswith((NAMESPACE, "alerce_stream", "apf_bridge")) and hasattr(config, "target_detail_tabs")
        for tab in config.target_detail_tabs()
    ]
    address = reverse("targets:detail", kwargs={"pk": target.pk})
    return [Page(f"target-{name}", f"{address}?tab={name}", f"#{name}") for name in map(slugify, labels)]
