"""Why a stream is as it is, for everybody: without the words of an error that is not ours."""

from __future__ import annotations

import pytest
from django import db

from tom_alertstreams.alerts import Outcome
from tom_alertstreams.conf import DeliverySettings
from tom_alertstreams.delivery.failures import public_text_of, text_of, unavailable
from tom_alertstreams.delivery.fuse import Fuse
from tom_alertstreams.exceptions import AuthenticationFailed, FuseBlown

PRIVATE = "Key (name)=(SN 2026 private) already exists"


def blown() -> FuseBlown:
    """By an error that names a Target."""
    fuse = Fuse("ztf", DeliverySettings(max_consecutive_failures=1), half_open=False)
    with pytest.raises(FuseBlown) as raised:
        fuse.judge([Outcome.failed(db.IntegrityError(PRIVATE))])
    return raised.value


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (blown(), "The last error was IntegrityError. Mend the handler"),
        (unavailable(db.OperationalError(PRIVATE)), "the database cannot be used. The stream waits"),
        (AuthenticationFailed("refused", stream="ztf", details=PRIVATE), "ztf: refused"),
        (db.IntegrityError(PRIVATE), "IntegrityError"),
    ],
)
def test_words_that_are_not_ours_are_left_out(error: Exception, told: str) -> None:
    assert told in public_text_of(error)
    assert "private" not in public_text_of(error)
    assert PRIVATE in text_of(error)
