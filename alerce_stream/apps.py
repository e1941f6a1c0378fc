"""The app ``alerce_stream``. It has no tables of its own: classifications are stored by ``tom_alertstreams.ingest``."""

from __future__ import annotations

from django.apps import AppConfig


class AlerceStreamConfig(AppConfig):
    """ALeRCE's streams."""

    name = "alerce_stream"
    label = "alerce_stream"
    verbose_name = "ALeRCE"
