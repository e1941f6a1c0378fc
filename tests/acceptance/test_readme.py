"""The documents: every sample runs, and every name, option, number of a check and link in them exists."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest
from django.core.management import get_commands, load_command_class
from django.core.management.base import BaseCommand
from django.test import override_settings
from django.utils.module_loading import import_string

from alerce_stream.options import AlerceOptions
from tests.brokers import ScriptedBroker
from tests.effects import handlers
from tests.effects.models import Effect
from tests.streams import entry, run_once
from tom_alertstreams import conf, exceptions
from tom_alertstreams.alerts import Alert
from tom_alertstreams.alertstreams.alertstream import get_alert_streams, make_stream
from tom_alertstreams.checks import check_alert_streams
from tom_alertstreams.conf import DeliverySettings, RetrySettings, read_streams
from tom_alertstreams.delivery import failures
from tom_alertstreams.exceptions import DecodeError, LookUpUnavailable, RejectAlert, RetryLater
from tom_alertstreams.handlers import Style, resolve
from tom_alertstreams.ingest.options import IngestOptions
from tom_alertstreams.ingest.reports import RejectCode
from tom_alertstreams.models import DeadLetter

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
#: Others' apps that the samples name. Not in INSTALLED_APPS of the tests: looked up in their source.
OTHERS = ("tom_nonlocalizedevents",)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


# --- reading the documents ----------------------------------------------------------------------------------------------


def blocks(path: Path, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)


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


# --- samples ------------------------------------------------------------------------------------------------------------


class Samples:
    """The python blocks of one document. Their first line says what each is: a settings.py, a module of the user's, a shell."""

    def __init__(self, path: Path) -> None:
        self.settings: list[str] = []
        self.shell: list[str] = []
        self.modules: dict[str, str] = {}
        for block in blocks(path, "python"):
            first = block.partition("\n")[0]
            if first == "# settings.py":
                self.settings.append(block)
            elif first == "# ./manage.py shell":
                self.shell.append(block)
            elif module := re.fullmatch(r"# (mytom/\w+)\.py", first):
                dotted = module[1].replace("/", ".")
                self.modules[dotted] = self.modules.get(dotted, "") + block
            else:
                pytest.fail(f"{path.name}: a sample must begin with # settings.py, # mytom/….py or # ./manage.py shell")


@pytest.fixture
def mytom(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make modules of samples importable; and those of others' apps, of which the tests install none."""

    def install(modules: dict[str, str]) -> dict[str, ModuleType]:
        made = {}
        monkeypatch.setitem(sys.modules, "mytom", ModuleType("mytom"))
        for name, source in modules.items():
            made[name] = ModuleType(name)
            monkeypatch.setitem(sys.modules, name, made[name])
            exec(compile(source, f"<{name}>", "exec", dont_inherit=True), made[name].__dict__)
        return made

    for path in {path for document in DOCUMENTS for path in dotted_paths(document) if path.startswith(OTHERS)}:
        module, _, attribute = path.rpartition(".")
        stub = ModuleType(module)
        setattr(stub, attribute, lambda message, metadata=None, **kwargs: None)
        monkeypatch.setitem(sys.modules, module, stub)
    return install


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every environment variable that a sample reads."""
    for document in DOCUMENTS:
        for name in re.findall(r"os\.(?:environ\[|getenv\()\"(\w+)\"", document.read_text()):
            monkeypatch.setenv(name, f"fake-{name.lower()}")


@pytest.mark.django_db
@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_samples(document: Path, mytom: Any, credentials: None) -> None:
    samples = Samples(document)
    for module in mytom(samples.modules).values():
        for name, value in vars(module).items():
            if callable(value) and hasattr(value, "_alertstreams_handler"):
                assert resolve(f"{module.__name__}.{name}").marked
    names: dict[str, Any] = {"INSTALLED_APPS": [], "DATABASES": {"default": {}}}
    for block in samples.settings:
        names.pop("ALERT_STREAMS", None)
        exec(compile(block, f"<{document.name}>", "exec", dont_inherit=True), names)
        assert_streams_can_be_made(names)
    for app in names["INSTALLED_APPS"]:
        assert importlib.util.find_spec(app), app
    for block in samples.shell:
        exec(compile(block, f"<{document.name}>", "exec", dont_inherit=True), {})


def assert_streams_can_be_made(names: dict[str, Any]) -> None:
    """As ``checkstreams`` would; nothing goes over the network."""
    with override_settings(ALERT_STREAMS_DEFAULTS=names.get("ALERT_STREAMS_DEFAULTS", {})):
        streams, findings = read_streams(names.get("ALERT_STREAMS", []))
    assert not findings
    for settings in streams:
        stream: Any = make_stream(settings)
        assert stream.bindings
        assert stream.group_id
        assert stream.consumer_config()["bootstrap.servers"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_handlers_of_samples_exist(document: Path) -> None:
    """A sample names no function of the user's that the same document does not show."""
    samples = Samples(document)
    shown = {
        f"{name}.{node.name}"
        for name, source in samples.modules.items()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef)
    }
    named = set(re.findall(r"\"(mytom(?:\.\w+)+)\"", "".join(samples.settings)))
    assert named <= shown


