"""Of the contract tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import apf_bridge
from apf_bridge import redirect

# So that its assertions tell what they compared, as those of the test modules do.
pytest.register_assert_rewrite("tests.contract.books")


@pytest.fixture
def steps() -> Iterator[Any]:
    """``apf`` is in place; what the steps have kept is forgotten, and so are streams of other tests that did not end."""
    apf_bridge.install()
    from tests.steps import steps

    steps.reset()
    redirect._of_streams.clear()
    yield steps
    steps.reset()
    apf_bridge.shims.uninstall()
