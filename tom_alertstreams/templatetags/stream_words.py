"""Times and numbers as people tell them."""

from __future__ import annotations

from datetime import datetime, timezone

from django import template
from django.utils import timezone as django_timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()

_UNITS = (("d", 86_400), ("h", 3600), ("min", 60))


@register.filter
def ago(time: datetime | None, otherwise: str = "never") -> str | SafeString:
    """``12 s ago`` as an HTML time element whose title and datetime are exact, in UTC. Without a time the other words."""
    if time is None:
        return otherwise
    exact = time.astimezone(timezone.utc)
    return format_html(
        '<time datetime="{}" title="{} UTC">{}</time>',
        f"{exact:%Y-%m-%dT%H:%M:%SZ}",
        f"{exact:%Y-%m-%d %H:%M:%S}",
        _words((django_timezone.now() - time).total_seconds()),
    )


@register.filter
def many(number: float | None, otherwise: str = "–") -> str:  # noqa: RUF001 (a dash where there is no number)
    """``12,345``; with one place behind the point where there is one. In every language of the TOM, as times are."""
    if number is None:
        return otherwise
    return f"{number:,.1f}".removesuffix(".0")


def _words(seconds: float) -> str:
    for unit, length in _UNITS:
        if seconds >= 2 * length or (unit == "min" and seconds >= length):
            return f"{seconds // length:.0f} {unit} ago"
    return f"{max(0.0, seconds):.0f} s ago"