def test_the_readme_has_every_stream(mytom: Any, credentials: None) -> None:
    names: dict[str, Any] = {"INSTALLED_APPS": [], "DATABASES": {"default": {}}}
    mytom(Samples(ROOT / "README.md").modules)
    for block in Samples(ROOT / "README.md").settings:
        exec(compile(block, "<README.md>", "exec", dont_inherit=True), names)
    streams, findings = read_streams(names["ALERT_STREAMS"])
    assert not findings
    assert {stream.name for stream in streams} == set(SHIPPED.values())
    assert {"tom_alertstreams", "tom_alertstreams.ingest", "alerce_stream"} == set(names["INSTALLED_APPS"])


def test_sqlite_sample_satisfies_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db import connections

    connection = connections["default"]
    names: dict[str, Any] = {"DATABASES": {"default": {}}}
    block = next(block for block in Samples(ROOT / "README.md").settings if "DATABASES" in block)
    exec(block, names)
    monkeypatch.setattr(type(connection), "vendor", "sqlite")
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", {})
    with override_settings(ALERT_STREAMS=[entry("localhost:1", "group", {"topic": "one"})]):
        assert "tom_alertstreams.W010" in {message.id for message in check_alert_streams()}
        monkeypatch.setitem(connection.settings_dict, "OPTIONS", names["DATABASES"]["default"]["OPTIONS"])
        assert "tom_alertstreams.W010" not in {message.id for message in check_alert_streams()}


# --- what the samples do ------------------------------------------------------------------------------------------------


def alert_of(content: Any, topic: str = "topic", offset: int = 0) -> Alert:
    raw = repr(content).encode()
    return Alert("sample", topic, 0, offset, None, (), None, raw, lambda alert: ast.literal_eval(alert.raw.decode()))


