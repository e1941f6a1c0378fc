"""What holds for every template: nothing comes from other servers, and no script stands in an attribute."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
TEMPLATES = sorted(
    template for app in ("tom_alertstreams", "alerce_stream", "apf_bridge") for template in (ROOT / app).rglob("*.html")
)


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_no_strangers_and_no_inline_handlers(template: Path) -> None:
    text = template.read_text()
    assert not re.search(r"""(?:src|@import|url\()\s*=?\s*["'(]?\s*(?:https?:)?//""", text)
    assert not re.search(r"<link[^>]*href=[\"'](?:https?:)?//", text)
    assert not re.search(r"<[^>]*\son[a-z]+\s*=", text)
    assert "|safe" not in text
    assert "autoescape off" not in text
    assert "javascript:" not in text
