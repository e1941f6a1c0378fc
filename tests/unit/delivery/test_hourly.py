"""How much of its hourly work a stream does between two groups of alerts."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tom_alertstreams.delivery import hourly
from tom_alertstreams.delivery.hourly import Hourly


@pytest.mark.parametrize(("batch_s", "statements"), [(0.0, 2), (10.0, 10), (10_000.0, 20)])
def test_the_longer_a_batch_takes_the_more_is_deleted_after_it(
    monkeypatch: pytest.MonkeyPatch, batch_s: float, statements: int
) -> None:
    """A twentieth of its time, so that nothing grows faster than it is deleted; and never more than a second."""
    clock = [0.0]
    monkeypatch.setattr(hourly, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    done: list[int] = []

    def deletes() -> Iterator[int]:
        while True:
            clock[0] += 0.05
            done.append(1)
            yield 1

    work = Hourly(cast(Any, None), cast(Any, None))
    work._left = [("the test", deletes())]
    clock[0] += batch_s
    work.go_on()
    assert len(done) == pytest.approx(statements, abs=1)
    assert not work.is_done
