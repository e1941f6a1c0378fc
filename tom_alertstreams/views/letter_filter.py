"""Which dead letters a page is about, from the query string of its address."""

from __future__ import annotations

import argparse
from datetime import datetime, timedelta, timezone
from typing import Any, Final
from urllib.parse import urlencode

from django import forms
from django.http import QueryDict
from django.utils import timezone as django_timezone

from tom_alertstreams.delivery.letters import LetterFilter
from tom_alertstreams.delivery.waiting import UNSETTLED
from tom_alertstreams.management.ages import age
from tom_alertstreams.models import DeadLetter, LetterAction

#: Filters that are texts → what they are called.
_TEXTS: Final = {
    "stream": "stream",
    "topic": "topic",
    "error": "error",
    "handler": "handler",
    "fingerprint": "cause",
    "text": "words",
}
#: Parameters that say what is shown of those that are chosen, not which are chosen.
_OF_PAGES: Final = frozenset({"page", "before"})
#: No letter is older. From here ages can be taken off without leaving the calendar.
_FIRST: Final = datetime(2000, 1, 1, tzinfo=timezone.utc)
#: By how much the clocks of two web servers may differ.
_CLOCKS: Final = timedelta(minutes=1)


class AgeField(forms.CharField):
    """``90d``, ``12h``, ``30m``, as commands take them."""

    def clean(self, value: Any) -> timedelta | None:
        """The age; None where nothing was given."""
        text = super().clean(value)
        if not text:
            return None
        try:
            return age(text)
        except argparse.ArgumentTypeError as error:
            raise forms.ValidationError(str(error)) from error


class MomentField(forms.CharField):
    """When a page was drawn, in ISO 8601 and UTC: no moment to come, for what fails until then nobody has seen."""

    widget = forms.HiddenInput

    def clean(self, value: Any) -> datetime | None:
        """The moment; None where nothing was given."""
        text = super().clean(value)
        if not text:
            return None
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            moment = None
        if moment is None or moment.utcoffset() != timedelta(0):
            raise forms.ValidationError("This is no moment in UTC.")
        if not _FIRST < moment < django_timezone.now() + _CLOCKS:
            raise forms.ValidationError("No page was drawn at this moment.")
        return moment


class IdsField(forms.Field):
    """Numbers of dead letters."""

    widget = forms.MultipleHiddenInput

    def clean(self, value: Any) -> tuple[int, ...]:
        """The numbers, each once."""
        number = forms.IntegerField(min_value=1, max_value=2**63 - 1)
        return tuple(sorted({int(number.clean(text)) for text in value or ()}))


class LetterFilterForm(forms.Form):
    """The filter that a person fills in. Its names are those of the command's options."""

    # Not stripped: names that others gave, which may begin or end in a space.
    stream = forms.CharField(required=False, max_length=100, strip=False)
    topic = forms.CharField(required=False, max_length=249, label="Topic, or glob")
    error = forms.CharField(required=False, max_length=255, label="Class of the error")
    text = forms.CharField(required=False, max_length=200, label="Words")
    older_than = AgeField(required=False, max_length=10, label="Older than")
    newer_than = AgeField(required=False, max_length=10, label="Newer than")
    handler = forms.CharField(required=False, max_length=255, strip=False, widget=forms.HiddenInput)
    fingerprint = forms.CharField(required=False, max_length=64, strip=False, widget=forms.HiddenInput)
    state = forms.MultipleChoiceField(
        required=False, choices=DeadLetter.State.choices, widget=forms.CheckboxSelectMultiple, label="State"
    )
    seen_until = MomentField(required=False, max_length=40)
    letter = IdsField(required=False)
    #: A replay or dismissal: the letters that it chose by their numbers, which may be too many for an address.
    action = forms.IntegerField(required=False, min_value=1, max_value=2**63 - 1, widget=forms.HiddenInput)

    def __init__(self, query: QueryDict) -> None:
        given = query.copy()
        if "state" not in given:
            given.setlist("state", list(UNSETTLED))
        super().__init__(given)
        self._unknown = sorted(set(query) - set(self.fields) - _OF_PAGES)

    def clean(self) -> dict[str, Any]:
        """Nothing that was asked for may be overlooked: what a page does to all letters it would do to more of them."""
        if self._unknown:
            raise forms.ValidationError(f"There is no filter {', '.join(self._unknown)}.")
        given = dict(self.cleaned_data)
        if given.get("action"):
            given["letter"] = _ids_of(given["action"], given.get("letter"))
        return given

    @property
    def query(self) -> str:
        """The query string that chooses the same letters; of a form that is valid."""
        return query_of(self.chosen, self.cleaned_data["action"])

    @property
    def chosen(self) -> LetterFilter:
        """The filter; of a form that is valid."""
        given = self.cleaned_data
        names = (*_TEXTS, "older_than", "newer_than", "seen_until")
        return LetterFilter(
            **{name: given[name] or None for name in names}, ids=given["letter"], states=tuple(given["state"])
        )


def query_of(chosen: LetterFilter, action: int | None = None) -> str:
    """The query string that chooses the same letters.

    :param action: that chose these ids, instead of which it is named.
    """
    given: list[tuple[str, Any]] = [(name, getattr(chosen, name)) for name in _TEXTS if getattr(chosen, name)]
    given += [
        (name, _age_text(value))
        for name in ("older_than", "newer_than")
        if (value := getattr(chosen, name)) is not None
    ]
    if chosen.seen_until:
        given.append(("seen_until", chosen.seen_until.isoformat()))
    given += [("letter", pk) for pk in chosen.ids] if action is None else [("action", action)]
    if chosen.states != tuple(UNSETTLED):
        given += [("state", state) for state in chosen.states]
    return urlencode(given)


def words_of(chosen: LetterFilter) -> str:
    """Which letters, for people."""
    given = [f"{words} {getattr(chosen, name)}" for name, words in _TEXTS.items() if getattr(chosen, name)]
    given += [
        f"{words} {_age_text(value)}"
        for words, value in (("older than", chosen.older_than), ("newer than", chosen.newer_than))
        if value is not None
    ]
    if chosen.ids:
        shown = ", ".join(map(str, chosen.ids[:10]))
        given.append(f"number {shown}{', …' if len(chosen.ids) > 10 else ''}")
    given = given or ["all"]
    if chosen.seen_until:
        given.append(f"first failed by {chosen.seen_until:%Y-%m-%d %H:%M:%S} UTC")
    return ", ".join(given)


def _ids_of(action: int, letters: tuple[int, ...] | None) -> tuple[int, ...]:
    stored = LetterAction.objects.filter(pk=action).values_list("chosen", flat=True).first()
    ids = LetterFilter.from_json(stored or {}).ids
    if letters or not ids:
        raise forms.ValidationError(
            "Letters are chosen by their own numbers or by those of a replay: give one of them."
            if letters
            else f"There is no replay {action} that chose letters by their numbers; prunealerts deletes old ones."
        )
    return ids


def _age_text(value: timedelta) -> str:
    minutes = int(value.total_seconds() // 60)
    for unit, length in (("d", 24 * 60), ("h", 60)):
        if minutes % length == 0:
            return f"{minutes // length}{unit}"
    return f"{minutes}m"
