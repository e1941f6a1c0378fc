"""How a handler is called is known at the start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from tom_alertstreams.exceptions import ConfigurationError
from tom_alertstreams.handlers import Style, alert_handler, batch_handler, resolve


def three(a: Any, b: Any, c: Any) -> None: ...


def two(model: Any, meta: Any) -> None: ...


def named(alert: Any, *, something: Any) -> None: ...


@alert_handler(cutouts=False)
def small(alert: Any) -> None: ...


@batch_handler(cutouts=False)
def small_batch(alerts: Any) -> None: ...


@batch_handler
def whole_batch(alerts: Any) -> None: ...


@dataclass(frozen=True)
class Options:
    """Of the handler below."""

    limit: int = 0


@alert_handler(options=Options)
def optional(alert: Any, *, options: Options) -> None: ...


def new_style(alert: Any, *, alert_stream: Any, **kwargs: Any) -> None: ...


@pytest.mark.parametrize(("name", "arguments"), [("three", 1), ("three", 2), ("two", 1), ("named", 1)])
def test_a_call_that_does_not_fit_is_told_at_the_start(name: str, arguments: int) -> None:
    with pytest.raises(ConfigurationError, match=rf"takes \(.*; this stream calls it with {arguments} argument"):
        resolve(f"{__name__}.{name}", None, arguments)


def test_names_of_options_need_not_be_text() -> None:
    with pytest.raises(ConfigurationError, match="does not know the option 5, OTHER"):
        resolve(f"{__name__}.optional", {5: 5, "OTHER": 1})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("name", "arguments", "style"),
    [("two", 2, Style.V1), ("three", 3, Style.V1), ("new_style", 1, Style.V2), ("new_style", 2, Style.V2)],
)
def test_how_it_is_called(name: str, arguments: int, style: Style) -> None:
    assert resolve(f"{__name__}.{name}", None, arguments).style is style


@pytest.mark.parametrize(
    ("name", "cutouts"),
    [("small", False), ("small_batch", False), ("whole_batch", True), ("three", True), ("new_style", True)],
)
def test_whether_it_reads_cutouts(name: str, cutouts: bool) -> None:
    handler = resolve(f"{__name__}.{name}", None, 3 if name == "three" else 1)
    assert handler.cutouts is cutouts
    assert handler.called == handler.style.value + ("" if cutouts else ", without cutouts")
