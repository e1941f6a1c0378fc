"""Proofs that are tests of the suite, made larger: the model of delivery, and mutated messages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests import services
from tests.faults.results import Result, Say, Size
from tests.faults.servers import Servers

#: Mutated messages are many; of the model each example is a history of up to 20 steps, made in three ways of calling.
_ALERTS_A_MESSAGE, _ALERTS_AN_EXAMPLE = 10, 200


def model(servers: Servers, folder: Path, size: Size, say: Say) -> Result:
    """Random histories of the delivery loop in memory: handlers, database, broker and processes fail."""
    examples = max(1, size.alerts // _ALERTS_AN_EXAMPLE)
    environment = {"EXAMPLES": str(examples)}
    result = run_tests(
        "model", "tests/faults/test_model.py", [f"--hypothesis-seed={size.seed}"], environment, folder, say
    )
    result.notes.append(f"{examples:,} random histories for each way of calling")
    return result


def messages(servers: Servers, folder: Path, size: Size, say: Say) -> Result:
    """Real messages with bytes flipped, cut and spliced, on PostgreSQL: each is accounted for once."""
    environment = {
        "MUTATED_MESSAGES": str(size.alerts // _ALERTS_A_MESSAGE),
        "MUTATION_SEED": str(size.seed),
        services.DATABASE: servers.postgres.url(),
    }
    result = run_tests("messages", "tests/faults/test_mutated_messages.py", [], environment, folder, say)
    result.alerts = size.alerts // _ALERTS_A_MESSAGE
    return result


def run_tests(
    proof: str, module: str, options: list[str], environment: dict[str, str], folder: Path, say: Say
) -> Result:
    """Tests as a proof: all of them have to be run, and pass."""
    result = Result(proof)
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "pytest.log"
    say(f"{proof}: {module} with {' '.join(f'{name}={environment[name]}' for name in list(environment)[:2])}")
    command = [sys.executable, "-m", "pytest", "-q", "-n", str(os.cpu_count() or 2), *options, module]
    command.append(f"--basetemp={folder / 'pytest'}")
    with log.open("w") as output:
        done = subprocess.run(command, env={**os.environ, **environment}, stdout=output, stderr=output, check=False)
    lines = log.read_text(errors="replace").splitlines()
    summary = lines[-1].strip("= ") if lines else "pytest said nothing"
    if done.returncode:
        result.findings.append("\n".join(lines[-60:]))
    elif " passed" not in summary or "skipped" in summary:
        result.findings.append(f"not all of it was run: {summary}; the messages need ALERT_SAMPLES")
    else:
        result.notes.append(summary)
    return result.end()
