"""ALERT_STREAMS_ALARMS: what can be read, and what is told of the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from django.core.checks import Warning, run_checks

from tests.streams import entry
from tom_alertstreams.alarms.mail import MailNotifier
from tom_alertstreams.alarms.notifier import Notice, Notifier
from tom_alertstreams.alarms.options import alarm_settings
from tom_alertstreams.alarms.webhook import WebhookNotifier
from tom_alertstreams.redaction import redact

MAIL = "tom_alertstreams.alarms.mail.MailNotifier"
WEBHOOK = "tom_alertstreams.alarms.webhook.WebhookNotifier"
TELEGRAPH = f"{__name__}.Telegraph"
ME: dict[str, Any] = {"NAME": MAIL, "OPTIONS": {"RECIPIENTS": ["me@observatory.org"]}}


@dataclass(frozen=True)
class Pager(Notifier):
    """One of a user's own."""

    number: int = 0

    def tell(self, notice: Notice) -> None:
        """Nobody answers."""


@dataclass(frozen=True)
class Telegraph(Pager):
    """One whose class does not expect what it is given."""

    conf: Any = None
    line: str | None = None

    def __post_init__(self) -> None:
        if self.conf is not None:
            self.conf["token"]

    def secrets(self) -> list[Any]:
        return [self.line, self.line[0] if self.line is not None else 7, "open sesame 3"]


def test_nobody_is_to_be_told(settings: Any) -> None:
    assert alarm_settings() == (None, [])


def test_all_of_it(settings: Any) -> None:
    settings.ALERT_STREAMS = [
        entry("b:1", "g", {"t": "one"}, label="ztf"),
        {"LABEL": "broken"},
        {"LABEL": "off", "ACTIVE": False},
    ]
    hook = "https://hooks.slack.com/services/T000/B000/XXXXXXXX"
    settings.ALERT_STREAMS_ALARMS = {
        "NOTIFIERS": [
            ME,
            {"NAME": WEBHOOK, "OPTIONS": {"URL": hook, "TIMEOUT_S": 3}},
            {"NAME": f"{__name__}.Pager", "OPTIONS": {"NUMBER": 7}},
        ],
        "DOWN_MINUTES": 0,
        "SILENT_HOURS": {"ztf": 30, "broken": 1, "off": 2, "*": 0},
        "LETTERS_PER_HOUR": 5,
        "REPEAT_HOURS": 6,
    }
    found, findings = alarm_settings()
    assert not findings
    assert found is not None
    assert found.notifiers == (MailNotifier(("me@observatory.org",)), WebhookNotifier(hook, 3), Pager(7))
    assert (found.down_minutes, found.letters_per_hour, found.repeat_hours) == (0, 5, 6)
    assert (found.silent_hours_of("ztf"), found.silent_hours_of("gcn")) == (30, 0)
    assert hook not in repr(found)
    assert "XXXXXXXX" not in redact(f"cannot connect to {hook}: no path '/services/T000/B000/XXXXXXXX'")


@pytest.mark.parametrize("admin", [("Me", "me@observatory.org"), "me@observatory.org"])
def test_admins_get_mails_where_nobody_is_named(settings: Any, admin: Any) -> None:
    settings.ADMINS = [admin]
    settings.ALERT_STREAMS_ALARMS = {"NOTIFIERS": [MAIL]}
    assert alarm_settings()[1] == []


@pytest.mark.parametrize("admins", ["me@observatory.org", [("Me",)], [("Me", "somewhere")], None])
def test_admins_that_get_no_mail(settings: Any, admins: Any) -> None:
    settings.ADMINS = admins
    settings.ALERT_STREAMS_ALARMS = {"NOTIFIERS": [MAIL]}
    [finding] = alarm_settings()[1]
    assert "ADMINS is not a list of addresses" in finding.message


