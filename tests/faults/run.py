"""What a sceptical operator runs: ``make faults``, or ``python -m tests.faults.run [options] [PROOF …]``.

Starts a Kafka and a PostgreSQL of its own, and prints a table. Exit code 1 where a proof has failed.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tests import services
from tests.faults.alerce import alerce
from tests.faults.larger import messages, model
from tests.faults.memory import memory
from tests.faults.outage import outage
from tests.faults.poison import poison
from tests.faults.results import Result, Say, Size, say, table
from tests.faults.servers import Servers
from tests.faults.steps import steps
from tests.faults.storm import storm, storm_on_sqlite

Proof = Callable[[Servers, Path, Size, Say], Result]
PROOFS: dict[str, Proof] = {
    "storm": storm,
    "sqlite": storm_on_sqlite,
    "poison": poison,
    "memory": memory,
    "outage": outage,
    "alerce": alerce,
    "steps": steps,
    "model": model,
    "messages": messages,
}


def run(names: Sequence[str], size: Size, folder: Path) -> list[Result]:
    """Make these proofs, one after the other.

    :param folder: an existing directory; each TOM and its logs go into one of their own below it.
    """
    with tempfile.TemporaryDirectory(prefix="tom-alertstreams-kafka-") as home, Servers(Path(home)) as servers:
        return [PROOFS[name](servers, folder / name, size, say) for name in names]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    options = _parser().parse_args(arguments)
    if reason := Servers.missing():
        say(f"faults: cannot be run here: {reason}")
        return 1
    services.exit_on_sigterm()
    seed = random.randrange(10**6) if options.seed is None else options.seed
    size = Size(options.alerts, options.mishaps, seed, options.outage)
    names = options.proof or list(PROOFS)
    command = f"--seed {seed} --alerts {size.alerts} --mishaps {size.mishaps} --outage {size.outage_s:g}"
    command = f'make faults ARGS="{" ".join([command, *options.proof])}"'
    say(f"faults: {', '.join(names)}; seed {seed}")
    try:
        if options.keep:
            options.keep.mkdir(parents=True)
            results = run(names, size, options.keep)
        else:
            with tempfile.TemporaryDirectory(prefix="tom-alertstreams-faults-") as folder:
                results = run(names, size, Path(folder))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    say(f"\n{table(results)}\n\nseed {seed}; again: {command}")
    return int(any(result.findings for result in results))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.run", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--alerts", type=int, default=100_000, help="of each proof; of memory ten times as many, of messages a tenth"
    )
    parser.add_argument("--mishaps", type=int, default=50, help="in a storm")
    parser.add_argument("--seed", type=int, help="of the dice; drawn where none is given")
    parser.add_argument("--outage", type=float, default=120, metavar="SECONDS", help="how long each server is away")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="leave the logs of all processes in this new folder"
    )
    parser.add_argument(
        "proof", nargs="*", type=_name, metavar="PROOF", help=f"{', '.join(PROOFS)}; all where none is named"
    )
    return parser


def _name(text: str) -> str:
    if text not in PROOFS:
        raise argparse.ArgumentTypeError(f"there is no proof {text!r}, only {', '.join(PROOFS)}")
    return text


if __name__ == "__main__":
    sys.exit(main())
