"""URLs of the example TOM: all of them come from the TOM Toolkit and its apps."""

from __future__ import annotations

from django.urls import include, path

urlpatterns = [path("", include("tom_common.urls"))]
