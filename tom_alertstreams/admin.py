"""The core's rows in Django's admin, to be looked at. Dead letters can be replayed and dismissed from there."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import NoReverseMatch, reverse

from .delivery.letter_actions import begin
from .delivery.letter_content import headline, place
from .delivery.letters import LetterFilter
from .models import (
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
from .read_only_admin import ReadOnlyAdmin, StreamFilter


@admin.register(DeadLetter)
class DeadLetterAdmin(ReadOnlyAdmin):
    """Without what is in them: that is on the page of each."""

    list_display = ("id", "where", "stream", "what", "handler", "state", "attempts", "size", "first_failed_at")
    list_filter = ("state", StreamFilter)
    search_fields = ("topic", "fingerprint", "error_class")
    search_help_text = "A topic, a cause or the class of an error, in full."
    large = ("traceback", "headers")
    actions = ("replay_them", "dismiss_them")

    @admin.display(description="alert")
    def where(self, letter: DeadLetter) -> str:
        """Its coordinates."""
        return place(letter)

    @admin.display(description="error")
    def what(self, letter: DeadLetter) -> str:
        """The first line."""
        return headline(letter.error_class, letter.error)

    @admin.display(description="bytes")
    def size(self, letter: Any) -> str:
        """How many."""
        return "none" if letter.size_of_raw is None else f"{letter.size_of_raw:,}"

    def view_on_site(self, letter: DeadLetter) -> str | None:
        """The page with its content, in a TOM."""
        return _page("letter", letter.pk)

    def get_actions(self, request: HttpRequest) -> Any:
        """Only where there is a page that goes on with them."""
        return super().get_actions(request) if _page("dead_letters") else {}

    @admin.action(description="Replay: try them again with the handlers of this web server", permissions=["view"])
    def replay_them(self, request: HttpRequest, letters: QuerySet[DeadLetter]) -> HttpResponseRedirect | None:
        """To the page that does it."""
        return self._begin(request, LetterAction.Kind.REPLAY, letters)

    @admin.action(description="Dismiss: give them up for good", permissions=["view"])
    def dismiss_them(self, request: HttpRequest, letters: QuerySet[DeadLetter]) -> HttpResponseRedirect | None:
        """To the page that does it."""
        return self._begin(request, LetterAction.Kind.DISMISS, letters)

    def _begin(
        self, request: HttpRequest, kind: LetterAction.Kind, letters: QuerySet[DeadLetter]
    ) -> HttpResponseRedirect | None:
        if request.POST.get("select_across") == "1":  # then also what came after the page was drawn
            where = _page("dead_letters")
            self.message_user(request, f"Nothing was done. Choose all of them by a filter: {where}", messages.ERROR)
            return None
        pks = list(letters.values_list("pk", flat=True))
        if not pks:  # and a filter without ids is one of all letters
            self.message_user(request, "None of these is there any more: they were handled meanwhile.", messages.ERROR)
            return None
        action = begin(kind, request.user.get_username(), LetterFilter(ids=tuple(sorted(pks))))
        return redirect(f"{reverse('tom_alertstreams:letter_action', args=[action.pk])}?go=1")


@admin.register(LetterAction)
class LetterActionAdmin(ReadOnlyAdmin):
    """The journal of replays and dismissals."""

    list_display = ("id", "started", "who", "kind", "total", "became", "finished")
    list_filter = ("kind",)
    search_fields = ("who",)
    date_hierarchy = "started"

    def view_on_site(self, action: LetterAction) -> str | None:
        """The page that goes on with it, in a TOM."""
        return _page("letter_action", action.pk)


@admin.register(StreamPartition)
class StreamPartitionAdmin(ReadOnlyAdmin):
    """How far each consumer group has come."""

    list_display = ("id", "group_id", "topic", "partition", "next_offset", "last_alert_at")
    search_fields = ("topic", "group_id")


@admin.register(SubscribedKey)
class SubscribedKeyAdmin(ReadOnlyAdmin):
    """Keys of TOPIC_HANDLERS, and when they were first used."""

    list_display = ("id", "group_id", "key", "first_used")
    search_fields = ("key", "group_id")


@admin.register(StreamRun)
class StreamRunAdmin(ReadOnlyAdmin):
    """Lives of streams."""

    list_display = ("id", "stream", "state", "started", "heartbeat", "ended", "host", "pid", "received", "lag")
    list_filter = ("state", StreamFilter)
    date_hierarchy = "started"
    large = ("topics", "gaps", "last_error")


@admin.register(Alarm)
class AlarmAdmin(ReadOnlyAdmin):
    """What somebody was told of."""

    list_display = ("id", "stream", "kind", "began", "told", "over")
    list_filter = ("kind", StreamFilter)
    date_hierarchy = "began"


@admin.register(OutcomeCount)
class OutcomeCountAdmin(ReadOnlyAdmin):
    """What became of alerts, by the hour."""

    list_display = ("id", "hour", "stream", "topic", "outcome", "code", "n")
    list_filter = (StreamFilter,)
    search_fields = ("topic", "code")


@admin.register(Rejection)
class RejectionAdmin(ReadOnlyAdmin):
    """Why objects were not ingested."""

    list_display = ("id", "time", "stream", "topic", "object_id", "code")
    list_filter = (StreamFilter,)
    search_fields = ("object_id",)
    search_help_text = "The provider's name of the object, in full."


@admin.register(Installation)
class InstallationAdmin(ReadOnlyAdmin):
    """The id of this database."""

    list_display = ("id",)


def _page(name: str, *args: Any) -> str | None:
    """The address of one of our pages; None in a project that is no TOM."""
    try:
        return reverse(f"tom_alertstreams:{name}", args=args)
    except NoReverseMatch:
        return None
