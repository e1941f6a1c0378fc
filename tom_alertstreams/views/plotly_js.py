"""plotly.js for the plots of these pages, from this server: the one that the Python package brings."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.gzip import gzip_page
from django.views.decorators.http import require_safe

_FOR_EVER: Final = "public, max-age=31536000, immutable"


def plotly_url() -> str:
    """Its address, which another version does not have: browsers may keep it for ever."""
    from plotly import __version__

    return reverse("tom_alertstreams:plotly", kwargs={"version": __version__})


@gzip_page
@require_safe
def plotly_js(request: HttpRequest, version: str) -> HttpResponse:
    """4.5 MB, compressed 1.4 MB; once for each browser."""
    from plotly import __version__

    if version != __version__:
        raise Http404
    script = files("plotly").joinpath("package_data", "plotly.min.js").read_bytes()
    return HttpResponse(script, content_type="text/javascript; charset=utf-8", headers={"Cache-Control": _FOR_EVER})
