"""What producers are called in the outbox, so that each row finds its own again: ``<key of STEP_CONFIG>#<digest>``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any, Final

from tom_alertstreams.redaction import is_secret

_LENGTH: Final = 200


def name_of(whose: str, params: Mapping[str, Any]) -> str:
    """The same after a restart, and with a new password.

    :param whose: a key of STEP_CONFIG; the address of the brokers where PARAMS are not from there.
    """
    lasting = sorted(
        (str(key), str(value)) for key, value in params.items() if not (callable(value) or is_secret(str(key)))
    )
    digest = hashlib.sha256(json.dumps(lasting).encode()).hexdigest()
    return f"{whose[:_LENGTH]}#{digest[:16]}"


def sender_of(name: str, known: Collection[str]) -> str | None:
    """Which of the producers that there are sends a row: the one it was put out by; else the only one of that key.

    So a change of PARAMS leaves no row behind, and where a stream runs a step twice each row goes to the brokers of its own.
    """
    if name in known:
        return name
    alike = [other for other in known if _whose(other) == _whose(name)]
    return alike[0] if len(alike) == 1 else None


def _whose(name: str) -> str:
    return name.rpartition("#")[0] or name
