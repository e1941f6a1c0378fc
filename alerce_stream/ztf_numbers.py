"""ZTF's objects by the numbers that ALeRCE's pipelines for several surveys give them.

Of 63 bits the first eight say which survey it is, 1 for ZTF. The other 55 hold the name: its year times 26^7, plus its seven
letters read as a number of base 26. So ZTF17aaabauy is 36028933559755080. That is ``libs/idmapper`` of
github.com/alercebroker/pipeline (``mapper.py`` and ``ztf.py``: ``catalog_oid_to_masterid``, ``decode_masterid``).

There ``sid`` is 0 for ZTF, 1 and 2 for Rubin's diaObjects and ssObjects, whose numbers are Rubin's own (``ingestion_step``,
``transforms.py`` of ztf and of lsst). A number without a ``sid`` can be told all the same: Rubin's diaObjectIds are larger than
ZTF's numbers, and its ssObjectIds are texts in ASCII, where the bit that is ZTF's is 0.
"""

from __future__ import annotations

import re
from string import ascii_lowercase
from typing import Final

#: What ``sid`` says of an object of ZTF.
SID: Final = 0

_NAME: Final = re.compile(r"ZTF([0-9]{2})([a-z]{7})")
_FIRST: Final = 1 << 55
_A_YEAR: Final = 26**7
#: Of each of these numbers.
_DIGITS: Final = 17


def ztf_name(number: str) -> str:
    """The name of the object of this number, or "" where the text is no number of ZTF's."""
    if len(number) != _DIGITS or not (number.isascii() and number.isdecimal()):
        return ""
    year, rest = divmod(int(number) - _FIRST, _A_YEAR)
    if not 0 <= year <= 99:
        return ""
    letters = []
    for _ in range(7):
        rest, place = divmod(rest, 26)
        letters.append(ascii_lowercase[place])
    return f"ZTF{year:02d}{''.join(reversed(letters))}"


def ztf_number(name: str) -> int:
    """The number of the object of this name.

    :raises ValueError: it is no name of ZTF's.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        raise ValueError(f"{name!r} is no name of ZTF's: ZTF, two digits, seven small letters.")
    number = int(found[1])
    for letter in found[2]:
        number = number * 26 + ascii_lowercase.index(letter)
    return _FIRST + number
