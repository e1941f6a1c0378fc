"""Marks of the tests."""

from __future__ import annotations

import pytest

#: A test that commits, and writes to no other tables than the core's: only those are emptied after it. To empty all tables
#: of a TOM takes up to half a second.
CORE_TABLES = pytest.mark.django_db(transaction=True, available_apps=["tom_alertstreams", "tests.effects"])
#: The same with the outbox of steps.
CORE_AND_STEPS = pytest.mark.django_db(
    transaction=True, available_apps=["tom_alertstreams", "apf_bridge", "tests.effects"]
)
