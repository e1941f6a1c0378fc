"""OPTIONS of the ready-made handlers: what makes a Target, whose it is, and who sees it."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal, get_args

from django.conf import settings

from .class_rule import ClassRule, read_min_probability, read_target_list
from .fields import Fields
from .paths import MISSING, find
from .reports import Kind, RejectCode
from .sky_rule import SkyRule

Create = Literal["always", "rules", "never"]
Permission = Literal["OPEN", "PUBLIC", "PRIVATE"]
Hooks = Literal["inside", "after", "off"]

#: How a filter compares the field of an alert (left) with its value (right).
OPERATORS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": lambda found, wanted: found in wanted,
    "not in": lambda found, wanted: found not in wanted,
    "contains": lambda found, wanted: wanted in found,
}

#: What selects, for people.
RULES: Final = "FILTERS, CLASSES, CLASSIFIERS, MIN_PROBABILITY, MIN_RB, SKY or MAX_AGE_DAYS"

_CODE: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")
#: Codes that say something else already.
_TAKEN: Final = {*get_args(RejectCode), "error"} - {"filter"}


@dataclass(frozen=True)
class Filter:
    """One condition on the content of an alert."""

    #: Dotted path into the content, for example ``candidate.rb`` or ``data.targets.0.name``.
    field: str
    op: str
    value: Any
    #: What an alert that it refuses is counted under.
    code: str = "filter"

    def __post_init__(self) -> None:
        if not self.field or not isinstance(self.field, str):
            raise ValueError("a filter needs the name of a field.")
        if self.op not in OPERATORS:
            raise ValueError(f"the filter on {self.field} has op {self.op!r}; choose one of {', '.join(OPERATORS)}.")
        if self.op in ("in", "not in") and not isinstance(self.value, list | tuple | set | frozenset):
            raise ValueError(f"the filter on {self.field} has op {self.op!r}, so its value must be a list.")
        if not isinstance(self.code, str) or not _CODE.fullmatch(self.code):
            raise ValueError(
                f"the filter on {self.field} has code {self.code!r}; it is 1 to 32 letters, digits, _ and -."
            )
        if self.code in _TAKEN:
            raise ValueError(f"the filter on {self.field} has code {self.code!r}, which has a meaning; choose another.")

    @classmethod
    def build(cls, given: object) -> Filter:
        """Make a filter from settings: an object with the keys field, op and value, and code if it likes."""
        if isinstance(given, cls):
            return given
        if not isinstance(given, Mapping) or set(given) - {"code"} != {"field", "op", "value"}:
            raise ValueError(f"each filter has the keys field, op and value, and may have code; {given!r} is not so.")
        return cls(**given)

    def accepts(self, content: object) -> bool:
        """The content has the field and it compares as asked. What cannot be compared does not match."""
        found = self._find(content)
        if found is MISSING or found is None:
            return False
        try:
            return bool(OPERATORS[self.op](found, self.value))
        except TypeError:
            return False

    def why_not(self, content: object) -> str:
        """In words, what is in the alert instead of what this filter asks for."""
        found = self._find(content)
        wanted = f"{self.field} {self.op} {self.value!r}"
        if found is MISSING:
            return f"the alert has no {self.field}, and a filter asks for {wanted}"
        return f"{self.field} is {shortened(found)}, and a filter asks for {wanted}"

    def _find(self, content: object) -> object:
        return find(content, self.field.split("."))


@dataclass(frozen=True)
class IngestOptions:
    """What :func:`~tom_alertstreams.ingest.handlers.ingest_targets` may be told; in settings in upper case."""

    #: "always", "rules" (only what the rules select, from filters to max_age_days) or "never"; None: "always" for
    #: notices and Hermes messages, "rules" for surveys and classifiers.
    create: Create | None = None
    #: Known Targets are updated by every alert of theirs; False: only by those that the rules select.
    follow_known: bool = True
    #: All must hold.
    filters: Sequence[Any] = ()
    #: The most probable class must be one of these.
    classes: Sequence[str] = ()
    #: Only classes of these classifiers make a Target: names or globs; empty: of any.
    classifiers: Sequence[str] = ()
    #: The most probable class must have at least this probability: a number for all classes, or class → number. A class
    #: that is not named has no minimum; without CLASSES, those that are named are the wanted ones.
    min_probability: float | Mapping[str, float] | None = None
    #: ZTF: the real/bogus score of the detection, ``candidate.rb``, must be at least this.
    min_rb: float | None = None
    #: Where the object must be: cone, dec and min_abs_galactic_latitude of :class:`~tom_alertstreams.ingest.sky_rule.SkyRule`,
    #: in degrees. In settings an object, here a SkyRule or None.
    sky: Any = None
    #: The object was first seen no more than so many days before this alert; one of which that is not known will do.
    max_age_days: float | None = None
    #: A known Target within this distance (arcsec) is the same object; 0 matches by names only.
    match_radius_arcsec: float = 1.5
    #: Notices with a larger error radius (degrees) make no Target.
    max_error_deg: float = 1.0
    #: New Targets of one stream within 24 hours; further objects are not made, known Targets are still updated.
    max_new_per_day: int = 1000
    #: Name of a new Target; {object_id}, {stream} and {topic} are filled in.
    name: str = "{object_id}"
    #: TargetList that every Target which the rules select is put on; "" is none. Or the class that selected it → name,
    #: "*" for all others.
    target_list: str | Mapping[str, str] = ""
    #: OPEN, PUBLIC or PRIVATE for new Targets; None: TARGET_DEFAULT_PERMISSION.
    permissions: Permission | None = None
    #: Groups whose members may view, change and delete the new Targets.
    groups: Sequence[str] = ()
    #: When the TOM's hook target_post_save runs for a new Target: "inside" the transaction of its batch, so that one
    #: that fails fails the alert; "after" its commit; "off".
    hooks: Hooks = "after"
    #: The alerts of this topic hold what :class:`~tom_alertstreams.ingest.fields.Fields` names, in fields of these
    #: names; no other format is tried. In settings an object, here a Fields or None.
    fields: Any = None
    #: A difference flux of at least so many times its error is a detection; a limit is so many errors.
    detection_snr: float = 5.0
    #: Points that are more than so many days older than the newest one of their alert are left out; None: all are kept.
    history_days: float | None = None
    #: The only extra fields that a Target gets of an alert: names of those that its format brings, or dotted paths into
    #: the content, as in filters; None: all that its format brings.
    keep_extras: Sequence[str] | None = None

    def __post_init__(self) -> None:
        _check(self.create is None or self.create in get_args(Create), "CREATE is always, rules or never.")
        _check(
            self.permissions is None or self.permissions in get_args(Permission),
            "PERMISSIONS is OPEN, PUBLIC or PRIVATE.",
        )
        _check(isinstance(self.follow_known, bool), "FOLLOW_KNOWN is True or False.")
        _check(self.hooks in get_args(Hooks), "HOOKS is inside, after or off.")
        for option in ("filters", "classes", "classifiers", "groups"):
            value = getattr(self, option)
            _check(isinstance(value, list | tuple | set | frozenset), f"{option.upper()} is a list.")
            object.__setattr__(self, option, tuple(value))
        if self.keep_extras is not None:
            _check(isinstance(self.keep_extras, list | tuple | set | frozenset), "KEEP_EXTRAS is a list, or None.")
            _check(
                all(map(_is_extra, self.keep_extras)), "KEEP_EXTRAS is a list of names, each of 1 to 200 characters."
            )
            object.__setattr__(self, "keep_extras", tuple(self.keep_extras))
        object.__setattr__(self, "filters", tuple(map(Filter.build, self.filters)))
        for option in ("classes", "classifiers", "groups"):
            are_names = all(isinstance(word, str) and word for word in getattr(self, option))
            _check(are_names, f"{option.upper()} is a list of names.")
        object.__setattr__(self, "min_probability", read_min_probability(self.min_probability, tuple(self.classes)))
        _check(_between(self.min_rb, 0, 1), "MIN_RB is between 0 and 1.")
        _check(
            self.match_radius_arcsec is not None and _between(self.match_radius_arcsec, 0, 3600),
            "MATCH_RADIUS_ARCSEC is between 0 and 3600.",
        )
        _check(self.max_error_deg is not None and _between(self.max_error_deg, 0, 180), "MAX_ERROR_DEG is 0 to 180.")
        _check(
            isinstance(self.max_new_per_day, int) and not isinstance(self.max_new_per_day, bool)
            and self.max_new_per_day >= 0,
            "MAX_NEW_PER_DAY is a whole number, 0 or more.",
        )  # fmt: skip
        if self.sky is not None:
            object.__setattr__(self, "sky", SkyRule.build(self.sky))
        _check(_between(self.max_age_days, 0, 100_000), "MAX_AGE_DAYS is a number of days, 0 or more.")
        if self.fields is not None:
            object.__setattr__(self, "fields", Fields.build(self.fields))
            _check(
                self.max_age_days is None,
                "MAX_AGE_DAYS does nothing with FIELDS, which has no first detection: use a filter on the alert's own field.",
            )
        _check(
            self.detection_snr is not None and _between(self.detection_snr, 1, 100),
            "DETECTION_SNR is a number between 1 and 100.",
        )
        _check(_between(self.history_days, 0, 100_000), "HISTORY_DAYS is a number of days, 0 or more.")
        object.__setattr__(self, "target_list", read_target_list(self.target_list, self.class_rule.named))
        _check(isinstance(self.name, str) and bool(self.name), "NAME is a text.")
        try:
            named = self.target_name("ZTF18abcdefg", stream="stream", topic="topic")
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            raise ValueError("NAME may hold {object_id}, {stream} and {topic}, and no other braces.") from error
        _check("ZTF18abcdefg" in named, "NAME must hold {object_id}, or every Target would have one name.")

    @cached_property
    def all_filters(self) -> tuple[Filter, ...]:
        """FILTERS and the one that MIN_RB stands for."""
        if self.min_rb is None:
            return tuple(self.filters)
        return (*self.filters, Filter("candidate.rb", ">=", self.min_rb))

    @cached_property
    def class_rule(self) -> ClassRule:
        """CLASSES, CLASSIFIERS and MIN_PROBABILITY."""
        return ClassRule(tuple(self.classes), tuple(self.classifiers), self.min_probability)

    @cached_property
    def extra_paths(self) -> tuple[tuple[str, list[str]], ...]:
        """What KEEP_EXTRAS names, each with the parts of its path."""
        return tuple((name, name.split(".")) for name in self.keep_extras or ())

    @cached_property
    def has_rules(self) -> bool:
        """Something selects."""
        of_object = self.sky is not None or self.max_age_days is not None
        return bool(self.all_filters or self.class_rule.is_given or of_object)

    def findings(self, *, notices: bool = False) -> list[str]:
        """What an astronomer may not expect of these options, in plain sentences.

        :param notices: the stream carries observed events, which make Targets without any rule.
        """
        found = []
        if not notices and self.create is None and not self.has_rules:
            found.append(
                f"Survey alerts make no new Targets, they only update known ones: set {RULES}, or CREATE to always."  # noqa: S608
            )
        permission = self.permissions or getattr(settings, "TARGET_DEFAULT_PERMISSION", "PRIVATE")
        if permission == "PRIVATE" and not self.groups and self.create != "never":
            found.append("New Targets are PRIVATE and no GROUPS are named: only superusers will see them.")
        return found

    def create_for(self, kind: Kind) -> Create:
        """CREATE, or its default for this kind of alert."""
        return self.create or ("always" if kind == "notice" else "rules")

    def target_name(self, object_id: str, *, stream: str, topic: str) -> str:
        """The name of a new Target."""
        if self.name == "{object_id}":
            return object_id
        return self.name.format(object_id=object_id, stream=stream, topic=topic)


def shortened(value: object) -> str:
    """A value of an alert for people; a cutout has thousands of bytes."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)


def _is_extra(name: object) -> bool:
    """The key of a TargetExtra can be this."""
    return isinstance(name, str) and 0 < len(name) <= 200 and name.isprintable()


def _between(value: object, low: float, high: float) -> bool:
    """None, or a number within the bounds."""
    if value is None:
        return True
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
