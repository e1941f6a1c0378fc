"""A TOM with psycopg 2: the same rows as with psycopg 3."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.services import DATABASE
from tests.unit.ingest.samples import ROOT

PROGRAM = Path(__file__).with_name("psycopg2_program.py")


def ingested(driver: str, url: str, folder: Path) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """What the program says of its driver, and the rows of each table."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "EXAMPLE_TOM_RUN_DIR": str(folder),
        "TMPDIR": str(folder),
        "PYTHONPATH": str(ROOT),
        DATABASE: url,
    }
    run = subprocess.run(
        [sys.executable, str(PROGRAM), driver],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    first, _, rows = run.stdout.partition("\n")
    return json.loads(first), json.loads(rows)


@pytest.fixture
def second_url(postgres_url: str) -> Any:
    """Another empty database."""
    name = urlsplit(postgres_url).path.lstrip("/") + "_second"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        yield urlsplit(postgres_url)._replace(path=f"/{name}").geturl()
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.mark.skipif(importlib.util.find_spec("psycopg2") is None, reason="psycopg 2 is not installed")
def test_the_same_rows_with_both_drivers(postgres_url: str, second_url: str, tmp_path: Path) -> None:
    with_2, rows_2 = ingested("2", postgres_url, tmp_path)
    with_3, rows_3 = ingested("3", second_url, tmp_path)
    assert (with_2["driver"], with_2["psycopg 3"]) == ("psycopg2", False)
    assert (with_3["driver"], with_3["psycopg 3"]) == ("psycopg", True)
    assert with_2["outcomes"] == with_3["outcomes"]
    assert set(with_2["outcomes"]) == {"done", "rejected"}
    assert {name: len(rows) for name, rows in rows_2.items()} == {name: len(rows) for name, rows in rows_3.items()}
    assert rows_2 == rows_3
    assert all(rows_2.values())
    assert {'"g",', "NULL"} & {dict(row)["bandpass"] for row in rows_2["PhotometryReducedDatum"]} == {'"g",'}
    assert {"NULL", str(2**63 - 1)} <= {dict(row)["name"] for row in rows_2["TargetName"] + rows_2["BaseTarget"]}
    assert len(rows_2["TargetAlert"]) >= 200
