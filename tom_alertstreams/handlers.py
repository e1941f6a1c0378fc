"""How a handler function is called: the two decorators, and the reading of an unmarked function's signature."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar, overload

from django.utils.module_loading import import_string

from .exceptions import ConfigurationError

Function = TypeVar("Function", bound=Callable[..., Any])

_MARK = "_alertstreams_handler"


class Style(Enum):
    """The ways a handler can be called; ``checkstreams`` shows the value."""

    #: As tom-alertstreams 1.x does: the positional arguments are the stream's own.
    V1 = "1.x, once per alert"
    #: As announced for 2.0: ``handler(alert, alert_stream=…, topic=…, metadata=…)``.
    V2 = "2.0, once per alert"
    #: ``@alert_handler``: gets one Alert.
    ALERT = "@alert_handler, one transaction per group"
    #: ``@batch_handler``: gets a list of Alerts.
    BATCH = "@batch_handler, one call per batch"


@dataclass(frozen=True)
class Mark:
    """What a decorator says of its function."""

    style: Style
    options: type[Any] | None = None
    prepare: Callable[..., Any] | None = None
    cutouts: bool = True
    ahead: bool = False


@dataclass(frozen=True)
class Handler:
    """A handler ready to be called."""

    path: str
    function: Callable[..., Any]
    style: Style
    #: The instance built from the topic's OPTIONS, passed on as keyword ``options``; None where none are declared.
    options: Any = None
    prepare: Callable[..., Any] | None = None
    #: Which of alert_stream, topic, metadata a 2.0 handler takes.
    keywords: frozenset[str] = frozenset()
    #: Whether the content of its alerts has the images of a survey's packet.
    cutouts: bool = True
    #: ``prepare`` needs its alerts only, so that it may run while those before them are being handled.
    ahead: bool = False

    @property
    def marked(self) -> bool:
        """Written with one of our decorators."""
        return self.style in (Style.ALERT, Style.BATCH)

    @property
    def called(self) -> str:
        """How it is called, for people."""
        return self.style.value + ("" if self.cutouts else ", without cutouts")


@overload
def alert_handler(function: Function, /) -> Function: ...
@overload
def alert_handler(*, options: type[Any] | None = None, cutouts: bool = True) -> Callable[[Function], Function]: ...
def alert_handler(function: Any = None, /, *, options: type[Any] | None = None, cutouts: bool = True) -> Any:
    """Mark a function that takes one :class:`~tom_alertstreams.alerts.Alert`.

    Alerts are handled in groups, one transaction a group; when one fails the group is rolled back and run again
    alert by alert. So the function may run more than once for an alert, but what it writes to the database counts
    once. Effects outside the database belong in ``transaction.on_commit`` or a task. It may return an
    :class:`~tom_alertstreams.alerts.Outcome`; None is done.

    :param options: a frozen dataclass; built from the topic's OPTIONS at start and passed as keyword ``options``.
    :param cutouts: False where it does not read the images of a survey's packet: the content of its alerts lacks the
        fields at the top that are named ``cutout…``. The raw bytes have them, and so has a dead letter.
    """

    def mark(function: Function) -> Function:
        setattr(function, _MARK, Mark(Style.ALERT, options, cutouts=cutouts))
        return function

    return mark(function) if function is not None else mark


@overload
def batch_handler(function: Function, /) -> Function: ...
@overload
def batch_handler(
    *,
    options: type[Any] | None = None,
    prepare: Callable[..., Any] | None = None,
    ahead: bool = False,
    cutouts: bool = True,
) -> Callable[[Function], Function]: ...
def batch_handler(
    function: Any = None,
    /,
    *,
    options: type[Any] | None = None,
    prepare: Callable[..., Any] | None = None,
    ahead: bool = False,
    cutouts: bool = True,
) -> Any:
    """Mark a function that takes a list of Alerts, all in one transaction.

    It may return None (all done) or a list with one :class:`~tom_alertstreams.alerts.Outcome` per alert. If it
    raises, the batch is rolled back and halved until the alert at fault is found.

    :param options: as for :func:`alert_handler`.
    :param prepare: called as ``prepare(alerts)`` (with ``options=`` where options are declared) before the
        transaction; may use the network, for at most PREPARE_TIMEOUT_S. Its result is the second argument.
    :param ahead: True where ``prepare`` needs nothing that the alerts before write: it then runs while they are being
        handled.
    :param cutouts: as for :func:`alert_handler`.
    """

    def mark(function: Function) -> Function:
        setattr(function, _MARK, Mark(Style.BATCH, options, prepare, cutouts, ahead))
        return function

    return mark(function) if function is not None else mark


def is_marked(function: Any) -> bool:
    """Whether it was written with one of our decorators."""
    return isinstance(getattr(function, _MARK, None), Mark)


def resolve(
    path: str,
    options: Mapping[str, Any] | None = None,
    v1_arguments: int | None = 1,
    function: Callable[..., Any] | None = None,
) -> Handler:
    """Import a handler and decide, once, how it is called.

    :param path: dotted path of the function.
    :param options: OPTIONS of the topic.
    :param v1_arguments: how many positional arguments a 1.x handler of this stream gets; None where the stream
        has no 1.x shape, so that an unmarked function gets the Alert.
    :param function: what is called in place of what the path names.
    :raises ConfigurationError: the path cannot be imported, is not callable, or its options do not fit.
    """
    function = import_handler(path) if function is None else function
    mark: Mark | None = getattr(function, _MARK, None)
    if mark is None:
        if options:
            raise ConfigurationError(
                f"{path} takes no OPTIONS.", hint="Mark it with @alert_handler(options=…), or remove OPTIONS."
            )
        style, keywords = _style_of(path, function, v1_arguments)
        return Handler(path, function, style, keywords=keywords)
    built = build_options(path, mark.options, options)
    return Handler(path, function, mark.style, built, mark.prepare, cutouts=mark.cutouts, ahead=mark.ahead)


def import_handler(path: str) -> Callable[..., Any]:
    """The function that a path names.

    :raises ConfigurationError: it cannot be imported, or is not callable.
    """
    try:
        function = import_string(path)
    except Exception as error:
        raise ConfigurationError(
            f"handler {path!r} cannot be imported: {type(error).__name__}: {error}",
            hint="Check the dotted path in TOPIC_HANDLERS, and that the app is installed.",
        ) from error
    if not callable(function):
        raise ConfigurationError(f"handler {path!r} is not a function.", hint="Name a function in TOPIC_HANDLERS.")
    return function  # type: ignore[no-any-return]


def _style_of(path: str, function: Callable[..., Any], v1_arguments: int | None) -> tuple[Style, frozenset[str]]:
    """2.0 style only if ``alert_stream`` is a named parameter, or if the 1.x call does not bind; else 1.x.

    :raises ConfigurationError: neither call binds.
    """
    offered = ("alert_stream", "topic", "metadata")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # builtins, some C callables
        return Style.V1, frozenset()
    parameters = signature.parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    keywords = frozenset(name for name in offered if takes_any or name in parameters)
    count = v1_arguments if v1_arguments is not None else 1
    if "alert_stream" not in parameters and _binds(signature, *range(count)):
        return Style.V1, frozenset()
    if _binds(signature, 0, **dict.fromkeys(keywords)):
        return Style.V2, keywords
    what = "argument" if count == 1 else "arguments"
    raise ConfigurationError(
        f"handler {path!r} takes {signature}; this stream calls it with {count} {what}.",
        hint="Give it the parameters of its stream (docs/reference/streams.md), or mark it with @alert_handler.",
    )


def _binds(signature: inspect.Signature, *arguments: Any, **keywords: Any) -> bool:
    try:
        signature.bind(*arguments, **keywords)
    except TypeError:
        return False
    return True


def build_options(path: str, declared: type[Any] | None, given: Mapping[str, Any] | None) -> Any:
    """Make the options instance of a handler from the upper-case keys of settings.

    :raises ConfigurationError: an unknown key, or a value that the dataclass refuses.
    """
    given = dict(given or {})
    if declared is None:
        if given:
            raise ConfigurationError(f"{path} takes no OPTIONS.", hint="Remove OPTIONS from its topic.")
        return None
    fields = {f.name.upper(): f.name for f in dataclasses.fields(declared) if f.init}
    unknown = sorted(map(str, set(given) - set(fields)))
    if unknown:
        raise ConfigurationError(
            f"{path} does not know the option {', '.join(unknown)}.", hint=f"It takes {', '.join(sorted(fields))}."
        )
    try:
        return declared(**{fields[key]: value for key, value in given.items()})
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"OPTIONS of {path}: {error}", hint="Correct the option in TOPIC_HANDLERS.") from error