def test_secrets_that_are_no_text_are_left_out(settings: Any) -> None:
    settings.ALERT_STREAMS_ALARMS = {"NOTIFIERS": [TELEGRAPH]}
    assert alarm_settings()[1] == []
    assert "sesame" not in redact("open sesame 3")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([], "it is not a dict"),
        ({}, "nobody is told"),
        ({"NOTIFIERS": MAIL}, "NOTIFIERS is not a list"),
        ({"NOTIFIERS": [MAIL]}, "there is nobody to write to"),
        ({"NOTIFIERS": [{"NAME": MAIL, "OPTIONS": {"RECIPIENTS": "me@observatory.org"}}]}, "not a list of addresses"),
        ({"NOTIFIERS": [{"NAME": MAIL, "OPTION": {}}]}, "cannot be read"),
        ({"NOTIFIERS": [{"NAME": MAIL, "OPTIONS": {"RECIPIENT": []}}]}, "unexpected keyword argument 'recipient'"),
        ({"NOTIFIERS": [{"NAME": TELEGRAPH, "OPTIONS": {"CONF": {}}}]}, "KeyError: 'token'"),
        ({"NOTIFIERS": [{"NAME": TELEGRAPH, "OPTIONS": {"LINE": ""}}]}, "IndexError"),
        ({"NOTIFIERS": [{"NAME": MAIL, "OPTIONS": {"RECIPIENTS": [""]}}]}, "not a list of addresses"),
        ({"NOTIFIERS": [{"NAME": MAIL, "OPTIONS": {"RECIPIENTS": None}}]}, "not a list of addresses"),
        *(
            ({"NOTIFIERS": [{"NAME": name, "OPTIONS": {**options, "TIMEOUT_S": given}}]}, f"TIMEOUT_S is {given!r}")
            for name, options in ((MAIL, ME["OPTIONS"]), (WEBHOOK, {"URL": "https://h.org/x"}))
            for given in ("ten", 0, -1, 61, None, float("inf"))
        ),
        ({"NOTIFIERS": [{"NAME": WEBHOOK, "OPTIONS": {"URL": "https://bot:pw@h.org/x"}}]}, "URL has a login"),
        ({"NOTIFIERS": ["no.such.Notifier"]}, "No module named"),
        ({"NOTIFIERS": ["tom_alertstreams.alarms.notifier.Notifier"]}, "is no Notifier"),
        ({"NOTIFIERS": ["tom_alertstreams.models.Alarm"]}, "is no Notifier"),
        ({"NOTIFIERS": [{"NAME": WEBHOOK, "OPTIONS": {"URL": "file:///etc/passwd"}}]}, "URL is no web address"),
        ({"NOTIFIERS": [{"NAME": WEBHOOK, "OPTIONS": {"URL": "https://a b/"}}]}, "URL is no web address"),
        ({"NOTIFIERS": [{"NAME": WEBHOOK, "OPTIONS": {"URL": None}}]}, "URL is no web address"),
        ({"NOTIFIERS": [{"NAME": WEBHOOK}]}, "URL is no web address"),
        ({"NOTIFIERS": [ME], "DOWN_MINUTE": 1}, "unknown key DOWN_MINUTE"),
        ({"NOTIFIERS": [ME], "DOWN_MINUTES": "10"}, "DOWN_MINUTES is '10'"),
        ({"NOTIFIERS": [ME], "REPEAT_HOURS": 0}, "REPEAT_HOURS is 0"),
        ({"NOTIFIERS": [ME], "SILENT_HOURS": {"ztf": -1}}, "SILENT_HOURS['ztf'] is -1"),
        ({"NOTIFIERS": [ME], "SILENT_HOURS": {"zft": 1}}, "SILENT_HOURS has 'zft'"),
        ({"NOTIFIERS": [ME], "REPEAT_HOURS": float("inf")}, "REPEAT_HOURS is inf"),
        ({"NOTIFIERS": [ME], "DOWN_MINUTES": 1e9}, "DOWN_MINUTES is 1000000000.0"),
        ({"NOTIFIERS": [ME], "SILENT_HOURS": float("nan")}, "SILENT_HOURS is nan"),
    ],
)
def test_mistakes_are_warnings(settings: Any, given: Any, says: str) -> None:
    settings.ADMINS = []
    settings.ALERT_STREAMS = [entry("b:1", "g", {"t": "one"})]
    settings.ALERT_STREAMS_ALARMS = given
    [message] = run_checks(tags=["alertstreams"])
    assert isinstance(message, Warning)
    assert message.id == "tom_alertstreams.W030"
    assert says in message.msg
    assert message.hint


def test_what_is_right_is_used_all_the_same(settings: Any) -> None:
    settings.ALERT_STREAMS_ALARMS = {"NOTIFIERS": ["no.such.Notifier", ME], "DOWN_MINUTES": -1}
    found, findings = alarm_settings()
    assert len(findings) == 2
    assert found is not None
    assert (len(found.notifiers), found.down_minutes) == (1, 10)
