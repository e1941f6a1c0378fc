"""Nothing secret leaves: the one place that knows the secrets of this process and blanks them in texts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

BLANK = "•••"

_SECRET_NAME = re.compile(
    r"pass(word|wd)?|secret|token(?!.*(endpoint|url))|api.?key|private.?key|key.pem", re.IGNORECASE
)
_LOGIN = re.compile(r"://[^/?#@:]*:([^/?#]*)@")
#: Shorter values would blank ordinary words.
_SHORTEST = 4

_secrets: set[str] = set()


def remember_secrets(options: Mapping[str, Any]) -> None:
    """Note every secret value in the OPTIONS of a stream, nested CONFIG included."""
    _secrets.update(_secret_values(options))


def remember_secret(value: str) -> None:
    """Note a value that is secret whatever its name is."""
    if len(value) >= _SHORTEST:
        _secrets.add(value)


def is_secret(name: str) -> bool:
    """Whether what is called so holds a secret."""
    return _SECRET_NAME.search(name) is not None


def redact(text: str) -> str:
    """The text with every known secret blanked."""
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, BLANK)
    return text


def redacted(value: Any) -> Any:
    """The same of every text in what is about to become JSON: JSON writes quotes and accents otherwise."""
    if isinstance(value, Mapping):
        return {redacted(name): redacted(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [redacted(inner) for inner in value]
    return redact(value) if isinstance(value, str) else value


def _secret_values(options: Mapping[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from _secret_values(value)
        elif isinstance(value, str) and len(value) >= _SHORTEST and is_secret(str(name)):
            yield value
        elif isinstance(value, str) and "://" in value and "@" in value:
            yield from (password for password in _passwords_of(value) if len(password) >= _SHORTEST)


def _passwords_of(address: str) -> tuple[str, ...]:
    """The password in an address like ``https://name:password@host/``, as it stands there and as it is meant."""
    password = _LOGIN.search(address)
    return (password[1], unquote(password[1])) if password else ()
