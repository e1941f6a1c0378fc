"""Alarms by e-mail, with what settings.py says of mail: EMAIL_BACKEND, EMAIL_HOST and so on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.conf import settings
from django.core.mail import EmailMessage, get_connection

from tom_alertstreams.exceptions import ConfigurationError

from .notifier import Notice, Notifier


@dataclass(frozen=True)
class MailNotifier(Notifier):
    """One mail to all recipients."""

    #: Addresses; none: ADMINS.
    recipients: Sequence[str] = ()
    #: Of each step of the talk with the mail server; EMAIL_TIMEOUT comes first.
    timeout_s: float = 10.0

    def __post_init__(self) -> None:
        if isinstance(self.recipients, str) or not all(isinstance(one, str) for one in self.recipients):
            raise ConfigurationError("RECIPIENTS is not a list of addresses.", hint='Write ["me@observatory.org"].')
        if not self._addresses():
            raise ConfigurationError("there is nobody to write to.", hint="Set RECIPIENTS, or ADMINS in settings.py.")

    def tell(self, notice: Notice) -> None:
        """Send it, in the name of SERVER_EMAIL as mails to ADMINS are."""
        connection = get_connection(timeout=settings.EMAIL_TIMEOUT or self.timeout_s)
        subject = f"{settings.EMAIL_SUBJECT_PREFIX}{notice.subject}"
        EmailMessage(subject, notice.text, settings.SERVER_EMAIL, self._addresses(), connection=connection).send()

    def _addresses(self) -> list[str]:
        admins: Iterable[str | tuple[str, str]] = settings.ADMINS
        return list(self.recipients) or [one if isinstance(one, str) else one[1] for one in admins]
