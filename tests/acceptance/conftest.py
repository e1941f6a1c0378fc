"""Of the acceptance tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.processes import Tom


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database to copy: making the tables of a TOM takes seconds."""
    tom = Tom(tmp_path_factory.mktemp("migrated"))
    tom.migrate()
    return tom.folder / "tom.sqlite3"


@pytest.fixture
def tom(migrated: Path, tmp_path: Path) -> Tom:
    """A TOM with nothing in it, for this test alone."""
    (tmp_path / "tom.sqlite3").write_bytes(migrated.read_bytes())
    return Tom(tmp_path)
