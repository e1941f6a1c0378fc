"""How a handler is called with its alerts: what it gets, and what its answer means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tom_alertstreams.alerts import Alert, Outcome
from tom_alertstreams.exceptions import (
    DecodeError,
    PermanentError,
    RejectAlert,
    RetryLater,
    TransientError,
)
from tom_alertstreams.handlers import Style

from .failures import as_exception, outcome_of
from .runs import Status
from .source import AlertSource, Binding


def content_error(alert: Alert) -> Exception | None:
    """Decode outside the transaction: a broken alert is a failure, a registry that is away is not.

    :raises TransientError: what decoding needs is away.
    """
    try:
        _ = alert.content
    except (TransientError, KeyboardInterrupt):
        raise
    except (PermanentError, RejectAlert, RetryLater) as error:
        return error
    except BaseException as error:  # noqa: BLE001  (a stream's decode may let through what its library met)
        return DecodeError(f"{type(error).__name__}: {error}")
    return None


@dataclass(frozen=True)
class Prepared:
    """A group of alerts that is ready for its handler."""

    #: For each alert of the group why it could not be decoded, or None.
    errors: Sequence[Exception | None]
    #: Those that could.
    ready: Sequence[Alert]
    #: What ``prepare`` made of these; None where the handler has none.
    result: Any = None


class Calls:
    """Makes the calls of one stream's handlers, and says which alerts are in hand while one runs."""

    def __init__(self, source: AlertSource, status: Status) -> None:
        self._source = source
        self._status = status

    def ready(self, binding: Binding, alert: Alert) -> Callable[[], Outcome]:
        """The call of the handler for one alert, with its arguments made: decoding needs no transaction.

        :raises PermanentError: the alert cannot be decoded.
        """
        handler = binding.handler
        if handler.style is Style.ALERT:
            if error := content_error(alert):
                raise error
            return partial(self._one, binding, alert)
        arguments, keywords = self._source.handler_arguments(alert), dict[str, Any]()
        if handler.style is Style.V2:
            alert_given, *metadata = arguments  # of 1.x: (alert), or (alert, metadata)
            offered = {
                "alert_stream": self._source,
                "topic": alert.topic,
                "metadata": metadata[0] if metadata else None,
            }
            keywords = {name: value for name, value in offered.items() if name in handler.keywords}
            arguments = (alert_given,)
        return partial(self._unmarked, binding, alert, arguments, keywords)

    def _one(self, binding: Binding, alert: Alert) -> Outcome:
        options = binding.handler.options
        answer = self._run(binding, [alert], alert, **({} if options is None else {"options": options}))
        return answer if isinstance(answer, Outcome) else Outcome.done()

    def _unmarked(
        self, binding: Binding, alert: Alert, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> Outcome:
        self._run(binding, [alert], *arguments, **keywords)
        return Outcome.done()

    def ready_or_failed(self, binding: Binding, alert: Alert) -> Callable[[], Outcome]:
        """As :meth:`ready`; where the alert cannot be decoded, a call that says so."""
        try:
            return self.ready(binding, alert)
        except (PermanentError, RejectAlert, RetryLater) as error:
            outcome = outcome_of(error)
            return lambda: outcome

    def batch(self, binding: Binding, prepared: Prepared) -> list[Outcome]:
        """Call a batch handler with the alerts that could be decoded; an outcome for every alert.

        :raises PermanentError: the handler's answer does not fit its alerts.
        """
        handler, ready = binding.handler, prepared.ready
        answer = None
        if ready:
            arguments = (list(ready),) if handler.prepare is None else (list(ready), prepared.result)
            keywords = {} if handler.options is None else {"options": handler.options}
            answer = self._run(binding, ready, *arguments, **keywords)
        if answer is None:
            answer = [Outcome.done()] * len(ready)
        if len(answer) != len(ready) or not all(isinstance(outcome, Outcome) for outcome in answer):
            raise PermanentError(
                f"{handler.path} returned {len(answer)} outcomes for {len(ready)} alerts.",
                hint="A batch handler returns None, or one Outcome per alert in the order of the list.",
            )
        outcomes = iter(answer)
        return [next(outcomes) if error is None else outcome_of(error) for error in prepared.errors]

    def _run(self, binding: Binding, alerts: Sequence[Alert], *arguments: Any, **keywords: Any) -> Any:
        self._status.begin(binding, alerts)
        try:
            return binding.handler.function(*arguments, **keywords)
        except (Exception, KeyboardInterrupt):  # the second is of who sits at a command
            raise
        except BaseException as error:
            raise as_exception(error, "the handler") from error
        finally:
            self._status.end()
