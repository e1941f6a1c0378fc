"""Take each promise away and see its test fail: ``python -m tests.mutants.run [--fast] [--part K/N] [NAME …]``.

A mutant is a patch beside this file, made with ``git diff``, under a header::

    # promise: no alert is committed before its effect
    # test: tests/unit/test_loop.py::test_crash_before_commit
    # needs: tom postgres      (optional: a TOM around the core app, a PostgreSQL, a Kafka)

It is applied to a copy of the tree and the test is run in it. Only a failing test counts as caught: a patch that no
longer applies, or code that cannot even be imported, is an error. Exit code 1 where a mutant survived or there was an error.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit
from xml.etree import ElementTree

from tests import services

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
NEEDS = {"tom", "postgres", "kafka"}
TIMEOUT_S = 300
#: Most tests wait for a broker now and then, so that one more than the processors of a small machine pays.
_WORKERS = (os.cpu_count() or 2) + 1
# What a broken patch raises, as against a broken promise.
NOT_A_FINDING = ("NameError", "ImportError", "ModuleNotFoundError", "SyntaxError", "IndentationError")
LEFT_BEHIND = 'failed on teardown with "AssertionError'
CAUGHT, SURVIVED, ERROR = "caught", "SURVIVED", "ERROR"


@dataclass(frozen=True)
class Mutant:
    """One patch."""

    path: Path
    promise: str
    test: str
    needs: frozenset[str]

    @classmethod
    def load(cls, path: Path) -> Mutant:
        """:raises ValueError: the header is incomplete."""
        head = path.read_text(encoding="utf-8").partition("\ndiff ")[0]
        fields = dict(re.findall(r"^# (\w+): *(.*?) *$", head, re.MULTILINE))
        needs = frozenset(fields.get("needs", "").replace(",", " ").split())
        if not fields.get("promise") or "::" not in fields.get("test", "") or not needs <= NEEDS:
            raise ValueError(f"{path.name}: the header needs `# promise: …` and `# test: path::name`")
        return cls(path, fields["promise"], fields["test"], needs)


@dataclass(frozen=True)
class Outcome:
    """How a test ended: its verdict (``passed``, ``failed``, ``broken``) and a line that says more."""

    verdict: str
    detail: str = ""
    seconds: float = 0.0


def copy_tree(target: Path) -> None:
    """Copy what git has or would have: also what is not committed yet, but nothing that is ignored."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():  # what was deleted without git is still listed
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def apply(patch: Path, tree: Path, *, check: bool = False) -> str:
    """Apply a patch to a copy, or only ``check`` that it would; returns what is wrong with it, empty if nothing."""
    # Outside any repository, as the copy is, git applies to the files as they are. Without GIT_DIR and its like it
    # would find the repository of a commit hook.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment["GIT_CEILING_DIRECTORIES"] = str(tree.parent)
    done = subprocess.run(
        ["git", "apply", *(["--check"] if check else []), str(patch)],
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
    )
    return done.stderr.strip() if done.returncode else ""


