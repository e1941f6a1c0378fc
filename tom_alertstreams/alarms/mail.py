"""Alarms by e-mail, with what settings.py says of mail: EMAIL_BACKEND, EMAIL_HOST and so on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage, get_connection

from tom_alertstreams.exceptions import ConfigurationError

from .notifier import Notice, Notifier, check_timeout


@dataclass(frozen=True)
class MailNotifier(Notifier):
    """One mail to all recipients."""

    #: Addresses; none: ADMINS.
    recipients: Sequence[str] = ()
    #: Of each step of the talk with the mail server; EMAIL_TIMEOUT comes first.
    timeout_s: float = 10.0

    def __post_init__(self) -> None:
        for name, given in (("RECIPIENTS", self.recipients), ("ADMINS", () if self.recipients else _admins())):
            if not _are_addresses(given):
                raise ConfigurationError(f"{name} is not a list of addresses.", hint='Write ["me@observatory.org"].')
        if not self._addresses():
            raise ConfigurationError("there is nobody to write to.", hint="Set RECIPIENTS, or ADMINS in settings.py.")
        check_timeout(self.timeout_s)

    def tell(self, notice: Notice) -> None:
        """Send it, in the name of SERVER_EMAIL as mails to ADMINS are."""
        connection = get_connection(timeout=settings.EMAIL_TIMEOUT or self.timeout_s)
        subject = f"{settings.EMAIL_SUBJECT_PREFIX}{notice.subject}"
        EmailMessage(subject, notice.text, settings.SERVER_EMAIL, self._addresses(), connection=connection).send()

    def _addresses(self) -> list[str]:
        return list(self.recipients or _admins())


def _admins() -> Any:
    """Addresses, as since Django 6, out of pairs of a name and an address too."""
    given: Any = settings.ADMINS
    if not isinstance(given, (list, tuple)):
        return given
    return [one[1] if isinstance(one, (list, tuple)) and len(one) == 2 else one for one in given]


def _are_addresses(given: Any) -> bool:
    return isinstance(given, (list, tuple)) and all(
        isinstance(one, str) and "@" in one and one.isprintable() for one in given
    )
