"""Why a broker does not let us in, in words: the likely cause behind the errors of the Kafka client, and the next step."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from confluent_kafka import KafkaError

from tom_alertstreams.redaction import redact


@dataclass(frozen=True)
class Failure:
    """What went wrong at a login."""

    #: One word, for programs.
    cause: str
    #: For people, with the next step.
    message: str
    #: The words of the client or the broker.
    said: str = ""

    def __str__(self) -> str:
        return f"{self.message} ({self.said})" if self.said else self.message


@dataclass(frozen=True)
class _Case:
    cause: str
    #: Looked for in ``NAME words`` of an error.
    sign: re.Pattern[str]
    message: str


def _case(cause: str, sign: str, message: str) -> _Case:
    return _Case(cause, re.compile(sign, re.IGNORECASE), message)


#: The most telling first: a refused login also closes connections, and then all brokers count as down.
_CASES: Final = (
    _case(
        "token",
        r"OAUTHBEARER token",
        "no token to log in with: the client id or the secret is wrong, or the token server cannot be reached. Check both "
        "in OPTIONS, and that this machine may open HTTPS connections.",
    ),
    _case(
        "mechanism",
        r"unsupported.sasl.mechanism",
        "the broker does not take this SASL mechanism. Set the one that the broker names (sasl.mechanisms in CONFIG, or "
        "MECHANISM where the stream has it).",
    ),
    _case(
        "no login",
        r"illegal_sasl_state|not valid in current SASL state",
        "the broker takes no login at this port. Check the port, or set security.protocol in CONFIG to one without SASL.",
    ),
    _case(
        "group",
        r"group_authorization_failed|group authorization failed",
        "the user name and the password are right, and this consumer group is not allowed. Begin GROUP_ID with the prefix "
        "that the broker gave you, which often is the user name.",
    ),
    _case(
        "topics",
        r"(topic|cluster)_authorization_failed|(topic|cluster) authorization failed",
        "the user name and the password are right, and access is not granted. Ask the broker for access.",
    ),
    _case(
        "password",
        r"authentication",
        "the user name or the password is wrong, or belongs to another SASL mechanism (SCRAM-SHA-256 and SCRAM-SHA-512 keep "
        "separate passwords). Check the three in OPTIONS.",
    ),
    _case(
        "certificate",
        r"certificate|ssl\.ca",
        "the broker's certificate is not trusted. Set ssl.ca.location in CONFIG to the certificate that the broker "
        "publishes, and look at the clock of this machine.",
    ),
    _case(
        "plaintext",
        r"PLAINTEXT broker listener|SSL handshake failed|wrong version number|SSL connection closed",
        "we speak TLS and the broker does not at this port. Check the port, or set security.protocol in CONFIG to one "
        "without SSL.",
    ),
    _case(
        "address",
        r"_RESOLVE|failed to resolve",
        "the address is unknown: no such host. Check how it is written, and the DNS of this machine.",
    ),
    _case(
        "refused",
        r"connection refused",
        "nothing listens at this address and port. Check the port; if it is right, the broker is down.",
    ),
    _case(
        "unreachable",
        r"unreachable|no route to host|timed out|timeout",
        "there is no answer. Most often a firewall drops the connection: ask for outgoing connections to this port.",
    ),
    _case(
        "tls",
        r"_ALL_BROKERS_DOWN|connecting to a SSL listener|disconnected",
        "the broker takes the connection and closes it at once: it wants TLS, or a login. Check the port, and "
        "security.protocol in CONFIG (SSL, SASL_SSL, SASL_PLAINTEXT).",
    ),
)
_SILENT: Final = Failure("silent", next(case.message for case in _CASES if case.cause == "unreachable"))


def likely_cause(errors: Sequence[KafkaError]) -> Failure:
    """What the errors of one login mean together; of no error at all that nobody answered."""
    texts = [f"{error.name()} {error.str()}" for error in errors]
    for case in _CASES:
        for error, text in zip(errors, texts, strict=True):
            if case.sign.search(text):
                return Failure(case.cause, case.message, redact(error.str()))
    if not errors:
        return _SILENT
    return Failure("other", "the broker does not let us in.", redact(texts[-1]))
