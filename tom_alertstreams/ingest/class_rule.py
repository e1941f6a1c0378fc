"""CLASSES, CLASSIFIERS, MIN_PROBABILITY and TARGET_LIST: which classes make a Target, and the lists it goes on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import translate
from functools import cached_property
from typing import Any, Final

from .reports import ClassificationReport, RejectCode

#: Classes that make no Target unless CLASSES or MIN_PROBABILITY names them.
UNWANTED_CLASSES: Final = frozenset({"asteroid", "bogus", "satellite"})
#: In TARGET_LIST: every class that is not named.
OTHERS: Final = "*"


@dataclass(frozen=True)
class ClassRule:
    """What is asked of the classes of an object."""

    #: Those that are wanted; empty: all but the unwanted ones.
    classes: tuple[str, ...] = ()
    #: Names of the classifiers that count, or globs; empty: all.
    classifiers: tuple[str, ...] = ()
    #: For every class, or class by class; a class that is not named has none.
    min_probability: float | Mapping[str, float] | None = None

    @cached_property
    def named(self) -> tuple[str, ...]:
        """The wanted classes: CLASSES, else those that MIN_PROBABILITY names."""
        per_class = self.min_probability if isinstance(self.min_probability, Mapping) else {}
        return self.classes or tuple(per_class)

    @cached_property
    def is_given(self) -> bool:
        """It asks for something."""
        return bool(self.named or self.classifiers or self.min_probability is not None)

    def best(self, classifications: Iterable[ClassificationReport]) -> list[ClassificationReport]:
        """The most probable class of each classifier that counts."""
        found = most_probable(classifications)
        return found if self._counts is None else [item for item in found if self._counts.match(item.classifier)]

    def selecting(self, classifications: Iterable[ClassificationReport]) -> list[ClassificationReport]:
        """The classes that make this object a Target: each classifier speaks through its most probable one."""
        return [item for item in self.best(classifications) if self.is_wanted(item.class_name) and self.is_sure(item)]

    def verdict(self, classifications: Iterable[ClassificationReport]) -> RejectCode | None:
        """Why the classes make no Target, or None: one that is wanted and probable enough will do."""
        best = self.best(classifications)
        if not best:
            return "class" if self.is_given else None
        wanted = [item for item in best if self.is_wanted(item.class_name)]
        if not wanted:
            return "class"
        return None if any(map(self.is_sure, wanted)) else "probability"

    def is_wanted(self, class_name: str) -> bool:
        """By its name."""
        return class_name in self.named if self.named else class_name.lower() not in UNWANTED_CLASSES

    def is_sure(self, item: ClassificationReport) -> bool:
        """It is as probable as is asked of its class."""
        least = self.least(item.class_name)
        return least is None or (item.probability or 0.0) >= least

    def least(self, class_name: str) -> float | None:
        """The probability that is asked of this class, or None."""
        asked = self.min_probability
        return asked.get(class_name) if isinstance(asked, Mapping) else asked

    @cached_property
    def _counts(self) -> re.Pattern[str] | None:
        return re.compile("|".join(map(translate, self.classifiers))) if self.classifiers else None


def most_probable(classifications: Iterable[ClassificationReport]) -> list[ClassificationReport]:
    """The first-ranked class of each classifier; by probability where there is no ranking."""
    best: dict[tuple[str, str], ClassificationReport] = {}
    for item in classifications:
        key = (item.classifier, item.version)
        if key not in best or _rank(item) < _rank(best[key]):
            best[key] = item
    return list(best.values())


def _rank(item: ClassificationReport) -> tuple[float, float]:
    return (item.ranking if item.ranking is not None else float("inf"), -(item.probability or 0.0))


def read_min_probability(given: Any, classes: tuple[str, ...]) -> float | Mapping[str, float] | None:
    """MIN_PROBABILITY of settings.

    :param classes: CLASSES, of which it may name some.
    :raises ValueError: with what is wrong.
    """
    if given is None:
        return None
    if not isinstance(given, Mapping):
        if not _is_probability(given):
            raise ValueError("MIN_PROBABILITY is between 0 and 1, or an object class → number.")
        return float(given)
    _check_classes("MIN_PROBABILITY", given, classes)
    if OTHERS in given:
        raise ValueError("MIN_PROBABILITY names classes one by one and knows no *; one number is for all of them.")
    for name, least in given.items():
        if not _is_probability(least):
            raise ValueError(f"MIN_PROBABILITY of {name} is between 0 and 1, not {least!r}.")
    return dict(given)


def read_target_list(given: Any, named: tuple[str, ...]) -> str | Mapping[str, str]:
    """TARGET_LIST of settings.

    :param named: the classes that are wanted; empty: any.
    :raises ValueError: with what is wrong.
    """
    if not isinstance(given, Mapping):
        if not isinstance(given, str) or len(given) > _LONGEST_LIST:
            raise ValueError("TARGET_LIST is a name, or an object class → name.")
        return given
    _check_classes("TARGET_LIST", given, (*named, OTHERS) if named else ())
    for class_name, name in given.items():
        if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_LIST:
            raise ValueError(f"TARGET_LIST of {class_name} is the name of a TargetList, not {name!r}.")
    return dict(given)


def lists_of(target_list: str | Mapping[str, str], classes: Iterable[str]) -> set[str]:
    """The TargetLists of an object that these classes selected; one that needed no class is among the others."""
    if isinstance(target_list, str):
        return {target_list} if target_list else set()
    found = (target_list.get(name, target_list.get(OTHERS)) for name in set(classes) or {OTHERS})
    return {name for name in found if name is not None}


#: Length of TargetList.name.
_LONGEST_LIST: Final = 200


def _is_probability(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _check_classes(option: str, given: Iterable[Any], wanted: tuple[str, ...]) -> None:
    """Classes are named, and each can select something."""
    names = list(given)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"{option} as an object names one class or more.")
    unknown = [name for name in names if wanted and name not in wanted]
    if unknown:
        raise ValueError(f"{option} names {', '.join(unknown)}, which selects nothing: wanted are {', '.join(wanted)}.")
