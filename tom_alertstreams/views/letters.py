"""Dead letters for staff: by cause, one by one, and one with all that is in it. Nothing here changes anything."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from django.core.paginator import Paginator
from django.db.models import BinaryField, Count, QuerySet
from django.db.models.functions import Length, Substr
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from django.views.generic import TemplateView, View

from tom_alertstreams.alertstreams.find_stream import find_stream
from tom_alertstreams.conf import configured_streams
from tom_alertstreams.delivery.letter_content import (
    DUMP_BYTES,
    Unreadable,
    bytes_text,
    decoded,
    dump,
    headers,
    headline,
    place,
    times,
)
from tom_alertstreams.delivery.letters import LetterFilter, LetterGroup, groups, in_words
from tom_alertstreams.delivery.waiting import UNSETTLED
from tom_alertstreams.models import DeadLetter, LetterAction
from tom_alertstreams.redaction import redact

from .access import StaffOnly
from .content_tree import tree
from .letter_filter import LetterFilterForm, query_of, words_of
from .letter_journal import JournalLine, journal

GROUPS_A_PAGE: Final = 25
LETTERS_A_PAGE: Final = 100
#: Bytes of an alert that a page decodes at most. Packets of surveys have up to 1 MB or so.
DECODED_BYTES: Final = 4 * 2**20
_HEADERS_SHOWN: Final = 100
#: Of actions since a letter first failed, those that are asked whether they chose it.
_ACTIONS_ASKED: Final = 50


class LetterPage(StaffOnly):
    """What the pages of dead letters have in common."""

    #: When it was drawn, before anything was read: buttons give it back, so that they take nothing that came since.
    drawn: str

    def setup(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        """Let the secrets of the streams be known, so that they are blanked in what is shown."""
        configured_streams()
        self.drawn = timezone.now().isoformat()
        super().setup(request, *args, **kwargs)  # type: ignore[misc]


@dataclass(frozen=True)
class GroupOnPage:
    """A cause, as the page shows it."""

    group: LetterGroup
    times: str
    headline: str
    #: Chooses its letters.
    query: str
    #: How many they are, and how many of them wait.
    amount: str
    waiting: str


@dataclass(frozen=True)
class LetterInList:
    """A letter in a list."""

    pk: int
    place: str
    stream: str
    handler: str
    headline: str
    state: str
    attempts: int
    first_failed_at: datetime


class _Filtered(LetterPage, TemplateView):
    """A page about the letters that its query string chooses."""

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """With ``form``, and where the form is valid what :meth:`chosen_context` adds."""
        form = LetterFilterForm(self.request.GET)
        context = super().get_context_data(form=form, **kwargs)
        if form.is_valid():
            context |= self.chosen_context(form.chosen, form.cleaned_data["action"])
            chosen = "" if form.chosen.takes_all else words_of(form.chosen)
            context |= {"query": form.query, "chosen": chosen}
        return context

    def chosen_context(self, chosen: LetterFilter, action: int | None) -> dict[str, Any]:
        """What the page shows of these letters.

        :param action: that chose their ids, or None.
        """
        raise NotImplementedError


class DeadLetters(_Filtered):
    """What has failed, by its cause."""

    template_name = "tom_alertstreams/letters/groups.html"

    def chosen_context(self, chosen: LetterFilter, action: int | None) -> dict[str, Any]:
        """With a ``page`` of groups, how many letters that are, and the newest lines of the journal."""
        found = groups(chosen.rows())
        page = Paginator(found, GROUPS_A_PAGE).get_page(self.request.GET.get("page"))
        settled = set(chosen.states) - set(UNSETTLED)
        return {
            "page": page,
            "groups": [_on_page(group, chosen, action) for group in in_words(list(page.object_list))],
            "all_of_them": _all(sum(group.count for group in found)),
            # To be tried again or dismissed: only where nothing else is shown, so that the button's number is right.
            "may_act": bool(found) and not settled,
            "streams": sorted({group.stream for group in found}),
            "errors": sorted({group.error_class for group in found}),
            "journal": journal(LetterAction.objects.order_by("-pk")[:5]),
        }


class LettersOneByOne(_Filtered):
    """The letters of a cause, or of any filter, the newest first."""

    template_name = "tom_alertstreams/letters/list.html"

    def chosen_context(self, chosen: LetterFilter, action: int | None) -> dict[str, Any]:
        """With ``letters``, how many there are in all, and the id that the next page begins before."""
        rows = chosen.rows().order_by("-pk")
        asked = self.request.GET.get("before", "")
        before = int(asked) if asked.isdecimal() and len(asked) < 19 else 2**63 - 1
        total = rows.count()
        # To look for words takes a while: not again where there are none.
        found = list(_listed(rows.filter(pk__lt=before))[: LETTERS_A_PAGE + 1]) if total else []
        letters = [_in_list(row) for row in found[:LETTERS_A_PAGE]]
        return {
            "letters": letters,
            "all_of_them": _all(total),
            "may_act": bool(total) and not set(chosen.states) - set(UNSETTLED),
            "next_before": letters[-1].pk if len(found) > LETTERS_A_PAGE else None,
        }


class OneLetter(LetterPage, TemplateView):
    """All that is known of one letter, but its content, which may be large: :class:`LetterContent`."""

    template_name = "tom_alertstreams/letters/one.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """With ``letter`` and what is shown of it; secrets are blanked."""
        letter = _letter(kwargs["pk"])
        shown = headers(letter)
        beginning = bytes(letter.beginning or b"")  # type: ignore[attr-defined]
        return super().get_context_data(
            letter=letter,
            place=place(letter),
            headline=headline(letter.error_class, letter.error),
            error=redact(letter.error),
            traceback=redact(letter.traceback),
            key=bytes_text(bytes(letter.key)) if letter.key is not None else None,
            headers=[(redact(name), value) for name, value in shown[:_HEADERS_SHOWN]],
            headers_left=max(0, len(shown) - _HEADERS_SHOWN),
            size=None if letter.size is None else f"{letter.size:,}",  # type: ignore[attr-defined]
            dump="\n".join(dump(beginning)),
            dump_bytes=DUMP_BYTES,
            may_act=letter.state in UNSETTLED,
            query=query_of(LetterFilter(ids=(letter.pk,))),
            group=query_of(
                LetterFilter(stream=letter.stream, handler=letter.handler or None, fingerprint=letter.fingerprint)
            ),
            journal=_actions_that_chose(letter),
            **kwargs,
        )


class LetterContent(LetterPage, TemplateView):
    """The decoded content of one letter, when it is asked for."""

    template_name = "tom_alertstreams/letters/content.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """With the ``rows`` of the tree, or why there are none."""
        letter, rows, problem = _letter(kwargs["pk"]), None, ""
        size: int = letter.size or 0  # type: ignore[attr-defined]
        if size > DECODED_BYTES:
            problem = (
                f"{size:,} bytes are too many to be decoded on a page. Download them, or read them on a terminal: "
            )
            problem += f"./manage.py deadletters show {letter.pk}"
        else:
            try:
                rows = tree(decoded(letter, find_stream))  # reads the bytes now
            except Unreadable as error:
                problem = redact(str(error))
        return super().get_context_data(letter=letter, rows=rows, problem=problem, **kwargs)


class LetterBytes(LetterPage, View):
    """The bytes as they came, to be kept in a file: what strangers have sent is never shown as a page."""

    def get(self, request: HttpRequest, pk: int) -> HttpResponse:
        """As an attachment whose name nobody has sent."""
        raw = DeadLetter.objects.filter(pk=pk).values_list("raw", flat=True).first()
        if raw is None:
            raise Http404("There is no such dead letter, or it is a tombstone and has no bytes.")
        return HttpResponse(
            bytes(raw),
            content_type="application/octet-stream",
            headers={
                "Content-Disposition": f'attachment; filename="dead-letter-{pk}.bin"',
                "X-Content-Type-Options": "nosniff",
                "Content-Security-Policy": "sandbox; default-src 'none'",
                "Cache-Control": "private, no-store",
            },
        )


def _on_page(group: LetterGroup, chosen: LetterFilter, action: int | None) -> GroupOnPage:
    of_group = replace(chosen, stream=group.stream, handler=group.handler or None, fingerprint=group.fingerprint)
    return GroupOnPage(
        group,
        times(group),
        headline(group.error_class, group.error),
        query_of(of_group, action),
        f"{group.count:,}",
        f"{group.waiting:,}" if group.waiting else "",
    )


def _all(total: int) -> str:
    return "" if not total else "the only one" if total == 1 else f"all {total:,}"


def _listed(rows: QuerySet[DeadLetter]) -> QuerySet[DeadLetter]:
    """Without what may be large."""
    return rows.only(
        "stream", "topic", "partition", "offset", "handler", "error_class", "error", "state", "attempts",
        "first_failed_at",
    )  # fmt: skip


def _in_list(letter: DeadLetter) -> LetterInList:
    return LetterInList(
        letter.pk,
        place(letter),
        letter.stream,
        letter.handler,
        headline(letter.error_class, letter.error),
        letter.get_state_display(),
        letter.attempts,
        letter.first_failed_at,
    )


def _letter(pk: int) -> DeadLetter:
    """The letter with ``size`` and ``beginning`` of its bytes, which are not read themselves until they are needed."""
    beginning = Substr("raw", 1, DUMP_BYTES, output_field=BinaryField())
    rows = DeadLetter.objects.defer("raw").annotate(size=Length("raw"), beginning=beginning)
    letter = rows.filter(pk=pk).first()
    if letter is None:
        raise Http404("There is no such dead letter.")
    return letter


def _actions_that_chose(letter: DeadLetter) -> list[JournalLine]:
    """The actions since it first failed whose filter takes the letter as it is now: two queries."""
    actions = list(LetterAction.objects.filter(started__gte=letter.first_failed_at).order_by("-pk")[:_ACTIONS_ASKED])
    conditions = {
        f"action_{action.pk}": Count("pk", filter=LetterFilter.from_json(action.chosen).condition(action.started))
        for action in actions
    }
    found = DeadLetter.objects.filter(pk=letter.pk).aggregate(**conditions) if conditions else {}
    return journal(action for action in actions if found[f"action_{action.pk}"])
