"""`make faults` in its short form: every proof that is no test of the suite itself, with little."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import services
from tests.faults.larger import run_tests
from tests.faults.results import Size, say, table
from tests.faults.run import PROOFS
from tests.faults.servers import Servers

SEED = random.randrange(10**6)
SHORT = {
    "storm": Size(alerts=3000, mishaps=6, seed=SEED, outage_s=0),
    "sqlite": Size(alerts=1200, mishaps=3, seed=SEED, outage_s=0),
    "poison": Size(alerts=1500, mishaps=0, seed=SEED, outage_s=0),
    "memory": Size(alerts=600, mishaps=0, seed=SEED, outage_s=0),
    "outage": Size(alerts=1200, mishaps=0, seed=SEED, outage_s=6),
    "alerce": Size(alerts=800, mishaps=1, seed=SEED, outage_s=0),
}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Of this module alone: they are stopped again and again."""
    if reason := Servers.missing():
        (pytest.fail if services.required() else pytest.skip)(reason)
    with Servers(tmp_path_factory.mktemp("kafka")) as started:
        yield started


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.xdist_group("proofs")
@pytest.mark.parametrize("proof", SHORT)
def test_proof(proof: str, servers: Servers, tmp_path: Path) -> None:
    result = PROOFS[proof](servers, tmp_path / proof, SHORT[proof], say)
    print(table([result]))
    assert not result.findings, f"seed {SEED}:\n" + "\n".join(result.findings)


def test_a_proof_whose_tests_are_skipped_does_not_hold(tmp_path: Path) -> None:
    skipped = tmp_path / "test_skipped.py"
    skipped.write_text(
        "import pytest\n\ndef test_it():\n    pass\n\ndef test_skipped():\n    pytest.skip('no samples')\n"
    )
    result = run_tests("messages", str(skipped), [], {}, tmp_path / "messages", say)
    assert "not all of it was run" in "\n".join(result.findings)
