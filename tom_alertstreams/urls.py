"""Under ``alertstreams/``. A TOM includes them by itself; another Django project gets the health of its streams only."""

from __future__ import annotations

from django.apps import apps
from django.urls import URLPattern, path

from .views.health import health

app_name = "tom_alertstreams"
urlpatterns: list[URLPattern] = [path("health/", health, name="health")]

if apps.is_installed("tom_common"):
    from .views.streams import Streams

    urlpatterns += [path("", Streams.as_view(), name="streams")]
    from .views.letter_actions import ActionPage, Actions, ActionStep, BeginAction
    from .views.letters import DeadLetters, LetterBytes, LetterContent, LettersOneByOne, OneLetter

    urlpatterns += [
        path("deadletters/", DeadLetters.as_view(), name="dead_letters"),
        path("deadletters/each/", LettersOneByOne.as_view(), name="letters"),
        path("deadletters/<int:pk>/", OneLetter.as_view(), name="letter"),
        path("deadletters/<int:pk>/content/", LetterContent.as_view(), name="letter_content"),
        path("deadletters/<int:pk>/bytes/", LetterBytes.as_view(), name="letter_bytes"),
        path("deadletters/begin/", BeginAction.as_view(), name="begin_letter_action"),
        path("deadletters/actions/", Actions.as_view(), name="letter_actions"),
        path("deadletters/actions/<int:pk>/", ActionPage.as_view(), name="letter_action"),
        path("deadletters/actions/<int:pk>/step/", ActionStep.as_view(), name="letter_action_step"),
    ]

# What the alerts did is known where the ready-made handlers write it down.
if apps.is_installed("tom_alertstreams.ingest"):
    from .views.alerts import Alerts, alerts_csv
    from .views.plotly_js import plotly_js
    from .views.rate_plot import Rates
    from .views.rejections import Rejected
    from .views.sky_map import SkyMap, sky_points

    urlpatterns += [
        path("alerts/", Alerts.as_view(), name="alerts"),
        path("alerts.csv", alerts_csv, name="alerts_csv"),
        path("sky/", SkyMap.as_view(), name="sky"),
        path("sky/points.json", sky_points, name="sky_points"),
        path("rates/", Rates.as_view(), name="rates"),
        path("rejections/", Rejected.as_view(), name="rejections"),
        path("plotly-<str:version>.min.js", plotly_js, name="plotly"),
    ]
