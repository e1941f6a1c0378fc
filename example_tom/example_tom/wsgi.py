"""WSGI entry point of the example TOM."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "example_tom.settings")
application = get_wsgi_application()
