"""Pictures of all pages for the documents: ``python -m tests.screenshots [PAGE …]`` writes docs/images/<page>.png.

A TOM of its own is filled with a busy night; nothing else is needed but Chromium. ``streams`` is there in the dark and on
a phone as well.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import django
from PIL import Image

from tests.browser import Browser
from tests.busy_streams import STREAMS
from tests.processes import ROOT, wait_until

IMAGES = ROOT / "docs" / "images"
WIDTH, HEIGHT, MOST_HIGH = 1400, 700, 1400
PHONE = (360, 780)
#: More pictures of the page of the streams.
ON_A_PHONE, IN_THE_DARK = "streams-phone", "streams-dark"
#: Where a page ends, or the card of the last stream that is not well: no card is cut in two.
_BOTTOM = f"""const last = document.querySelector(".edge-never");
    return last ? Math.ceil(last.getBoundingClientRect().bottom + scrollY) + 12
        : Math.min({MOST_HIGH}, document.documentElement.scrollHeight)"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.screenshots", description=__doc__.splitlines()[0])
    parser.add_argument("page", nargs="*", metavar="PAGE", help="names of pages; all where none is given")
    wanted = parser.parse_args(arguments).page
    with tempfile.TemporaryDirectory(prefix="tom-alertstreams-pictures-") as folder:
        os.environ |= {"DJANGO_SETTINGS_MODULE": "tests.settings", "EXAMPLE_TOM_RUN_DIR": folder}
        os.environ.pop("TEST_DATABASE_URL", None)
        django.setup()
        _take(wanted)
    return 0


def _take(wanted: Sequence[str]) -> None:
    from django.conf import settings
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from django.test import Client
    from django.utils import timezone

    from tests import busy_night
    from tests.our_pages import pages

    call_command("migrate", verbosity=0)
    busy_night.fill(timezone.now())
    settings.ALERT_STREAMS = STREAMS
    client = Client(SERVER_NAME="127.0.0.1")
    client.force_login(User.objects.create_user("astronomer", is_staff=True))
    IMAGES.mkdir(exist_ok=True)
    with served() as address, Browser() as browser:
        browser.open(f"{address}/accounts/login/")
        browser.add_cookie("sessionid", client.cookies["sessionid"].value)
        for page in pages(client):
            if not wanted or page.name in wanted:
                _picture(browser, address + page.path, page.name)
        if not wanted or "streams" in wanted:
            _picture(browser, f"{address}/alertstreams/", ON_A_PHONE, *PHONE)
            settings.CSS_THEME = "dark"
            _picture(browser, f"{address}/alertstreams/", IN_THE_DARK)


def _picture(browser: Browser, address: str, name: str, width: int = WIDTH, height: int = 0) -> None:
    browser.resize(width, height or HEIGHT)
    browser.command("Emulation.setScrollbarsHidden", hidden=True)
    browser.open(address)
    browser.run("document.querySelectorAll('nav.navbar').forEach(bar => bar.style.position = 'absolute')")
    time.sleep(1.0)  # plots are drawn after the page is there
    wait_until(lambda: browser.run("return document.querySelectorAll('.htmx-request').length === 0"), "the page")
    if not height:
        browser.resize(width, browser.run(_BOTTOM))
        time.sleep(0.3)
    file = IMAGES / f"{name}.png"
    # So many colours are enough for text and bars, and a third of the bytes.
    picture = Image.open(io.BytesIO(browser.picture())).convert("RGB")
    picture.quantize(64, dither=Image.Dither.NONE).save(file, optimize=True)
    print(f"{file.relative_to(ROOT)}: {picture.width} x {picture.height}, {file.stat().st_size // 1000} kB")


@contextmanager
def served() -> Iterator[str]:
    """This TOM on a port of this machine; its address."""
    from django.contrib.staticfiles.handlers import StaticFilesHandler
    from django.test.testcases import LiveServerThread
    from django.test.utils import override_settings

    server: Any = LiveServerThread("127.0.0.1", StaticFilesHandler, connections_override={})
    server.daemon = True
    with override_settings(ALLOWED_HOSTS=["*"]):
        server.start()
        server.is_ready.wait()
        if server.error:
            raise server.error
        try:
            yield f"http://127.0.0.1:{server.port}"
        finally:
            server.terminate()


if __name__ == "__main__":
    sys.exit(main())
