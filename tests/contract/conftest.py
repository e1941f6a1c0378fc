"""Of the contract tests."""

from __future__ import annotations

import pytest

# So that its assertions tell what they compared, as those of the test modules do.
pytest.register_assert_rewrite("tests.contract.books")