def run_test(test: str, tree: Path, environment: Mapping[str, str]) -> Outcome:
    """Run one test in a copy of the tree, with the code of the copy."""
    report = tree / ".report.xml"
    pytest = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--no-migrations",
        "-p",
        "no:cacheprovider",
        f"--junit-xml={report}",
        "--color=no",
    ]
    run_dir = tree / ".run"
    run_dir.mkdir(exist_ok=True)
    settings = {
        "PYTHONPATH": str(tree),
        "PYTHONDONTWRITEBYTECODE": "1",
        "EXAMPLE_TOM_RUN_DIR": str(run_dir),
        "ALERT_SAMPLES": os.environ.get("ALERT_SAMPLES") or str(ROOT.parent / "shared" / "alerts"),
    }
    try:
        done = subprocess.run(
            [*pytest, test],
            cwd=tree,
            env={**_not_on_ci(), **settings, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return Outcome("broken", f"no end after {TIMEOUT_S} s")
    if done.returncode not in (0, 1) or not report.exists():
        return Outcome("broken", f"pytest ended with {done.returncode}: {_last_lines(done.stdout + done.stderr)}")
    cases = ElementTree.parse(report).getroot().findall(".//testcase")
    if done.returncode == 0:
        skipped = [case.find("skipped") for case in cases]
        if all(skip is not None for skip in skipped):
            return Outcome(
                "broken", f"skipped: {skipped[0].get('message') if skipped and skipped[0] is not None else ''}"
            )
        return Outcome("passed")
    failures = [failure.get("message", "") for case in cases for failure in case.iter("failure")]
    findings = [message for message in failures if not message.startswith(NOT_A_FINDING)]
    # What a test leaves behind is found out after it.
    left = [
        message
        for case in cases
        for error in case.iter("error")
        if LEFT_BEHIND in (message := error.get("message", ""))
    ]
    if findings or left:
        return Outcome("failed", (findings + left)[0])
    return Outcome("broken", _last_lines(done.stdout))


def _not_on_ci() -> dict[str, str]:
    """The environment without what tells pytest that it runs on CI.

    There it works out all that differs between what an assertion compares: minutes for long texts. Here only whether the
    test failed is of interest.
    """
    return {name: value for name, value in os.environ.items() if name not in ("CI", "BUILD_NUMBER")}


def _last_lines(text: str) -> str:
    return " | ".join(line.strip() for line in text.strip().splitlines()[-6:])


class Runner:
    """Runs tests on copies of the tree, patched and as it is."""

    def __init__(self, servers: Mapping[str, str], folder: Path) -> None:
        self._servers = dict(servers)
        self._pristine = folder / "tree"
        copy_tree(self._pristine)
        self._folder = folder

    def unpatched(self, mutant: Mutant) -> Outcome:
        """The mutant's test on the tree as it is."""
        return self._run(mutant, patched=False)

    def patched(self, mutant: Mutant) -> Outcome:
        """The mutant's test without the promise."""
        return self._run(mutant, patched=True)

    def _run(self, mutant: Mutant, *, patched: bool) -> Outcome:
        tree = Path(tempfile.mkdtemp(dir=self._folder))
        try:
            shutil.copytree(self._pristine, tree, dirs_exist_ok=True)
            if patched and (problem := apply(mutant.path, tree)):
                return Outcome("broken", f"the patch does not apply: {problem}")
            since = time.monotonic()
            outcome = run_test(mutant.test, tree, self._environment(mutant, tree.name))
            return replace(outcome, seconds=time.monotonic() - since)
        finally:
            shutil.rmtree(tree, ignore_errors=True)

    def _environment(self, mutant: Mutant, name: str) -> dict[str, str]:
        environment = dict(self._servers)
        if "tom" not in mutant.needs:  # without tomtoolkit Django starts in a fraction of the time
            environment["DJANGO_SETTINGS_MODULE"] = "tests.settings_core"
        if "postgres" in mutant.needs and services.POSTGRES in environment:
            # Mutants run side by side: each has its databases.
            server = urlsplit(environment[services.POSTGRES])
            environment[services.DATABASE] = server._replace(path=f"/mutant_{name.lower()}").geturl()
        return environment


def verdict(outcome: Outcome) -> str:
    """What the outcome of a test without its promise means."""
    return {"failed": CAUGHT, "passed": SURVIVED}.get(outcome.verdict, ERROR)


def show(mutants: Sequence[Mutant], outcomes: Sequence[Outcome]) -> None:
    """Print the table, and below it why something is not as it should be."""
    widths = [max(len(text) for text in column) for column in zip(*((m.promise, m.test) for m in mutants), strict=True)]
    for mutant, outcome in zip(mutants, outcomes, strict=True):
        print(
            f"{mutant.promise:{widths[0]}} | {mutant.test:{widths[1]}} | {outcome.seconds:4.0f} s | {verdict(outcome)}"
        )
    for mutant, outcome in zip(mutants, outcomes, strict=True):
        if verdict(outcome) == ERROR:
            print(f"\n{mutant.path.name}: {outcome.detail}")
    caught = sum(verdict(outcome) == CAUGHT for outcome in outcomes)
    print(f"\n{caught} of {len(mutants)} mutants caught")


def _part(text: str) -> tuple[int, int]:
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise argparse.ArgumentTypeError(f"{text!r} is not like 1/4")
    return int(part), int(parts)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.run", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="only patches with one of these in their name")
    parser.add_argument("--fast", action="store_true", help="do not check first that the tests pass unpatched")
    parser.add_argument(
        "--part", type=_part, metavar="K/N", default=(1, 1), help="only every N-th patch, from the K-th"
    )
    options = parser.parse_args()
    services.exit_on_sigterm()
    try:
        mutants = [Mutant.load(path) for path in sorted(HERE.glob("*.patch"))]
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    first, step = options.part
    mutants = [m for m in mutants if not options.names or any(name in m.path.stem for name in options.names)]
    mutants = mutants[first - 1 :: step]
    if not mutants:
        print("no mutants")
        return 1 if options.names else 0
    needs = frozenset[str]().union(*(mutant.needs for mutant in mutants))
    with ExitStack() as stack:
        try:
            servers = stack.enter_context(services.services(postgres="postgres" in needs, kafka="kafka" in needs))
        except services.ServiceMissing as error:
            print(error, file=sys.stderr)
            return 1
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tom-alertstreams-mutants-")))
        runner = Runner(servers, folder)
        with ThreadPoolExecutor(_WORKERS) as pool:
            before: dict[tuple[str, frozenset[str]], Outcome] = {}
            if not options.fast:
                tests = {(mutant.test, mutant.needs): mutant for mutant in mutants}
                before = dict(zip(tests, pool.map(runner.unpatched, tests.values()), strict=True))

            def outcome(mutant: Mutant) -> Outcome:
                unpatched = before.get((mutant.test, mutant.needs))
                if unpatched is not None and unpatched.verdict != "passed":
                    found = Outcome("broken", f"the test does not pass unpatched: {unpatched.detail}")
                else:
                    found = runner.patched(mutant)
                print(f"{mutant.path.stem}: {verdict(found)}", file=sys.stderr, flush=True)
                return found

            outcomes = list(pool.map(outcome, mutants))
    show(mutants, outcomes)
    return 0 if all(verdict(outcome) == CAUGHT for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
