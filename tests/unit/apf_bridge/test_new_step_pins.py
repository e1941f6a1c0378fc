"""What a new step needs: in the versions that are installed here, and nothing that only has the same name."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import CommandError

from .new_steps import new


class TestPins:
    NEEDED = (
        "django",
        "confluent-kafka",
        "fastavro",
        "defusedxml",
        "pyyaml",
        "prometheus-client",
        "asgiref",
        "sqlparse",
    )

    def test_what_is_installed(self, tmp_path: Path) -> None:
        new("my_step")
        lines = (tmp_path / "my_step" / "requirements.txt").read_text().splitlines()[1:]
        assert {f"{name}=={metadata.version(name)}" for name in self.NEEDED} <= set(lines)
        assert all("==" in line or line.endswith(".whl[apf]") for line in lines)

    @pytest.mark.parametrize(
        ("url", "source"),
        [
            ({"url": "file:///src/tom%20alerts", "dir_info": {"editable": True}}, "/src/tom alerts"),
            (
                {"url": "https://x/y.git", "vcs_info": {"vcs": "git", "commit_id": "1f66d87"}},
                "git+https://x/y.git@1f66d87",
            ),
            ({"url": "https://x/tom_alertstreams.whl", "archive_info": {}}, "https://x/tom_alertstreams.whl"),
        ],
    )
    def test_where_no_index_has_this_project_it_is_a_wheel(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: dict[str, Any], source: str
    ) -> None:
        installed_from(monkeypatch, url)
        said = new("my_step")
        quoted = f"'{source}'" if " " in source else source
        assert f"pip wheel --no-deps --wheel-dir wheels {quoted} " in said
        own = f"./wheels/tom_alertstreams-{metadata.version('tom-alertstreams')}-py3-none-any.whl[apf]"
        assert own in (tmp_path / "my_step" / "requirements.txt").read_text().splitlines()
        assert "COPY wheels/ ./wheels/\n" in (tmp_path / "my_step" / "Dockerfile").read_text()
        assert "pip wheel" in (tmp_path / "my_step" / "README.md").read_text()
        assert all(source not in file.read_text() for file in (tmp_path / "my_step").rglob("*") if file.is_file())

    def test_from_an_index(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        installed_from(monkeypatch, None)
        assert "pip wheel" not in new("my_step")
        own = f"tom-alertstreams[apf]=={metadata.version('tom-alertstreams')}"
        assert own in (tmp_path / "my_step" / "requirements.txt").read_text().splitlines()
        for file in ("Dockerfile", "README.md"):
            assert "wheel" not in (tmp_path / "my_step" / file).read_text()

    def test_what_is_not_installed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        version = metadata.version

        def without_yaml(name: str) -> str:
            if name == "pyyaml":
                raise metadata.PackageNotFoundError(name)
            return version(name)

        monkeypatch.setattr(metadata, "version", without_yaml)
        with pytest.raises(CommandError, match=r"pyyaml is not installed.*Install tom-alertstreams\[apf\] first"):
            new("my_step")
        assert list(tmp_path.iterdir()) == []


def installed_from(monkeypatch: pytest.MonkeyPatch, url: dict[str, Any] | None) -> None:
    """As pip notes it."""
    installed = metadata.distribution

    def distribution(name: str) -> Any:
        found = installed(name)
        if name == "tom-alertstreams":
            text = None if url is None else json.dumps(url)
            return SimpleNamespace(version=found.version, requires=found.requires, read_text=lambda _: text)
        return found

    monkeypatch.setattr(metadata, "distribution", distribution)
