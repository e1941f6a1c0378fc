"""What lines of the log carry, and the samples of the document about it."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.documents import DOCS, ROOT
from tom_alertstreams import exceptions
from tom_alertstreams.logs import EXTRA

DOCUMENT = (DOCS / "reference" / "logs.md").read_text()
SOURCES = [
    path for package in ("tom_alertstreams", "alerce_stream", "apf_bridge") for path in (ROOT / package).rglob("*.py")
]
LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
#: What gives ``extra`` to a line, and is looked at by tests of its own below.
GIVERS = {"describe", "where"}


def log_calls(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS:
            holder = node.func.value
            if isinstance(holder, ast.Name) and holder.id in ("logger", "_client_log"):
                yield node


def keys_of(value: ast.expr, function: ast.AST) -> Iterator[str]:
    """The keys of what is given as ``extra``; ``?`` for what cannot be read."""
    if isinstance(value, ast.Dict):
        for key, inner in zip(value.keys, value.values, strict=True):
            if key is None:
                yield from keys_of(inner, function)
            else:
                yield key.value if isinstance(key, ast.Constant) and isinstance(key.value, str) else "?"
    elif isinstance(value, ast.Name):
        given = [
            node.value
            for node in ast.walk(function)
            if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == value.id for t in node.targets)
        ]
        for one in given:
            yield from keys_of(one, function)
        if not given:
            yield "?"
    elif not (isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id in GIVERS):
        yield "?"


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_line_carries_anything_else(source: Path) -> None:
    tree = ast.parse(source.read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)] or [tree]
    for function in functions:
        for call in log_calls(function):
            for keyword in call.keywords:
                if keyword.arg == "extra":
                    assert set(keys_of(keyword.value, function)) <= set(EXTRA), f"{source.name}:{call.lineno}"


def test_lines_of_the_delivery_name_their_stream() -> None:
    """Those whose first word is the label of one."""
    lacking = [
        f"{source.name}:{call.lineno}"
        for source in (ROOT / "tom_alertstreams" / "delivery").rglob("*.py")
        for call in log_calls(ast.parse(source.read_text()))
        if re.search(r"\.(label|stream)$|^label$|_stream$", first_argument(call))
        and not any(keyword.arg == "extra" for keyword in call.keywords)
    ]
    assert lacking == []


def first_argument(call: ast.Call) -> str:
    """What the first ``%s`` stands for."""
    texts = [n for n, a in enumerate(call.args) if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    if not texts or not str(call.args[texts[0]].value).startswith("%s") or len(call.args) < texts[0] + 2:  # type: ignore[attr-defined]
        return ""
    return ast.unparse(call.args[texts[0] + 1])


def test_what_gives_the_keys() -> None:
    error = exceptions.DecodeError("x", stream="a", topic="b", partition=1, offset=2)
    assert set(exceptions.describe(error)) == set(EXTRA)


def test_the_keys_are_documented() -> None:
    section = DOCUMENT.partition("## Keys\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(EXTRA)


PROGRAM = """
from logging.config import dictConfig
dictConfig(LOGGING)
from tom_alertstreams.logs import get_logger
logger = get_logger("tom_alertstreams.delivery.tests")
logger.warning("%s: is “slow”\\nvery", "ztf", extra={"stream": "ztf", "offset": 7})
try:
    raise KeyError("candid")
except KeyError:
    logger.exception("failed")
"""


def test_json(tmp_path: Path) -> None:
    """In a process of its own: it sets up logging for all of one."""
    blocks = re.findall(r"^```python\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
    [module] = [block for block in blocks if block.startswith("# mytom/json_log.py")]
    (tmp_path / "mytom").mkdir()
    (tmp_path / "mytom" / "json_log.py").write_text(module)
    environment = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, "-c", blocks[-1] + PROGRAM], env=environment, capture_output=True, text=True, check=True
    )
    first, second = (json.loads(line) for line in done.stderr.splitlines())
    assert first.pop("time").endswith("+00:00")
    assert first == {
        "level": "WARNING", "logger": "tom_alertstreams.delivery.tests", "message": "ztf: is “slow”\nvery",
        "stream": "ztf", "offset": 7,
    }  # fmt: skip
    assert "KeyError: 'candid'" in second["traceback"]
