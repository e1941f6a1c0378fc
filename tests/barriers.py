"""Barriers for readers of a page: what axe-core finds in a browser."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources

from tests.browser import Browser
from tests.processes import wait_until

_GRAVE = ("serious", "critical")
#: This axe reads colours as rgb(…) only, and leaves all of them alone where it meets one that was mixed.
_COLOURS = r"""
    if (!window.seenByAxe) {
        window.seenByAxe = window.getComputedStyle;
        const rgb = (text) => text.replace(/color\(srgb ([\d.e-]+) ([\d.e-]+) ([\d.e-]+)(?: \/ ([\d.e-]+))?\)/g,
            (all, r, g, b, a = "1") => `rgba(${[r, g, b].map(part => Math.round(255 * part)).join(", ")}, ${a})`);
        window.getComputedStyle = (...args) => new Proxy(seenByAxe.apply(window, args), {
            get: (style, name) => {
                const value = Reflect.get(style, name);
                if (typeof value === "function") return (...given) => rgb(String(value.apply(style, given)));
                return typeof value === "string" ? rgb(value) : value;
            },
        });
    }
"""


@cache
def _axe() -> str:
    return resources.files("axe_core_python").joinpath("axe.min.js").read_text()


def barriers(browser: Browser, css: str = ".alertstreams") -> list[str]:
    """The grave ones in a part of the page that is open: rule, what it is about, and where."""
    browser.run(_COLOURS)
    browser.run(_axe())
    browser.run(f"""
        window.found = null;
        axe.run({json.dumps(css)}).then(
            result => {{ found = {{ violations: result.violations, passes: result.passes.map(rule => rule.id) }}; }},
            error => {{ found = String(error); }});
    """)
    wait_until(lambda: browser.run("return window.found !== null"), "axe")
    found = browser.run("return window.found")
    assert isinstance(found, dict), found
    looked_at = {*found["passes"], *(rule["id"] for rule in found["violations"])}
    assert "color-contrast" in looked_at, "axe has compared no colours"
    return [
        f"{rule['id']} ({rule['impact']}): {rule['help']}: {node['html'][:200]} {node['failureSummary']}"
        for rule in found["violations"]
        if rule["impact"] in _GRAVE
        for node in rule["nodes"]
    ]


def assert_no_barriers(browser: Browser, css: str = ".alertstreams") -> None:
    """No grave one in a part of the page that is open."""
    assert barriers(browser, css) == []
