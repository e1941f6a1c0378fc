"""The documents say what is so: every path, command, option, setting, code and link in them exists, and none is left out."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import MISSING, fields
from importlib import metadata
from pathlib import Path
from typing import Any, get_args

import pytest
from django.contrib.auth.models import User
from django.core.management import get_commands, load_command_class
from django.core.management.base import BaseCommand
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.module_loading import import_string
from tom_targets.models import Target

from alerce_stream.options import AlerceOptions
from alerce_stream.versions import shipped_versions
from tests import busy_night, screenshots
from tests.acceptance.documents import DOCS, DOCUMENTS, OTHERS, ROOT, SHIPPED, dotted_paths, name_of
from tests.busy_streams import STREAMS
from tests.our_pages import pages
from tom_alertstreams import conf, exceptions
from tom_alertstreams.alarms.options import AlarmSettings
from tom_alertstreams.alerts import Alert
from tom_alertstreams.alertstreams import diagnosis
from tom_alertstreams.conf import DeliverySettings, RetrySettings
from tom_alertstreams.delivery import failures
from tom_alertstreams.exceptions import DecodeError
from tom_alertstreams.ingest import sky_rule
from tom_alertstreams.ingest.options import IngestOptions
from tom_alertstreams.ingest.reports import RejectCode
from tom_alertstreams.models import DeadLetter
from tom_alertstreams.status import ADVICE

REFERENCE = DOCS / "reference"


# --- reading the documents ----------------------------------------------------------------------------------------------


def code(path: Path) -> list[str]:
    """What is set as code: inline, and the lines of fenced blocks."""
    text = path.read_text()
    fenced = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    return [*inline, *(line for block in fenced for line in block.splitlines())]


def table(path: Path, heading: str) -> dict[str, list[str]]:
    """The rows of the tables under a heading, by the word in their first column."""
    section = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", path.read_text(), re.MULTILINE | re.DOTALL)
    assert section, f"{path.name} has no section {heading}"
    rows = {}
    for line in section[1].splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if cells and (word := re.match(r"`([^`]+)`", cells[0])):
            rows[word[1]] = cells[1:]
    return rows


def anchors(path: Path) -> set[str]:
    """What links may point to, as the web pages of repositories make it of headings."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# --- names --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_dotted_paths_exist(document: Path) -> None:
    for path in dotted_paths(document):
        if path.startswith(OTHERS):
            assert_in_source(path)
        elif importlib.util.find_spec(path.rpartition(".")[0]) is None or not _is_module(path):
            import_string(path)


def _is_module(path: str) -> bool:
    try:
        return importlib.util.find_spec(path) is not None
    except ModuleNotFoundError:
        return False


