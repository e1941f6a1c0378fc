"""The tree of an alert's content is bounded in every direction."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import pytest

from tom_alertstreams.views.content_tree import CHILDREN, LEVELS, LINES, TEXT_LENGTH, TreeRow, tree


def kinds(rows: list[TreeRow]) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in rows:
        found[row.kind] = found.get(row.kind, 0) + 1
    return found


def test_as_it_is() -> None:
    rows = tree({"candid": 1, "prv": [{"mag": 18.5}], "empty": {}, "none": None, "stamp": b"\x89PNG" + bytes(100)})
    assert [(row.kind, row.name, row.text) for row in rows] == [
        ("open", "", "{ } 5"),
        ("leaf", "candid", "1"),
        ("open", "prv", "[ ] 1"),
        ("open", "0", "{ } 1"),
        ("leaf", "mag", "18.5"),
        ("close", "", ""),
        ("close", "", ""),
        ("leaf", "empty", "{ }"),
        ("leaf", "none", "None"),
        ("leaf", "stamp", "(104 bytes) 89 50 4e 47 " + "00 " * 28 + "…"),
        ("close", "", ""),
    ]


def test_wide() -> None:
    rows = tree(list(range(10**6)))
    assert kinds(rows) == {"open": 1, "leaf": CHILDREN, "note": 1, "close": 1}
    assert rows[-2].text == f"… {10**6 - CHILDREN:,} more are not shown: download the bytes to see all"


def test_deep() -> None:
    content: Any = "bottom"
    for _ in range(100_000):
        content = [content]
    rows = tree(content)
    assert kinds(rows) == {"open": LEVELS, "leaf": 1, "close": LEVELS}
    assert "too deep to be shown" in rows[LEVELS].text
    while isinstance(content, list):  # Python takes such a thing apart recursively
        content = content.pop()


def test_many_lines() -> None:
    since = time.monotonic()
    rows = tree([[[0] * 150] * 150] * 150)
    assert sum(row.kind in ("open", "leaf") for row in rows) <= LINES
    assert kinds(rows)["open"] == kinds(rows)["close"]
    assert time.monotonic() - since < 1


def test_long_texts_and_names() -> None:
    rows = tree({"n" * 10**6: "t" * 10**6, "b": b"b" * 10**6})
    assert rows[1].text == "t" * TEXT_LENGTH + "… (cut here)"
    assert len(rows[1].name) < 300
    assert rows[2].text.startswith("(1,000,000 bytes) 62 62")
    assert len(rows[2].text) < 200


def test_objects() -> None:
    @dataclass
    class Message:
        content: dict[str, int]

    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError("a mishap")

    rows = tree(Message({"a": 1}))
    assert [(row.name, row.text) for row in rows if row.kind == "leaf"] == [("a", "1")]
    assert tree(Odd())[0].text == "(Odd that cannot be shown: RuntimeError)"


def test_a_secret_is_blanked_wherever_a_text_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    from tom_alertstreams import redaction

    monkeypatch.setattr(redaction, "_secrets", {"hunter-two"})
    for before in range(TEXT_LENGTH - 15, TEXT_LENGTH + 2):
        assert "hunter" not in tree("x" * before + "hunter-two" + "x" * 5000)[0].text
