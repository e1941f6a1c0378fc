"""The judge of the mutants: what counts as caught, and what does not."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from tests.mutants.run import CAUGHT, ERROR, HERE, ROOT, SURVIVED, Mutant, apply, copy_tree, run_test, verdict

CODE = "def double(n):\n    return 2 * n\n"
PATCH = """\
# promise: doubling doubles
# test: test_code.py::test_double

diff --git a/code_under_test.py b/code_under_test.py
--- a/code_under_test.py
+++ b/code_under_test.py
@@ -1,2 +1,2 @@
 def double(n):
-    return 2 * n
+    return {new}
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "code_under_test.py").write_text(CODE)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -p no:django\n")
    # pytest-django's option, which the runner uses.
    option = "def pytest_addoption(parser):\n    parser.addoption('--no-migrations', action='store_true')\n"
    (folder / "conftest.py").write_text(option)
    return folder


def _test(tree: Path, body: str) -> str:
    (tree / "test_code.py").write_text(textwrap.dedent(body))
    return "test_code.py::test_double"


def _patch(tree: Path, new: str) -> Path:
    path = tree.parent / "doubling.patch"
    path.write_text(PATCH.format(new=new))
    return path


DOUBLE = """
    from code_under_test import double

    def test_double():
        assert double(3) == 6
"""


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        pytest.param("3 * n", CAUGHT, id="wrong answer"),
        pytest.param("n + n", SURVIVED, id="same answer"),
        pytest.param("twice * n", ERROR, id="a name that is not there is a broken patch"),
        pytest.param("2 *", ERROR, id="no Python"),
    ],
)
def test_verdict(tree: Path, new: str, expected: str) -> None:
    test = _test(tree, DOUBLE)
    assert apply(_patch(tree, new), tree) == ""
    assert verdict(run_test(test, tree, {})) == expected


def test_skipped_test_proves_nothing(tree: Path) -> None:
    test = _test(tree, "import pytest\n\ndef test_double():\n    pytest.skip('no server')\n")
    outcome = run_test(test, tree, {})
    assert (outcome.verdict, outcome.detail) == ("broken", "skipped: no server")


def test_missing_test_proves_nothing(tree: Path) -> None:
    _test(tree, DOUBLE)
    assert verdict(run_test("test_code.py::test_gone", tree, {})) == ERROR


def test_broken_fixture_proves_nothing(tree: Path) -> None:
    test = _test(tree, "def test_double(no_such_fixture):\n    pass\n")
    assert verdict(run_test(test, tree, {})) == ERROR


def test_something_left_behind_counts(tree: Path) -> None:
    test = _test(
        tree,
        """
        import pytest

        @pytest.fixture(autouse=True)
        def nothing_left():
            yield
            assert False, "still running"

        def test_double():
            pass
        """,
    )
    assert verdict(run_test(test, tree, {})) == CAUGHT


@pytest.mark.parametrize("name", ["CI", "BUILD_NUMBER"])
def test_what_differs_is_not_worked_out_whole(tree: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "true")
    test = _test(tree, f"import os\n\ndef test_double():\n    assert {name!r} not in os.environ\n")
    assert run_test(test, tree, {}).verdict == "passed"


def test_patch_that_does_not_apply_is_told(tree: Path) -> None:
    (tree / "code_under_test.py").write_text("def double(n):\n    return n << 1\n")
    assert "patch does not apply" in apply(_patch(tree, "3 * n"), tree)


def test_header(tree: Path) -> None:
    mutant = Mutant.load(_patch(tree, "3 * n"))
    assert (mutant.promise, mutant.test) == ("doubling doubles", "test_code.py::test_double")


@pytest.mark.parametrize("header", ["", "# promise: p\n", "# test: a.py::t\n", "# promise: p\n# test: a.py\n"])
def test_incomplete_header_is_refused(tmp_path: Path, header: str) -> None:
    path = tmp_path / "bad.patch"
    path.write_text(f"{header}\ndiff --git a/a b/a\n")
    with pytest.raises(ValueError, match=r"bad\.patch"):
        Mutant.load(path)


def _exists(test: str) -> bool:
    file, *names = test.split("::")
    text = (ROOT / file).read_text() if (ROOT / file).exists() else ""
    return all(re.search(rf"(def|class) {re.escape(name.partition('[')[0])}\b", text) for name in names) and bool(text)


class TestEveryPatch:
    """A patch that the code has left behind proves nothing any more, and would be found only when all of them are run."""

    def test_names_a_test_that_exists(self) -> None:
        assert [patch.name for patch in HERE.glob("*.patch") if not _exists(Mutant.load(patch).test)] == []

    def test_applies(self, tmp_path: Path) -> None:
        tree = tmp_path / "tree"
        copy_tree(tree)
        assert {
            patch.name: problem for patch in HERE.glob("*.patch") if (problem := apply(patch, tree, check=True))
        } == {}
