"""ZTF's objects by name and by ALeRCE's number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerce_stream.messages import object_id_of
from alerce_stream.ztf_numbers import ztf_name, ztf_number

FIRST, LAST = ztf_number("ZTF00aaaaaaa"), ztf_number("ZTF99zzzzzzz")


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("ZTF00aaaaaaa", 1 << 55),
        ("ZTF00aaaaaab", (1 << 55) + 1),
        ("ZTF01aaaaaaa", (1 << 55) + 26**7),
        ("ZTF17aaabauy", 36028933559755080),  # the example in ALeRCE's own tests and scripts
        ("ZTF17yegsjgj", 36028941024305561),
        ("ZTF99zzzzzzz", (1 << 55) + 100 * 26**7 - 1),
    ],
)
def test_a_name_and_its_number(name: str, number: int) -> None:
    assert (ztf_number(name), ztf_name(str(number))) == (number, name)


@given(st.from_regex(r"ZTF[0-9]{2}[a-z]{7}", fullmatch=True))
def test_every_name_comes_back(name: str) -> None:
    assert FIRST <= ztf_number(name) <= LAST
    assert ztf_name(str(ztf_number(name))) == name
    assert object_id_of({"oid": ztf_number(name), "sid": 0}) == name


@given(st.integers(FIRST, LAST))
def test_every_number_comes_back(number: int) -> None:
    assert ztf_number(ztf_name(str(number))) == number


@given(st.one_of(st.integers(max_value=FIRST - 1), st.integers(min_value=LAST + 1)).map(str) | st.text())
@pytest.mark.parametrize("edge", [FIRST - 1, LAST + 1])
def test_what_is_no_number_of_ztfs_has_no_name(edge: int, text: str) -> None:
    assert ztf_name(text) == ztf_name(str(edge)) == ""


@pytest.mark.parametrize("name", ["", "ZTF17aaabau", "ZTF17aaabauyy", "ztf17aaabauy", "ZTF1Xaaabauy", "ZTF17aaabaUy"])
def test_what_is_no_name_of_ztfs_has_no_number(name: str) -> None:
    with pytest.raises(ValueError, match="no name of ZTF's"):
        ztf_number(name)


@pytest.mark.parametrize(
    ("content", "object_id"),
    [
        ({"oid": 36028941024305561, "sid": 0}, "ZTF17yegsjgj"),
        ({"oid": 36028941024305561}, "ZTF17yegsjgj"),
        ({"oid": 36028941024305561, "sid": None}, "ZTF17yegsjgj"),
        ({"oid": "36028941024305561"}, "ZTF17yegsjgj"),  # so the light-curve classifier sends it, without a sid
        ({"oid": 36028941024305561, "sid": 1}, "36028941024305561"),
        ({"oid": 170055002004914266, "sid": 1}, "170055002004914266"),
        ({"oid": 170055002004914266, "sid": 0}, "170055002004914266"),
        ({"oid": 21163611375810943, "sid": 2}, "21163611375810943"),
        ({"diaObjectId": 36028941024305561}, "36028941024305561"),
        ({"diaObjectId": 0, "ssObjectId": 36028941024305561}, "36028941024305561"),
        ({"oid": "ZTF17yegsjgj"}, "ZTF17yegsjgj"),
        ({"oid": 0, "objectId": "ZTF17yegsjgj"}, "ZTF17yegsjgj"),
    ],
)
def test_the_number_of_a_ztf_object_is_taken_for_its_name(content: dict[str, object], object_id: str) -> None:
    assert object_id_of(content) == object_id
