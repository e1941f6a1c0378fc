"""Who may see which page. The TOM's own AUTH_STRATEGY and OPEN_URLS come before, in its middleware."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.contrib import messages
from django.contrib.auth.mixins import UserPassesTestMixin
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import resolve_url
from django.template.loader import render_to_string
from django.views.generic import View


def is_staff(request: HttpRequest) -> bool:
    """Whether who asks may see what only staff see."""
    return bool(request.user.is_active and request.user.is_staff)


class StaffOnly(UserPassesTestMixin):
    """Dead letters and runs hold what strangers have sent and how the machine is set up: staff see them, nobody else.

    Whoever is not logged in is sent to the login; whoever is, and is no staff, gets 403.
    """

    request: Any

    def test_func(self) -> bool:
        """Whether this user is staff."""
        return is_staff(self.request)


class StaffPost(StaffOnly, View):
    """What staff only post to. Its address is no page: who has to log in first is led to one that says what was done."""

    http_method_names = ["post", "options"]
    #: Said at the login, after a session is over.
    logged_out: str

    def page(self) -> str:
        """The address of that page."""
        raise NotImplementedError

    def handle_no_permission(self) -> Any:
        """To the login, and from there to the page; 403 for whoever is logged in."""
        if self.request.method != "POST" or self.request.user.is_authenticated:
            return super().handle_no_permission()
        messages.warning(self.request, self.logged_out)
        login, page = resolve_url(self.get_login_url()), self.page()
        if urlsplit(login).netloc:  # a login elsewhere has to be told where here is
            page = self.request.build_absolute_uri(page)
        return redirect_to_login(page, login, self.get_redirect_field_name())

    def http_method_not_allowed(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """With the way to the page, for whom a login leads here all the same: that of a TOM that is LOCKED does."""
        refused = super().http_method_not_allowed(request, *args, **kwargs)
        refused.content = render_to_string("tom_alertstreams/letters/post_only.html", {"page": self.page()}, request)
        return refused
