"""``deadletters``: what it prints, what it refuses, what its exit code says."""

from __future__ import annotations

import io
import json
import shlex
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings
from django.utils import timezone as now_in

from tests.effects import handlers
from tests.effects.models import Effect
from tests.letters import FAILED, letter
from tests.marks import CORE_TABLES
from tests.streams import entry
from tom_alertstreams.delivery.letters import LetterFilter
from tom_alertstreams.models import DeadLetter, LetterAction

pytestmark = CORE_TABLES

PASSWORD = "correct-horse-battery"


@pytest.fixture(autouse=True)
def settings_of_today() -> Iterator[None]:
    handlers.reset()
    stream = entry("127.0.0.1:1", "group", {"ztf_*": "one"}, label="ztf", CONFIG={"ssl.key.password": PASSWORD})
    with override_settings(ALERT_STREAMS=[stream]):
        yield
    handlers.reset()


def run(*arguments: Any) -> tuple[str, int]:
    """What it prints, and its exit code."""
    out = io.StringIO()
    try:
        call_command("deadletters", *map(str, arguments), stdout=out, stderr=out)
    except SystemExit as end:
        return out.getvalue(), int(end.code or 0)
    return out.getvalue(), 0


def states() -> list[str]:
    return list(DeadLetter.objects.order_by("pk").values_list("state", flat=True))


class TestList:
    def test_by_cause(self) -> None:
        for offset in range(1204):
            letter(offset, state="waiting" if offset < 4 else "open", topic=f"ztf_{offset % 3}")
        other = letter(0, error_class="DecodeError", error="not Avro\nbut", fingerprint="f2", handler="")
        text, code = run("list")
        assert code == 0
        assert text.splitlines() == [
            "1,204 times since 2026-11-22 03:12 UTC: KeyError: 'candid'",
            "    my.handler, stream ztf, topics ztf_0 to ztf_2; 4 of them wait for their next try; fingerprint f1; for example "
            f"{other.pk - 1}",
            "once since 2026-11-22 03:12 UTC: DecodeError: not Avro",
            f"    no handler, stream ztf, topic ztf_20261122; fingerprint f2; for example {other.pk}",
            "",
            "1,205 in all. Read one: deadletters show ID. Mended: deadletters replay --fingerprint …",
        ]

    def test_a_fingerprint_can_be_pasted(self) -> None:
        letter(0, fingerprint="M31's image, later")
        [pasted] = shlex.split(run("list")[0].partition("fingerprint ")[2].partition(";")[0])
        assert run("replay", "--fingerprint", pasted)[0].startswith("1 dead letter: 1 done")

    def test_each(self) -> None:
        row = letter(7)
        assert run("list", "--each")[0] == (
            f"{row.pk}  open  2026-11-22 03:19 UTC  ztf_20261122[0]@7  my.handler  KeyError: 'candid'\n"
        )

    def test_json(self) -> None:
        row = letter()
        [group] = json.loads(run("list", "--json")[0])
        assert (group["count"], group["fingerprint"], group["example"]) == (1, "f1", row.pk)
        [one] = json.loads(run("list", "--json", "--each")[0])
        assert (one["id"], one["offset"], one["state"], one["error"]) == (row.pk, 0, "open", "'candid'")
        assert "raw" not in one

    def test_states(self) -> None:
        for offset, state in enumerate(DeadLetter.State.values):
            letter(offset, state=state)
        assert {row["state"] for row in json.loads(run("list", "--json", "--each")[0])} == {"open", "waiting"}
        chosen = json.loads(run("list", "--json", "--each", "--state", "replayed", "--state", "dismissed")[0])
        assert {row["state"] for row in chosen} == {"replayed", "dismissed"}

    def test_none(self) -> None:
        assert run("list") == ("No dead letter matches.\n", 0)


