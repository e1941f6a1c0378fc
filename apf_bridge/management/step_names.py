"""From the name that somebody gives a step to that of its module and of its class."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tom_alertstreams.management.scaffold import CannotWrite, is_taken

#: Longer ones would break the lines of the code.
MAX_LENGTH: Final = 40
#: What else is in the folder of a step; and what steps import.
_OURS: Final = frozenset({"settings", "settings_files", "tests", "wheels", "apf"})


@dataclass(frozen=True)
class StepNames:
    """What a step is called in Python."""

    module: str
    title: str


def names_of(given: str, directory: Path) -> StepNames:
    """``my step`` or ``my-step`` → ``my_step`` and ``MyStep``; ``xmatch`` → ``xmatch`` and ``XmatchStep``.

    :param directory: where the folder of the step shall be.
    :raises CannotWrite: no module can have that name.
    """
    module = re.sub("[ -]+", "_", given.strip(" ")).lower()
    title = "".join(word[0].upper() + word[1:] for word in re.split("[ _-]+", given) if word)
    if not title.lower().endswith("step"):
        title += "Step"
    reason = _why_not(module, title) or _why_taken(module, directory)
    if reason:
        raise CannotWrite(
            f"{given!r} cannot be the name of a step: {reason}. Use up to {MAX_LENGTH} letters of a-z, digits and "
            f"underscores, a letter first; spaces and hyphens become underscores."
        )
    return StepNames(module, title)


def _why_not(module: str, title: str) -> str | None:
    if not module:
        return "it is empty"
    if unfit := sorted(set(re.sub("[a-z0-9_]", "", module))):
        return f"it has {', '.join(map(ascii, unfit))}"
    if not module[0].isalpha():
        return f"it begins with {module[0]!r}"
    if len(module) > MAX_LENGTH:
        return f"it has {len(module)} characters"
    if keyword.iskeyword(module):
        return f"{module} is a word of Python's"
    if title.lower() == "genericstep":
        return "GenericStep is what every step is made of"
    return None


def _why_taken(module: str, directory: Path) -> str | None:
    if module in _OURS:
        return f"a step has another {module} beside it"
    if is_taken(module, apart_from=directory.resolve() / module):
        return f"there is a Python module {module} already, and one would hide the other"
    return None
