"""What a step needs, in the versions that are installed here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from tom_alertstreams.management.scaffold import CannotWrite

_OURS: Final = "tom-alertstreams"
_EXTRA: Final = "apf"


@dataclass(frozen=True)
class Pins:
    """Requirements for pip, and how to get this project where no index has it."""

    #: Lines of a requirements.txt.
    lines: tuple[str, ...]
    #: What pip can build the wheel of; None where the index has it.
    source: str | None


def pins() -> Pins:
    """All that is needed by this project's extra ``apf``, and by what that needs.

    This project itself is pinned by the version where it came from an index, else by its wheel: an index might have
    something else under that version.

    :raises CannotWrite: something is not installed, so that its version is not known.
    """
    found: dict[str, str] = {}
    try:
        version = metadata.version(_OURS)
        for name in _needed(_OURS, _EXTRA):
            _collect(name, found)
    except metadata.PackageNotFoundError as error:
        raise CannotWrite(
            f"{error.name} is not installed, so that its version cannot be pinned. Install {_OURS}[{_EXTRA}] first."
        ) from error
    source = _source()
    wheel = f"./wheels/{_OURS.replace('-', '_')}-{version}-py3-none-any.whl[{_EXTRA}]"
    own = f"{_OURS}[{_EXTRA}]=={version}" if source is None else wheel
    return Pins((own, *(f"{name}=={found[name]}" for name in sorted(found))), source)


def _collect(name: str, found: dict[str, str]) -> None:
    if name in found:
        return
    found[name] = metadata.version(name)
    for other in _needed(name):
        try:
            _collect(other, found)
        except metadata.PackageNotFoundError:  # for another system or another Python
            continue


def _needed(name: str, extra: str | None = None) -> Iterator[str]:
    """Names of what a distribution needs, with one of its extras."""
    for requirement in metadata.requires(name) or ():
        needed, _, marker = requirement.partition(";")
        of_extra = re.search(r"extra == ['\"]([^'\"]+)", marker)
        if of_extra is None or of_extra[1] == extra:
            yield re.split(r"[^A-Za-z0-9._-]", needed.strip())[0].lower().replace("_", "-")


def _source() -> str | None:
    """Where this project was installed from: a folder, a repository or a file; None: from an index."""
    text = metadata.distribution(_OURS).read_text("direct_url.json")
    if text is None:
        return None
    direct: dict[str, Any] = json.loads(text)
    url = str(direct["url"])
    if vcs := direct.get("vcs_info"):
        return f"{vcs['vcs']}+{url}@{vcs['commit_id']}"
    return unquote(urlsplit(url).path) if url.startswith("file:") else url
