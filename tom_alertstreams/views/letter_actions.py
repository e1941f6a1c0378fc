"""Dead letters tried again or given up from a page: begun by a POST, and gone on with POST by POST while the page is open.

Handlers run in the web process.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.generic import ListView, TemplateView

from tom_alertstreams.alertstreams.find_stream import find_stream
from tom_alertstreams.delivery.letter_actions import begin, work_on
from tom_alertstreams.delivery.letters import LetterFilter
from tom_alertstreams.models import DeadLetter, LetterAction

from .access import StaffPost
from .letter_filter import LetterFilterForm, MomentField, query_of
from .letter_journal import journal, journal_line
from .letters import LetterPage

#: Seconds that one request works.
STEP_S: Final = 2.0
#: To this page whoever begins an action is led with ``?go=1``: so soon after the beginning it goes on by itself.
_JUST_BEGUN = timedelta(seconds=10)


class BeginAction(LetterPage, StaffPost):
    """Notes what is wanted of the letters that the query string chooses, and that were there when the page was drawn."""

    logged_out = "You were logged out: nothing was replayed or dismissed. Log in, and press the button again."

    def page(self) -> str:
        """The same letters by cause, with what was done of late."""
        query = self.request.META.get("QUERY_STRING", "")
        return f"{reverse('tom_alertstreams:dead_letters')}{'?' if query else ''}{query}"

    def post(self, request: HttpRequest) -> HttpResponse:
        """To the page of the new action."""
        form = LetterFilterForm(request.GET)
        kind = request.POST.get("kind")
        if not form.is_valid() or kind not in LetterAction.Kind.values:
            return _refused("The filter or the action cannot be read, so nothing was done.")
        if (seen_until := _seen_until(request)) is None:
            return _refused(
                "It cannot be told when the page with this button was drawn, so nothing was done. "
                "Load that page again, and press the button there."
            )
        action = begin(LetterAction.Kind(kind), request.user.get_username(), _seen(form.chosen, seen_until))
        if not action.total:
            messages.info(request, "None of these dead letters is open or waiting any more.")
        return redirect(f"{reverse('tom_alertstreams:letter_action', args=[action.pk])}?go=1")


class ActionPage(LetterPage, TemplateView):
    """How far an action has come."""

    template_name = "tom_alertstreams/letters/action.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """With what :func:`_progress` says."""
        action = _action(kwargs["pk"])
        user = self.request.user
        just_begun = timezone.now() - action.started < _JUST_BEGUN and not action.done
        running = just_begun and action.who == user.get_username() and "go" in self.request.GET
        return super().get_context_data(**_progress(action, running=running), **kwargs)


# A handler's transaction is one of its own, and commits before the page is answered.
@method_decorator(transaction.non_atomic_requests, name="dispatch")
class ActionStep(LetterPage, StaffPost):
    """Works at an action for two seconds. Any of the staff may go on with it, and is named then."""

    logged_out = "You were logged out, so it does not go on. What was tried is stored. Log in, and go on from its page."

    def page(self) -> str:
        """How far it has come."""
        return reverse("tom_alertstreams:letter_action", args=[self.kwargs["pk"]])

    def post(self, request: HttpRequest, pk: int) -> HttpResponse:
        """How far it has come then."""
        action = _action(pk)
        worked = work_on(action, find_stream, STEP_S, request.user.get_username())
        if not request.headers.get("HX-Request"):
            return redirect("tom_alertstreams:letter_action", pk=pk)
        context = _progress(action, running=True, elsewhere=not worked and action.finished is None)
        return render(request, "tom_alertstreams/letters/progress.html", context)


class Actions(LetterPage, ListView):  # type: ignore[type-arg]  # Django itself has no ListView[…]
    """The journal: who did what, when, and what came of it. What was not finished can be gone on with."""

    template_name = "tom_alertstreams/letters/actions.html"
    queryset = LetterAction.objects.order_by("-pk")
    paginate_by = 100

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """With the lines of the ``journal``."""
        context = super().get_context_data(**kwargs)
        return context | {"journal": journal(context["page_obj"])}


def _refused(why: str) -> HttpResponse:
    return HttpResponse(why, status=400, content_type="text/plain")


def _seen_until(request: HttpRequest) -> datetime | None:
    """When the page with the button was drawn; None where it does not say so."""
    try:
        return MomentField(max_length=40).clean(request.POST.get("seen_until"))
    except ValidationError:
        return None


def _seen(chosen: LetterFilter, seen_until: datetime) -> LetterFilter:
    """Without what came since. To letters that are chosen by their numbers none can come."""
    return chosen if chosen.ids else replace(chosen, seen_until=min(seen_until, chosen.seen_until or seen_until))


def _action(pk: int) -> LetterAction:
    action = LetterAction.objects.filter(pk=pk).first()
    if action is None:
        raise Http404("There is no such action; old ones are deleted by prunealerts.")
    return action


def _progress(action: LetterAction, *, running: bool, elsewhere: bool = False) -> dict[str, Any]:
    chosen = LetterFilter.from_json(action.chosen)
    open_ones = replace(chosen, states=(DeadLetter.State.OPEN,))
    return {
        "action": action,
        "line": journal_line(action),
        "running": running and action.finished is None,
        # A command, or another page, is at it.
        "elsewhere": elsewhere,
        "delay": "2s" if elsewhere else "50ms",
        # What its filters choose now, with what came since.
        "now_query": query_of(replace(chosen, seen_until=None)) if chosen.seen_until else None,
        # Of a thousand numbers the address would be longer than web servers take.
        "open_query": query_of(open_ones, action.pk if chosen.ids else None),
    }