def assert_in_source(path: str) -> None:
    """A function of an app that is installed in the environment and not in the tests' INSTALLED_APPS."""
    package, *inner, name = path.split(".")
    found = importlib.util.find_spec(package)
    assert found is not None, package
    assert found.submodule_search_locations is not None, package
    source = Path(found.submodule_search_locations[0], *inner).with_suffix(".py").read_text()
    assert name in {node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_make_targets_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {name for line in code(document) for name in re.findall(r"(?:^|\s)make ([a-z]+)", line)}
    assert named <= targets
    demo = (ROOT / "example_tom" / "demo.py").read_text()
    assert all(f'"{option}"' in demo for line in code(document) for option in re.findall(r"make demo ARGS=(\S+)", line))


OUR_COMMANDS = (
    "alertstreams",
    "readstreams",
    "checkstreams",
    "hoptestpub",
    "deadletters",
    "seekstream",
    "prunealerts",
    "tryalert",
    "startalerthandler",
    "newapfstep",
    "runapfstep",
)


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_commands_and_options_exist(document: Path) -> None:
    for line in code(document):
        found = re.search(rf"(?:manage\.py (\w+)|^({'|'.join(OUR_COMMANDS)})\b)([^#]*)", line)
        if found is None or (name := found[1] or found[2]) == "shell":
            continue
        assert name in get_commands(), line
        assert set(re.findall(r"--[a-z-]+", found[3])) <= options_of(name), line


def options_of(command: str) -> set[str]:
    parser = load_command_class(get_commands()[command], command).create_parser("manage.py", command)
    return options_in(parser)


def options_in(parser: ArgumentParser) -> set[str]:
    """Those of its sub-commands too."""
    inner = [sub for action in parser._actions if isinstance(action.choices, dict) for sub in action.choices.values()]
    own = {option for action in parser._actions for option in action.option_strings}
    return own.union(*map(options_in, inner))


@pytest.mark.parametrize("command", OUR_COMMANDS)
def test_every_option_is_documented(command: str) -> None:
    parser = BaseCommand().create_parser("manage.py", command)
    of_django = {option for action in parser._actions for option in action.option_strings} | {"--skip-checks"}
    documented = {row.split()[0] for row in table(REFERENCE / "commands.md", command)}
    assert documented == options_of(command) - of_django


def test_causes_of_a_refused_login() -> None:
    rows = re.search(
        r"^### When a broker.*?(?=^## )", (REFERENCE / "commands.md").read_text(), re.MULTILINE | re.DOTALL
    )
    assert rows
    documented = {word for line in rows[0].splitlines() if line.startswith("| `") for word in code_of(line)}
    named = {case.cause for case in diagnosis._CASES} | {"silent", "other", "settings", "taken"}
    assert documented == named


def code_of(line: str) -> list[str]:
    """The words set as code in the first column of a table's row."""
    return re.findall(r"`([^`]+)`", line.split("|")[1])


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_links_resolve(document: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", document.read_text()):
        path = (document.parent / target).resolve() if target else document
        assert path.exists(), target
        if anchor:
            assert anchor in anchors(path), f"{target}#{anchor}"


def test_every_document_is_on_the_map() -> None:
    linked = {
        (DOCS / target).resolve() for target in re.findall(r"\]\(([^)#\s]+\.md)", (DOCS / "index.md").read_text())
    }
    assert set(DOCS.rglob("*.md")) - linked == {DOCS / "index.md"}


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 310


def test_pictures_are_small_and_shown() -> None:
    shown = {
        Path(name).name for document in DOCUMENTS for name in re.findall(r"images/([\w-]+\.png)", document.read_text())
    }
    pictures = list((DOCS / "images").iterdir())
    assert {picture.name: picture.stat().st_size for picture in pictures if picture.stat().st_size > 150_000} == {}
    assert {picture.name for picture in pictures} == shown


def test_extras_of_the_readme_exist() -> None:
    requested = {
        extra.strip()
        for document in DOCUMENTS
        for extras in re.findall(r"pip install '(?:\.|tom-alertstreams)\[([^\]]+)\]", document.read_text())
        for extra in extras.split(",")
    }
    given = set(re.findall(r'^        "([a-z-]+)": ', (ROOT / "setup.py").read_text(), re.MULTILINE))
    assert requested <= given


def test_tests_and_mutants_of_the_promises_exist() -> None:
    text = (DOCS / "reliability.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)((?:::\w+)+)`", text)
    assert len(named) > 60
    for file, names in named:
        node: ast.AST = ast.parse((ROOT / file).read_text())
        for name in names.split("::")[1:]:
            inner = {n.name: n for n in ast.iter_child_nodes(node) if isinstance(n, (ast.ClassDef, ast.FunctionDef))}
            assert name in inner, f"{file}{names}"
            node = inner[name]
    patches = re.findall(r"`([\w-]+\.patch)`", text)
    assert len(patches) > 40
    assert [patch for patch in patches if not (ROOT / "tests" / "mutants" / patch).exists()] == []


@pytest.mark.django_db
def test_every_page_has_a_picture(client: Client, settings: Any) -> None:
    """Those that tests/screenshots.py takes, of the same rows, without a browser."""
    busy_night.fill(timezone.now())
    settings.ALERT_STREAMS = STREAMS
    client.force_login(User.objects.create_user("astronomer", is_staff=True))
    taken = {page.name for page in pages(client)} | {screenshots.ON_A_PHONE, screenshots.IN_THE_DARK}
    assert taken == {picture.stem for picture in screenshots.IMAGES.iterdir()}


@pytest.mark.django_db
def test_what_the_toolkit_loads_from_other_servers(client: Client, tmp_path: Path) -> None:
    text = (DOCS / "how-to" / "pages.md").read_text().partition("## Without the Internet")[2].partition("\n## ")[0]
    named = {
        host
        for row in re.findall(r"^\|.*\|$", text, re.MULTILINE)
        for host in re.findall(r"`([\w-]+(?:\.[\w-]+)+)`", row)
    }
    target = Target.objects.create(name="a", type="SIDEREAL", ra=1, dec=2, permissions="PUBLIC")
    client.force_login(User.objects.create_superuser("astronomer"))
    streams, one, targets = reverse("tom_alertstreams:streams"), f"/targets/{target.pk}/", reverse("targets:list")
    loaded: set[str] = set()
    for address in (streams, one, targets):
        answer = client.get(address)
        assert answer.status_code == 200, address
        page = answer.content.decode()
        loaded |= set(re.findall(r"""<(?:script|link|img)\b[^>]*?(?:src|href)=["'](?:https?:)?//([^/"']+)""", page))
        loaded |= set(re.findall(r"""\bfetch\(["']https?://([^/"']+)""", page))
    assert len(loaded) > 3
    assert loaded <= named

    # The recipe leaves nothing of the frame to others.
    [recipe] = re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for line in recipe.splitlines() if not line.startswith(("pip ", "curl "))]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(["sh", "-ec", "\n".join(lines)], cwd=tmp_path, env={"PATH": path}, check=True)
    base = (tmp_path / "templates" / "tom_common" / "base.html").read_text()
    assert "src=\"{% static 'alpine.min.js' %}\"" in base
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', base)


# --- reference ----------------------------------------------------------------------------------------------------------


def fields_of(dataclass: Any, inherited: Any = None) -> Iterator[tuple[str, Any]]:
    known = {field.name for field in fields(inherited)} if inherited else set()
    return ((field.name.upper(), field.default) for field in fields(dataclass) if field.name not in known)


@pytest.mark.parametrize(
    ("heading", "expected"),
    [
        ("DELIVERY", dict(fields_of(DeliverySettings))),
        ("RETRY", dict(fields_of(RetrySettings))),
        ("ALERT_STREAMS_ALARMS", dict(fields_of(AlarmSettings))),
        ("Options of the ready-made handlers", dict(fields_of(IngestOptions))),
        ("Of ALeRCE's handler besides", dict(fields_of(AlerceOptions, IngestOptions))),
    ],
)
def test_settings_and_their_defaults(heading: str, expected: dict[str, Any]) -> None:
    rows = table(REFERENCE / "settings.md", heading)
    assert set(rows) == set(expected)
    for name, default in expected.items():
        if default is not MISSING:
            assert ast.literal_eval(rows[name][0].strip("`")) == default, name


def test_keys_of_entries() -> None:
    assert set(table(REFERENCE / "settings.md", "ALERT_STREAMS")) == conf.STREAM_KEYS
    assert set(table(REFERENCE / "settings.md", "TOPIC_HANDLERS")) == conf._TOPIC_KEYS


def test_keys_of_sky() -> None:
    assert set(table(REFERENCE / "settings.md", "SKY")) == set(sky_rule.KEYS)


@pytest.mark.parametrize("heading", SHIPPED)
def test_options_of_streams(heading: str) -> None:
    rows, found = table(REFERENCE / "streams.md", heading), import_string(SHIPPED[heading])
    assert set(rows) == set(found.allowed_keys)
    assert {name for name, cells in rows.items() if cells[0] == "required"} == set(found.required_keys)
    text = (REFERENCE / "streams.md").read_text()
    section = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    assert SHIPPED[heading] in section
    assert f"begins at the {found.default_start}" in section


def test_schemas_of_alerce() -> None:
    assert set(table(REFERENCE / "streams.md", "Schemas of ALeRCE")) == set(shipped_versions())


def test_attributes_of_an_alert() -> None:
    text = (REFERENCE / "handlers.md").read_text().partition("## Alert\n")[2].partition("\n## ")[0]
    named = set(
        re.findall(r"`(\w+)(?:\(\))?`", "".join(line.split("|")[1] for line in text.splitlines() if "|" in line))
    )
    assert named == {name for name in {*dir(Alert), *Alert.__dataclass_fields__} if not name.startswith("_")}


def test_reject_codes() -> None:
    assert set(table(REFERENCE / "outcomes.md", "Reject codes")) == set(get_args(RejectCode))


def test_classes_of_errors() -> None:
    text = (REFERENCE / "outcomes.md").read_text().partition("## Errors\n")[2].partition("## Dead letters")[0]
    classes = set(re.findall(r"`([A-Z]\w+)`", text))
    assert classes <= set(vars(exceptions))
    documented = set(re.findall(r"`(\w{2}|\w{5})`", text))
    assert documented == {*failures._AWAY_STATES, *failures._CONTENTION_STATES, failures._ABORTED_STATE}
    assert issubclass(DecodeError, exceptions.PermanentError)


def test_states_of_dead_letters() -> None:
    text = (REFERENCE / "outcomes.md").read_text().partition("## Dead letters\n")[2]
    assert set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)))) == set(
        DeadLetter.State.values
    )


