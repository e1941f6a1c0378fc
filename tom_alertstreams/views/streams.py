"""The first page: is it alive, and what did it do last night?"""

from __future__ import annotations

from typing import Any

from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.vary import vary_on_headers
from django.views.generic import TemplateView

from tom_alertstreams.conf import switched_off

from .access import is_staff
from .cards import stream_cards


# The cards alone have the same address as the page: no browser may keep them and show them in its place.
@method_decorator([never_cache, vary_on_headers("HX-Request")], name="dispatch")
class Streams(TemplateView):
    """One card for each stream. HTMX asks for the cards alone."""

    template_name = "tom_alertstreams/streams.html"

    def get_template_names(self) -> list[str]:
        """The cards alone where the page is there already."""
        return (
            ["tom_alertstreams/partials/stream_cards.html"]
            if self.request.headers.get("HX-Request")
            else [self.template_name]
        )

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """With ``cards``, those of them that are ``troubled``, and the labels that are ``switched_off``."""
        staff = is_staff(self.request)
        cards = stream_cards(is_staff=staff)
        troubled = [card for card in cards if not card.stream.is_sound]
        return super().get_context_data(
            cards=cards, troubled=troubled, switched_off=switched_off(), is_staff=staff, **kwargs
        )
