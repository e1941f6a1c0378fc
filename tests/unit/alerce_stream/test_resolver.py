"""Positions from ALeRCE's API, and what happens when it has a bad night."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import stamina

from alerce_stream.resolver import IDS_PER_REQUEST, Position, ask_api, positions_of
from alerce_stream.testing import StubApi
from tom_alertstreams.exceptions import LookUpUnavailable

HERE = Position(150.0, -20.5)


@pytest.fixture
def api() -> Iterator[StubApi]:
    with StubApi() as running:
        yield running


@pytest.fixture(autouse=True)
def no_waits() -> Iterator[None]:
    with stamina.set_testing(True, attempts=3):
        yield


def test_in_bulk(api: StubApi) -> None:
    names = [f"ZTF26{number:07d}" for number in range(250)]
    api.positions = dict.fromkeys(names, HERE)
    assert ask_api([*names, "ZTF26unknown"], api.url) == api.positions
    assert [len(asked) for asked in api.requests] == [100, 100, 51]
    assert max(map(len, api.requests)) <= IDS_PER_REQUEST


def test_what_was_found_is_not_asked_for_again(api: StubApi) -> None:
    api.positions = {"ZTF26aaaaaaa": HERE}
    names = ["ZTF26aaaaaaa", "ZTF26bbbbbbb"]
    assert ask_api(names, api.url) == ask_api(names, api.url) == {"ZTF26aaaaaaa": HERE}
    assert api.requests == [names, ["ZTF26bbbbbbb"]]


def test_pages_are_followed(api: StubApi) -> None:
    api.page_size = 3
    api.positions = {f"ZTF26{number:07d}": HERE for number in range(8)}
    assert ask_api([*api.positions, "ZTF26unknown"], api.url) == api.positions
    assert len(api.requests) == 3


@pytest.mark.parametrize("status", [429, 500, 503])
def test_trouble_that_may_pass_is_tried_again_and_then_waited_for(api: StubApi, status: int) -> None:
    api.fail(status)
    with pytest.raises(LookUpUnavailable, match=str(status)):
        ask_api(["ZTF26aaaaaaa"], api.url)
    assert len(api.requests) == 3


@pytest.mark.parametrize(
    ("header", "attempts"), [("0", 3), ("1", 3), ("3600", 1), ("Wed, 21 Oct 2026 07:28:00 GMT", 1)]
)
def test_retry_after_is_heeded(api: StubApi, header: str, attempts: int) -> None:
    api.fail(429, Retry_After=header)
    with pytest.raises(LookUpUnavailable):
        ask_api(["ZTF26aaaaaaa"], api.url)
    assert len(api.requests) == attempts


def test_a_wrong_address_says_so(api: StubApi) -> None:
    with pytest.raises(LookUpUnavailable, match="404") as caught:
        ask_api(["ZTF26aaaaaaa"], f"{api.url}/wrong?")
    assert "API_URL" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "body", [b"<html>maintenance</html>", b"[]", b'{"items": null}', b'{"items": [1]}', b'{"total"']
)
def test_an_answer_that_is_no_list_of_objects(api: StubApi, body: bytes) -> None:
    api.fail(200, body, Content_Type="text/html")
    with pytest.raises(LookUpUnavailable, match="text/html"):
        ask_api(["ZTF26aaaaaaa"], api.url)


def test_nobody_answers() -> None:
    with StubApi() as gone:
        url = gone.url
    with pytest.raises(LookUpUnavailable, match="does not answer"):
        ask_api(["ZTF26aaaaaaa"], url)


@pytest.mark.parametrize(
    "item",
    [
        {}, {"oid": "ZTF26aaaaaaa"}, {"oid": "ZTF26aaaaaaa", "meanra": None, "meandec": 1.0},
        {"oid": "ZTF26aaaaaaa", "meanra": 400.0, "meandec": 1.0}, {"oid": "ZTF26aaaaaaa", "meanra": "1", "meandec": 1.0},
        {"oid": "ZTF26another", "meanra": 1.0, "meandec": 1.0},
    ],
)  # fmt: skip
def test_an_object_without_a_usable_position_is_unknown(api: StubApi, item: dict[str, Any]) -> None:
    body = json.dumps({"items": [item], "has_next": False}).encode()
    api.fail(200, body)
    assert positions_of(["ZTF26aaaaaaa"], ask_api, api.url) == {}


@pytest.mark.parametrize(
    ("given", "read"), [(61364.25, 61364.25), (None, None), ("61364.25", 61364.25), ("?", None), (float("nan"), None)]
)
def test_when_an_object_was_first_seen(api: StubApi, given: Any, read: float | None) -> None:
    item = {"oid": "ZTF26aaaaaaa", "meanra": 1.0, "meandec": 2.0, "firstmjd": given}
    api.fail(200, json.dumps({"items": [item], "has_next": False}).encode())
    assert positions_of(["ZTF26aaaaaaa"], ask_api, api.url) == {"ZTF26aaaaaaa": Position(1.0, 2.0, read)}


def test_a_resolver_of_ones_own() -> None:
    def known(object_ids: list[str], api_url: str) -> dict[str, Position]:
        return {"a": (1, 2), "b": (1000, 2), "c": (3, 4, 61000), "not asked for": (1, 2)}  # type: ignore[dict-item]

    def away(object_ids: list[str], api_url: str) -> dict[str, Position]:
        raise TimeoutError("the database server")

    found = positions_of(["a", "b", "c"], known, "")
    assert found == {"a": Position(1.0, 2.0), "c": Position(3.0, 4.0, 61000.0)}
    assert positions_of([], away, "") == {}
    with pytest.raises(LookUpUnavailable, match="the database server"):
        positions_of(["a"], away, "")
