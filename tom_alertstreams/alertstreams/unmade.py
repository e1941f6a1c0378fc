"""A stream whose class cannot be made: it is tried again like one that is down, and people see why.

The constructor of a class may do anything: log in, read a file, ask the database. What fails at the start of ``readstreams``
may work a minute later, and where it is the settings that are wrong, the page is where people look for the reason.
"""

from __future__ import annotations

import contextlib

from tom_alertstreams.conf import StreamSettings
from tom_alertstreams.delivery.failures import public_text_of, text_of
from tom_alertstreams.delivery.runs import RunRecord, State, Status
from tom_alertstreams.delivery.source import Control
from tom_alertstreams.exceptions import ConfigurationError

from .alertstream import AlertStream, make_stream


class UnmadeStream:
    """Stands for an entry of ALERT_STREAMS until its stream is made."""

    def __init__(self, settings: StreamSettings) -> None:
        self.settings = settings
        self._made: AlertStream | None = None
        #: Why it could not be made the last time, and the row that says so: one for all tries that fail alike.
        self._reason = ""
        self._record: RunRecord | None = None

    @property
    def stops_when_asked(self) -> bool:
        """As the stream does, once there is one."""
        return self._made is None or self._made.stops_when_asked

    def deliver(self, control: Control, status: Status) -> None:
        """Make the stream, and let it deliver.

        :raises ConfigurationError: it cannot be made.
        """
        if self._made is None:
            self._made = self._make(status)
        self._made.deliver(control, status)

    def leave_word(self) -> None:
        """Tell the pages why it cannot be made, where no stream can be read and nobody tries again."""
        with contextlib.suppress(ConfigurationError):
            self._make(Status(self.settings.label))

    def _make(self, status: Status) -> AlertStream:
        try:
            return _made(self.settings)
        except ConfigurationError as error:
            status.say(State.DOWN, public_text_of(error), f"{type(error).__name__}: {text_of(error)}")
            if self._record is None or self._reason != status.whole:
                self._reason, self._record = status.whole, RunRecord(self.settings, "", status)
            self._record.end()  # a life that was over at once
            raise


def _made(settings: StreamSettings) -> AlertStream:
    """The stream; whatever its class raises is a ConfigurationError."""
    try:
        return make_stream(settings)
    except ConfigurationError as error:
        hint = f"{error.hint or 'Correct ALERT_STREAMS in settings.py.'} Then restart readstreams."
        raise ConfigurationError(error.message, details=error.details, hint=hint) from error
    except (Exception, SystemExit) as error:  # a 1.x constructor may do anything, and the others must start
        raise ConfigurationError(
            f"{type(error).__name__} while the stream was made.",
            details=text_of(error),
            hint="Correct ALERT_STREAMS in settings.py, or what its class needs. Then restart readstreams.",
        ) from error
