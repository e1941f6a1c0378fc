"""ALeRCE's tab in a real browser: the plot is drawn, and what alerts say stays text."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from tom_targets.models import Target

from alerce_stream.handlers import ingest_classifications, look_up
from alerce_stream.options import AlerceOptions
from tests.browser import Browser
from tests.processes import wait_until
from tests.unit.alerce_stream.samples import FEATURES, SENT, of

NAME = "ZTF26aaaaaaa"
#: The last of it Plotly would make a link of.
EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)><a href=https://example.org>SN</a>"
STREAM = {"NAME": "alerce_stream.streams.AlerceAlertStream", "OPTIONS": {"USERNAME": "", "TOPIC_HANDLERS": {}}}
PLOT = "document.querySelector('#alerce .js-plotly-plot')"


@pytest.fixture
def target() -> Any:
    made = Target.objects.create(name=NAME, type="SIDEREAL", ra=150.0, dec=20.0, permissions="PUBLIC")
    alerts = [
        of(
            {
                "oid": NAME,
                "features": {**FEATURES, EVIL: EVIL},
                "lc_classification": {"probabilities": {EVIL: 0.4 + night / 10, "QSO": 0.6 - night / 10}},
            },
            "lc_classifier_20261101",
            sent=SENT + timedelta(days=night),
        )
        for night in range(3)
    ]
    options = AlerceOptions()
    ingest_classifications(alerts, look_up(alerts, options=options), options=options)
    return made


@pytest.mark.django_db(transaction=True)
def test_the_plot_is_drawn_and_alerts_stay_text(
    browser: Browser, live_server: Any, client: Client, target: Any, settings: Any
) -> None:
    settings.ALERT_STREAMS = [STREAM]
    client.force_login(User.objects.create_user("astronomer"))
    browser.open(f"{live_server.url}/accounts/login/")
    browser.add_cookie("sessionid", client.cookies["sessionid"].value)
    browser.open(live_server.url + reverse("targets:detail", kwargs={"pk": target.pk}) + "?tab=alerce")

    wait_until(lambda: browser.run(f"return {PLOT} !== null"), "the plot", 20)
    assert browser.run(f"return {PLOT}.querySelectorAll('.scatterlayer .trace').length") == 2
    assert browser.run(f"return {PLOT}.querySelectorAll('.scatterlayer .trace .point').length") == 6
    assert browser.run(f"return {PLOT}.data.map(line => line.y)") == [[0.4, 0.5, 0.6], [0.6, 0.5, 0.4]]
    legend = f"return [...{PLOT}.querySelectorAll('.legendtext')].map(text => text.textContent)"
    assert browser.run(legend) == [EVIL, "QSO"]

    # No element was made of it, here or in the plot.
    assert browser.run("return document.querySelectorAll('#alerce img').length") == 0
    assert browser.run("return document.querySelector('#alerce td:nth-child(2)').textContent") == EVIL
    link = browser.run("return document.querySelector('#alerce a').href")
    assert link == f"https://alerce.online/object/{NAME}"

    seen = "return document.querySelector('#alerce details table').checkVisibility()"
    assert not browser.run(seen)
    browser.click("#alerce summary")
    assert browser.run(seen)
    assert "W1-W2" in browser.run("return document.querySelector('#alerce details').innerText")