@pytest.mark.django_db
class TestHandlers:
    def test_of_the_readme(self, mytom: Any) -> None:
        from tom_targets.models import Target, TargetList

        module = mytom(Samples(ROOT / "README.md").modules)["mytom.alerts"]
        styles = {name: resolve(f"mytom.alerts.{name}").style for name in ("on_locus", "on_alert", "ingest_lasair")}
        assert styles == {"on_locus": Style.V1, "on_alert": Style.ALERT, "ingest_lasair": Style.BATCH}

        class Locus:
            locus_id, ra, dec = "ANT2026abc", 10.0, -5.0

        module.on_locus(Locus())
        options = resolve("mytom.alerts.on_alert", {"MAGNITUDE": 17}).options
        module.on_alert(alert_of({"objectId": "ANT2026abc", "mag": 16.0}), options=options)
        with pytest.raises(RejectAlert, match="faint"):
            module.on_alert(alert_of({"objectId": "ANT2026abc", "mag": 17.5}), options=options)
        assert TargetList.objects.get(name="Bright").targets.get().name == "ANT2026abc"

        rows = [{"objectId": "ZTF26aaaaaaa", "ramean": 20.0, "decmean": 3.0}] * 2
        always = resolve("mytom.alerts.ingest_lasair", {"CREATE": "always"}).options
        outcomes = module.ingest_lasair([alert_of(row, offset=n) for n, row in enumerate(rows)], options=always)
        assert [outcome.kind for outcome in outcomes] == ["done", "done"]
        assert Target.objects.get(name="ZTF26aaaaaaa").ra == 20.0

    def test_of_the_how_to(self, mytom: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        import requests
        from tom_dataproducts.models import PhotometryReducedDatum
        from tom_targets.models import Target, TargetExtra

        modules = mytom(Samples(DOCS / "how-to" / "write-a-handler.md").modules)
        redshifts = modules["mytom.alerts"]
        options = resolve("mytom.alerts.store_redshift", {"MAX_REDSHIFT": 0.05}).options
        with pytest.raises(exceptions.ConfigurationError, match="MAX_REDSHIFT is above 0"):
            resolve("mytom.alerts.store_redshift", {"MAX_REDSHIFT": 0})
        with pytest.raises(RetryLater):
            redshifts.store_redshift(alert_of({"name": "MS26a", "z": 0.01}), options=options)
        with pytest.raises(RejectAlert, match="distant"):
            redshifts.store_redshift(alert_of({"name": "MS26a", "z": 0.2}), options=options)

        catalogue = modules["mytom.catalogue"]
        monkeypatch.setattr(requests, "get", raiser(requests.ConnectionError("no route")))
        with pytest.raises(LookUpUnavailable):
            catalogue.look_up([alert_of({"name": "MS26a"})])
        both = [alert_of({"name": name}) for name in ("MS26a", "MS26b")]
        outcomes = catalogue.create_targets(both, {"MS26a": (1.0, 2.0)})
        assert [(outcome.kind, outcome.code) for outcome in outcomes] == [("done", ""), ("rejected", "unknown")]
        redshifts.store_redshift(alert_of({"name": "MS26a", "z": 0.01}), options=options)
        assert TargetExtra.objects.get(target__name="MS26a").value == "0.01"

        Target.objects.all().delete()
        case = modules["mytom.test_survey"].SurveyTest()
        case.test_makes_a_target()
        case.test_broker()
        assert PhotometryReducedDatum.objects.get().brightness == 18.2

    def test_positions_from_elsewhere(self, mytom: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        import requests

        from alerce_stream.resolver import positions_of

        mytom(Samples(DOCS / "how-to" / "alerce.md").modules)
        monkeypatch.setattr(requests, "post", raiser(requests.ConnectionError("no route")))
        with pytest.raises(LookUpUnavailable):
            positions_of(["ZTF26aaaaaaa"], import_string("mytom.positions.from_catalogue"), "")


def raiser(error: Exception) -> Any:
    def function(*args: Any, **kwargs: Any) -> Any:
        raise error

    return function


@pytest.mark.django_db(transaction=True)
def test_dead_letters_are_tried_again(broker: ScriptedBroker, topic: str, group_id: str) -> None:
    """The sample of the README, once the handler is mended."""
    handlers.reset()
    handlers.trouble.append(raiser(KeyError("candid")))
    broker.create_topic(topic)
    broker.produce(topic, b"{}")
    broker.flush()
    stream = entry(broker.bootstrap_servers, group_id, {topic: "one"})
    run_once(get_alert_streams([stream])[0])
    assert DeadLetter.objects.get().state == "open"
    shell = next(block for block in Samples(ROOT / "README.md").shell if "DeadLetter" in block)

    exec(shell, {})
    run_once(get_alert_streams([stream])[0])
    assert DeadLetter.objects.get().state == "open"  # it failed again

    handlers.reset()
    exec(shell, {})
    run_once(get_alert_streams([stream])[0])
    assert not DeadLetter.objects.exists()
    assert Effect.objects.filter(topic=topic).count() == 1


# --- names --------------------------------------------------------------------------------------------------------------


def dotted_paths(document: Path) -> set[str]:
    text = re.sub(r"tom_alertstreams\.W\d+", "", document.read_text())
    names = "|".join(("tom_alertstreams", "alerce_stream", "tom_targets", "tom_hermes", *OTHERS))
    return set(re.findall(rf"(?<![\w./-])(?:{names})(?:\.[A-Za-z_]\w*)+", text)) - {"tom_alertstreams.ingest"}


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


OUR_COMMANDS = ("readstreams", "checkstreams", "hoptestpub")


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
    return {option for action in parser._actions for option in action.option_strings}


@pytest.mark.parametrize("command", OUR_COMMANDS)
def test_every_option_is_documented(command: str) -> None:
    parser = BaseCommand().create_parser("manage.py", command)
    of_django = {option for action in parser._actions for option in action.option_strings} | {"--skip-checks"}
    documented = {row.split()[0] for row in table(REFERENCE / "commands.md", command)}
    assert documented == options_of(command) - of_django


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


def test_extras_of_the_readme_exist() -> None:
    requested = {
        extra.strip()
        for document in DOCUMENTS
        for extras in re.findall(r"pip install '(?:\.|tom-alertstreams)\[([^\]]+)\]", document.read_text())
        for extra in extras.split(",")
    }
    given = set(re.findall(r'^        "([a-z-]+)": ', (ROOT / "setup.py").read_text(), re.MULTILINE))
    assert requested <= given


# --- reference ----------------------------------------------------------------------------------------------------------


def fields_of(dataclass: Any, inherited: Any = None) -> Iterator[tuple[str, Any]]:
    known = {field.name for field in fields(inherited)} if inherited else set()
    return ((field.name.upper(), field.default) for field in fields(dataclass) if field.name not in known)


@pytest.mark.parametrize(
    ("heading", "expected"),
    [
        ("DELIVERY", dict(fields_of(DeliverySettings))),
        ("RETRY", dict(fields_of(RetrySettings))),
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
    assert set(table(REFERENCE / "settings.md", "ALERT_STREAMS")) == conf._STREAM_KEYS
    assert set(table(REFERENCE / "settings.md", "TOPIC_HANDLERS")) == conf._TOPIC_KEYS


SHIPPED = {
    "Any Kafka broker": "tom_alertstreams.alertstreams.kafka.KafkaAlertStream",
    "Hopskotch": "tom_alertstreams.alertstreams.hopskotch.HopskotchAlertStream",
    "GCN": "tom_alertstreams.alertstreams.gcn.GCNClassicAlertStream",
    "ANTARES": "tom_alertstreams.alertstreams.antares.AntaresAlertStream",
    "ALeRCE": "alerce_stream.streams.AlerceAlertStream",
}


@pytest.mark.parametrize("heading", SHIPPED)
def test_options_of_streams(heading: str) -> None:
    rows, found = table(REFERENCE / "streams.md", heading), import_string(SHIPPED[heading])
    assert set(rows) == set(found.allowed_keys)
    assert {name for name, cells in rows.items() if cells[0] == "required"} == set(found.required_keys)
    text = (REFERENCE / "streams.md").read_text()
    section = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    assert SHIPPED[heading] in section
    assert f"begins at the {found.default_start}" in section


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


def test_checks() -> None:
    sources = [*(ROOT / "tom_alertstreams").rglob("*.py"), *(ROOT / "alerce_stream").rglob("*.py")]
    used = {
        number
        for source in sources
        for number in re.findall(r"\"(?:tom_alertstreams\.)?(W\d{3})\"", source.read_text())
    }
    documented = {name.removeprefix("tom_alertstreams.") for name in table(REFERENCE / "commands.md", "Checks")}
    assert documented == used


def test_licences_are_stated_as_installed() -> None:
    from importlib import metadata

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