def test_states_of_streams() -> None:
    """Word for word as the card of a stream says what to do."""
    rows = table(DOCS / "how-to" / "pages.md", "States")
    assert {state: cells[-1] for state, cells in rows.items()} == dict(ADVICE.values())


def test_checks() -> None:
    sources = [
        *(ROOT / "tom_alertstreams").rglob("*.py"),
        *(ROOT / "alerce_stream").rglob("*.py"),
        *(ROOT / "apf_bridge").rglob("*.py"),
    ]
    used = {
        number
        for source in sources
        for number in re.findall(r"\"(?:tom_alertstreams\.)?((?:apf_bridge\.)?W\d{3})\"", source.read_text())
    }
    documented = {name.removeprefix("tom_alertstreams.") for name in table(REFERENCE / "commands.md", "Checks")}
    assert documented == used


def test_licences_are_stated_as_installed() -> None:
    rows = re.findall(
        r"^\| ([\w-]+) \| ([^|]+) \| [^|]+ \| [^|]+ \|$",
        (DOCS / "decisions" / "0005-dependencies.md").read_text(),
        re.MULTILINE,
    )[1:]
    for name, licence in rows:
        found = metadata.metadata(name)
        classifiers = [line for line in found.get_all("Classifier") or [] if line.startswith("License")]
        stated = " ".join([found.get("License-Expression") or "", found.get("License") or "", *classifiers])
        word = {"Apache-2.0": "Apache", "PSF": "PSF", "MIT": "MIT"}.get(licence, licence.split(" and ")[0])
        assert word in stated, (name, stated)
