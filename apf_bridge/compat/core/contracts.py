"""Which generation of APF a step was written for. Three are in use, and call a step differently."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, cast, get_args

Contract = Literal["1", "2", "6"]

#: What a step of 2.x or 6.x may override, and 1.x did not know.
HOOKS: Final = ("pre_consume", "pre_execute", "post_execute", "pre_produce", "produce", "post_produce", "tear_down")
_NAMES: Final = [f'"{name}"' for name in get_args(Contract)]

#: The parameters of GenericStep in their order, for steps that pass them by position.
PARAMETERS: Final[Mapping[Contract, tuple[str, ...]]] = {
    "1": ("consumer", "level", "config"),
    "2": ("consumer", "producer", "metrics_sender", "config", "prometheus_metrics"),
    "6": ("consumer", "producer", "metrics_sender", "level", "config", "prometheus_metrics"),
}


def contract_of(step_class: type, config: Mapping[str, Any] | None = None, consumer: Any = None) -> Contract:
    """The contract that a step is run under.

    CONTRACT in its config decides, else the attribute ``contract`` of its class. Else it is 1.x where a consumer is
    given ready made, or the constructor takes ``consumer`` without naming a class and no hook is overridden, among which
    is a ``produce`` that takes the result alone; 6.x where the constructor takes ``level`` or the producer has
    SCHEMA_PATH; else 2.x, the one on the index.

    :raises ValueError: CONTRACT is neither "1", "2" nor "6".
    """
    config = config or {}
    asked = config.get("CONTRACT") or getattr(step_class, "contract", None)
    if asked is not None:
        if (wrong := wrong_contract(asked)) is not None:
            raise ValueError(wrong)
        return cast(Contract, str(asked))
    constructor = own(step_class, "__init__")
    named = inspect.signature(constructor).parameters if constructor else {}
    if consumer is not None and not isinstance(consumer, type):
        return "1"
    if "consumer" in named and not any(_overrides(step_class, hook) for hook in HOOKS):
        default = named["consumer"].default
        if default is None or default is inspect.Parameter.empty:
            return "1"
    if "level" in named or "SCHEMA_PATH" in (config.get("PRODUCER_CONFIG") or {}):
        return "6"
    return "2"


def wrong_contract(contract: Any) -> str | None:
    """What is said of a CONTRACT that is none."""
    if str(contract) in get_args(Contract):
        return None
    return f"CONTRACT is {contract!r}; write {', '.join(_NAMES[:-1])} or {_NAMES[-1]}."


def is_6x(contract: Contract | None) -> bool:
    """Whether a step finds what 6.x has brought: metrics with source and survey, batches that are skipped."""
    return contract == "6"


def _overrides(step_class: type, hook: str) -> bool:
    """``produce`` of 2.x and 6.x takes the result; a method of that name in a step of 1.x may take anything."""
    method = own(step_class, hook)
    if method is None or hook != "produce":
        return method is not None
    given = inspect.signature(method).parameters.values()
    needed = [
        one for one in given if one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    ]
    return len(needed) == 2  # with self


def own(step_class: type, name: str) -> Callable[..., Any] | None:
    """The step's own method of that name, where it does not have GenericStep's."""
    from .step import GenericStep

    for base in step_class.__mro__:
        if base is GenericStep:
            return None
        if name in vars(base):
            return cast(Callable[..., Any], vars(base)[name])
    return None


def bound(contract: Contract, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """GenericStep's arguments by name.

    :raises TypeError: they do not fit the contract. 1.x takes any name; ``level`` is taken by all.
    """
    names = PARAMETERS[contract]
    if len(args) > len(names):
        raise TypeError(f"GenericStep takes {len(names)} arguments by position, not {len(args)} (contract {contract}).")
    given = dict(zip(names, args, strict=False))
    if doubled := given.keys() & kwargs.keys():
        raise TypeError(f"GenericStep got multiple values for {sorted(doubled)}.")
    unknown = kwargs.keys() - {*names, "level"}
    if unknown and contract != "1":
        raise TypeError(f"GenericStep got unexpected arguments {sorted(unknown)} (contract {contract}).")
    return given | kwargs