@pytest.mark.both_databases
class TestFilters:
    @pytest.mark.parametrize(
        ("chosen", "offsets"),
        [
            ({}, [0, 1, 2, 3]),
            ({"stream": "gcn"}, [1]),
            ({"topic": "ztf_20261122"}, [0, 3]),
            ({"topic": "ztf_*"}, [0, 2, 3]),
            ({"topic": "ztf_2026112?"}, [0, 2, 3]),
            ({"topic": "ztf.*"}, []),
            ({"error": "valueerror"}, [3]),
            ({"fingerprint": "f2"}, [3]),
            ({"older_than": timedelta(days=1)}, [0, 1]),
            ({"newer_than": timedelta(days=1)}, [2, 3]),
            ({"older_than": timedelta(days=1), "topic": "ztf_*"}, [0]),
        ],
    )
    def test_choose(self, chosen: dict[str, Any], offsets: list[int]) -> None:
        now = now_in.now()
        letter(0, first_failed_at=now - timedelta(days=2))
        letter(1, first_failed_at=now - timedelta(days=3), stream="gcn", topic="gcn.notices")
        letter(2, first_failed_at=now, topic="ztf_20261121")
        letter(3, first_failed_at=now, error_class="ValueError", fingerprint="f2", state="waiting")
        letter(4, state="replayed")
        found = LetterFilter(**chosen)
        assert list(found.rows().values_list("offset", flat=True)) == offsets
        assert found.takes_all == (not chosen)

    def test_on_the_command_line(self) -> None:
        first, second = letter(1), letter(2, error_class="ValueError")
        letter(3, topic="gcn.notices")
        options = ["--stream", "ztf", "--topic", "ztf_*", "--older-than", "1m", "--newer-than", "9999d"]
        rows = json.loads(run("list", first.pk, second.pk, "--error", "KeyError", *options, "--json", "--each")[0])
        assert [row["id"] for row in rows] == [first.pk]

    @pytest.mark.parametrize("text", ["90", "d", "1.5h", "-1d", "0d", "5 w", ""])
    def test_an_age_that_is_none(self, text: str) -> None:
        with pytest.raises(CommandError, match="90d, 12h, 30m"):
            run("list", f"--older-than={text}")


class TestShow:
    def test_what_is_known(self) -> None:
        row = letter(
            7, raw=b'{"n": 7, "cutout": "x"}', key=b"ZTF26aaaaaaa", headers=[["id", "AAE="], ["none", None]],
            timestamp=FAILED,
        )  # fmt: skip
        text, code = run("show", row.pk)
        assert code == 0
        for part in (
            f"dead letter {row.pk}: given up",
            "ztf_20261122[0]@7",
            "2026-11-22 03:12 UTC",
            "my.handler",
            "KeyError: 'candid'",
            "Traceback (most recent call last):",
            "ZTF26aaaaaaa",
            "none: none",
            "{'n': 7, 'cutout': 'x'}",
        ):
            assert part in text

    def test_bytes_that_cannot_be_decoded(self) -> None:
        row = letter(raw=b"\xff\xfeabc" + bytes(1000))
        text, _ = run("show", row.pk)
        assert "1,005 bytes; not decoded: " in text
        assert "000000  ff fe 61 62 63 00" in text
        assert "..abc" in text
        assert "493 more; --raw FILE" in text

    def test_a_stream_that_is_gone(self) -> None:
        row = letter(stream="gone", partition=-1, raw=b'{"n": 7}')
        text, _ = run("show", row.pk)
        assert "not decoded: there is no active stream gone in ALERT_STREAMS. There is ztf." in text
        assert "[-1]" not in text
        assert '{"n": 7}' in text

    def test_what_strangers_sent_does_not_reach_the_terminal_raw(self) -> None:
        row = letter(raw=b"\x1b[2Jcleared", error="\x1b]0;title\x07")
        text, _ = run("show", row.pk)
        assert "\x1b" not in text
        assert "\\x1b[2Jcleared" in text

    def test_no_secret(self) -> None:
        row = letter(error=f"cannot log in with {PASSWORD}", raw=PASSWORD.encode())
        for arguments in (("show", row.pk), ("list",), ("list", "--each"), ("list", "--json")):
            assert PASSWORD not in run(*arguments)[0]

    def test_raw_into_a_file(self, tmp_path: Path) -> None:
        row, file = letter(raw=b"\x00\xff" * 700), tmp_path / "alert.bin"
        text, _ = run("show", row.pk, "--raw", file)
        assert file.read_bytes() == b"\x00\xff" * 700
        assert text == f"1,400 bytes written to {file}\n"
        with pytest.raises(CommandError, match="cannot write"):
            run("show", row.pk, "--raw", tmp_path / "no" / "folder")

    def test_a_tombstone(self, tmp_path: Path) -> None:
        row = letter(raw=None)
        assert "it is a tombstone" in run("show", row.pk)[0]
        with pytest.raises(CommandError, match="tombstone"):
            run("show", row.pk, "--raw", tmp_path / "alert.bin")

    def test_a_number_that_is_none(self) -> None:
        with pytest.raises(CommandError, match="there is no dead letter 4711"):
            run("show", 4711)


@pytest.mark.both_databases
@pytest.mark.parametrize("action", ["list", "replay", "dismiss"])
def test_a_number_that_no_row_can_have(action: str) -> None:
    try:
        text, _ = run(action, 99999999999999999999)
    except CommandError as error:  # of SQLite
        text = str(error)
    assert "No dead letter matches." in text or "larger than any" in text


