"""What a newcomer does first: the demo, run as a program."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import requests

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "example_tom" / "demo.py"
#: What a second reading of the same alerts must leave alone.
KEPT = re.compile(r"tom_(targets|dataproducts)_|tom_alertstreams_ingest_(targetalert|classification)$")


def test_the_same_seed_makes_the_same_night() -> None:
    from simulated_night import Night

    date = datetime(2026, 11, 22, tzinfo=timezone.utc)
    night = Night(date)
    assert Night(date).messages == night.messages
    assert not {m.value for m in Night(date, seed=2).messages[:50]} & {m.value for m in night.messages if m.value}
    later = night.later(date)
    assert all(next(later).value for _ in range(100))


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The demo's own directory, and none of the test suite's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "ALERT_", "TEST_"))}
    return {**kept, "EXAMPLE_TOM_RUN_DIR": str(tmp_path / "run"), "PYTHONUNBUFFERED": "1"}


def run_once(environment: dict[str, str], *arguments: str) -> str:
    """The demo to its end; its output."""
    done = subprocess.run(
        [sys.executable, str(DEMO), "--once", *arguments], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def query(environment: dict[str, str], sql: str) -> list[tuple[Any, ...]]:
    """Ask the demo's database."""
    with contextlib.closing(sqlite3.connect(Path(environment["EXAMPLE_TOM_RUN_DIR"]) / "tom.sqlite3")) as connection:
        return connection.execute(sql).fetchall()


def row_counts(environment: dict[str, str]) -> dict[str, int]:
    """Table → rows, of the TOM's tables."""
    tables = [name for (name,) in query(environment, "SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {table: query(environment, f'SELECT count(*) FROM "{table}"')[0][0] for table in tables if KEPT.match(table)}


def alerts_handled(environment: dict[str, str]) -> int:
    return int(query(environment, "SELECT sum(n) FROM tom_alertstreams_outcomecount")[0][0])


def totals(output: str) -> dict[str, int]:
    """The last line of the table: received, created, updated, points, rejected, dead letters."""
    line = next(line for line in output.splitlines() if line.startswith("all "))
    columns = ("received", "created", "updated", "points", "rejected", "dead")
    return dict(zip(columns, (int(word.replace(",", "")) for word in line.split()[1:]), strict=False))


@pytest.mark.long
@pytest.mark.timeout(240)
def test_a_second_reading_of_the_night_adds_nothing(environment: dict[str, str]) -> None:
    first_output = run_once(environment)
    first = row_counts(environment)
    second_output = run_once(environment)

    assert row_counts(environment) == first
    assert first["tom_targets_basetarget"] > 40
    assert first["tom_targets_targetname"] > 10
    assert first["tom_dataproducts_photometryreduceddatum"] > 500
    assert first["tom_alertstreams_ingest_classification"] > 100

    once, again = totals(first_output), totals(second_output)
    assert once["received"] == again["received"] > 250
    assert once["created"] == first["tom_targets_basetarget"]
    assert once["points"] == first["tom_dataproducts_photometryreduceddatum"]
    # What was rejected because nothing was known of its object may meet that object the second time: the streams run side
    # by side. It adds nothing even then, as the rows show.
    assert again["rejected"] <= once["rejected"]
    assert again == {**once, "created": 0, "updated": 0, "points": 0, "rejected": again["rejected"]}
    assert once["dead"] == 8, "the messages that are broken on purpose"
    for reason in ("class", "filter", "large_error", "nonlocalised", "no_position", "test", "unsupported"):
        assert re.search(rf"\b{reason} \d", first_output), reason
    assert "Nothing was added" in second_output
    assert "Nothing was added" not in first_output


# --- beside the web site ------------------------------------------------------------------------------------------------


def wait_until(holds: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "this did not happen in time"
        time.sleep(0.1)


def children_of(pid: int) -> dict[int, str]:
    """Process id → command line of the children of a process."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("needs /proc to see which processes are left")
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid:
                found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
    return found


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def demo(environment: dict[str, str], tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str, dict[int, str]]]:
    """The running demo, its address and its children."""
    log = tmp_path / "demo.log"
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, str(DEMO)], env=environment, stdout=output, stderr=output)
    children: dict[int, str] = {}
    try:
        wait_until(lambda: "Log in as" in log.read_text() or process.poll() is not None, 90)
        found = re.search(r"http://127\.0\.0\.1:\d+/", log.read_text())
        assert found, log.read_text()
        children |= children_of(process.pid)
        yield process, found[0], children
    finally:
        for pid in (process.pid, *children):
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def logged_in(address: str) -> requests.Session:
    """A browser in which the ordinary user has logged in."""
    session = requests.Session()
    form = session.get(f"{address}accounts/login/").text
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form)
    assert token
    login = {"login": "demo", "password": "demo", "csrfmiddlewaretoken": token[1]}
    answer = session.post(f"{address}accounts/login/", data=login, headers={"Referer": address})
    assert answer.status_code == 200
    assert "sessionid" in session.cookies, "the login was refused"
    return session


@pytest.mark.long
@pytest.mark.timeout(240)
def test_the_demo_shows_light_curves_and_stops(
    demo: tuple[subprocess.Popen[bytes], str, dict[int, str]], environment: dict[str, str]
) -> None:
    process, address, children = demo
    assert len(children) == 2, children

    with logged_in(address) as browser:
        home = browser.get(address)
        assert home.status_code == 200
        assets = re.findall(r'(?:src|href)="(/static/[^"]+)"', home.text)
        assert assets
        assert {path: browser.get(address + path[1:]).status_code for path in assets} == dict.fromkeys(assets, 200)

        def targets() -> dict[str, str]:
            page = browser.get(f"{address}targets/?name=ZTF")
            assert page.status_code == 200
            return {name: path for path, name in re.findall(r'href="/(targets/\d+/)"[^>]*>\s*(ZTF\w+)\s*<', page.text)}

        wait_until(lambda: len(targets()) > 5)
        name, path = next(iter(targets().items()))
        page = browser.get(address + path)
        assert page.status_code == 200
        assert name in page.text
        assert "Apparent Magnitude" in page.text, "no plot"
        assert re.search(r'"name":"[gr]"', page.text), "no light curve in the plot"

        before = alerts_handled(environment)
        wait_until(lambda: alerts_handled(environment) > before, 30)  # new ones keep coming

    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    assert not [pid for pid in children if is_alive(pid)]