class TestReplay:
    def test_all(self) -> None:
        letter(0)
        letter(1, state="waiting")
        text, code = run("replay", "--all")
        assert text == "2 dead letters: 2 done, 0 rejected, 0 waiting for a later try, 0 failed again.\n"
        assert code == 0
        assert Effect.objects.count() == 2

    @pytest.mark.parametrize("action", ["replay", "dismiss"])
    def test_everything_must_be_asked_for(self, action: str) -> None:
        letter()
        with pytest.raises(CommandError, match="--all"):
            run(action)
        assert states() == ["open"]

    @pytest.mark.parametrize("action", ["replay", "dismiss"])
    def test_a_dry_run_changes_nothing(self, action: str) -> None:
        letter()
        text, code = run(action, "--all", "--dry-run")
        assert "once since 2026-11-22 03:12 UTC: KeyError" in text
        assert "Nothing was done" in text
        assert (code, states(), Effect.objects.count()) == (0, ["open"], 0)

    def test_what_fails_again_shows_in_the_exit_code(self) -> None:
        letter(0)
        letter(1)

        def still_wrong(alert: Any) -> None:
            if alert.offset:
                raise ValueError("jd")

        handlers.trouble.append(still_wrong)
        text, code = run("replay", "--error", "KeyError")
        assert "1 done, 0 rejected, 0 waiting for a later try, 1 failed again" in text
        assert (code, states()) == (1, ["replayed", "open"])

    def test_what_cannot_be_tried_is_told(self) -> None:
        letter(0, stream="gone")
        letter(1, topic="gcn.notices")
        text, code = run("replay", "--all")
        assert "1 left alone: there is no active stream gone in ALERT_STREAMS. There is ztf." in text
        assert "1 left alone: ztf, gcn.notices: No key of TOPIC_HANDLERS matches" in text
        assert (code, states()) == (1, ["open", "open"])

    def test_some_by_number(self) -> None:
        first, second, third = letter(0), letter(1), letter(2, state="replayed")
        text, code = run("replay", first.pk, third.pk)
        assert f"not open or waiting (any more), or not so filtered: {third.pk}" in text
        assert (code, states()) == (0, ["replayed", "open", "replayed"])
        assert second.pk

    def test_none(self) -> None:
        assert run("replay", "--error", "KeyError") == ("No dead letter matches.\n", 0)


@pytest.mark.both_databases
class TestDismiss:
    def test_open_and_waiting_ones(self) -> None:
        letter(0)
        letter(1, state="waiting", next_attempt_at=FAILED, leased_until=FAILED)
        letter(2, state="replayed")
        letter(3, error_class="ValueError")
        assert run("dismiss", "--error", "KeyError") == ("2 dismissed.\n", 0)
        assert states() == ["dismissed", "dismissed", "replayed", "open"]
        assert DeadLetter.objects.get(offset=1).next_attempt_at is None

    def test_not_what_is_being_tried(self) -> None:
        letter(leased_until=now_in.now() + timedelta(minutes=5))
        assert run("dismiss", "--all")[0] == "0 dismissed. 1 left alone: a process is trying them just now.\n"
        assert states() == ["open"]


class TestJournal:
    """Who did it, when, and what came of it, as the pages show it."""

    @pytest.fixture(autouse=True)
    def me(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("getpass.getuser", lambda: "observer")
        monkeypatch.setattr("platform.node", lambda: "dome")

    def test_a_replay(self) -> None:
        letter(0)
        letter(1, topic="gcn.notices")
        run("replay", "--error", "KeyError")
        action = LetterAction.objects.get()
        assert (action.who, action.kind, action.total) == ("observer@dome", "replay", 2)
        assert action.chosen == {"error": "KeyError", "states": ["open", "waiting"]}
        assert (action.became, list(action.left.values())) == ({"done": 1}, [1])
        assert action.finished is not None

    def test_a_dismissal(self) -> None:
        letter(0)
        run("dismiss", "--all")
        action = LetterAction.objects.get()
        assert (action.who, action.kind, action.became) == ("observer@dome", "dismiss", {"dismissed": 1})

    def test_looking_is_no_action(self) -> None:
        row = letter(0)
        for arguments in (["list"], ["show", row.pk], ["replay", "--all", "--dry-run"]):
            run(*arguments)
        assert not LetterAction.objects.exists()

    def test_a_login_without_a_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As in a container."""

        def unknown() -> str:
            raise KeyError("getpwuid(): uid not found: 4711")

        monkeypatch.setattr("getpass.getuser", unknown)
        monkeypatch.setattr("os.getuid", lambda: 4711)
        letter(0)
        run("dismiss", "--all")
        assert LetterAction.objects.get().who == "uid 4711@dome"
