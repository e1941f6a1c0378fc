"""A TOM as a user would have it. What concerns alert streams is at the end."""

from __future__ import annotations

import os
from pathlib import Path

from tom_common.default_settings import *

BASE_DIR = Path(__file__).resolve().parent.parent
RUN_DIR = Path(os.environ.get("EXAMPLE_TOM_RUN_DIR", BASE_DIR / "run"))

SECRET_KEY = "only for the example: a real TOM keeps its own key secret"
DEBUG = True
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
TOM_NAME = "Example TOM"
SITE_ID = 1

INSTALLED_APPS = [
    *TOMTOOLKIT_INSTALLED_APPS,
    "tom_alertstreams",
    "tom_alertstreams.ingest",
    "alerce_stream",
    "apf_bridge",
    "bootstrap",  # django-bootstrap-static
]
MIDDLEWARE = [*TOMTOOLKIT_MIDDLEWARE]
AUTHENTICATION_BACKENDS = [*TOMTOOLKIT_AUTHENTICATION_BACKENDS]
ROOT_URLCONF = "example_tom.urls"
WSGI_APPLICATION = "example_tom.wsgi.application"
CRISPY_TEMPLATE_PACK = "bootstrap5"
# Bootstrap from this server, so that pages look as they should on a telescope's network without the Internet too.
BOOTSTRAP5 = {
    "css_url": {"url": "/static/bootstrap/css/bootstrap.min.css"},
    "javascript_url": {"url": "/static/bootstrap/js/bootstrap.bundle.min.js"},
}
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.debug",
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# SQLite beside a web server: WAL lets pages be read while alerts are written, IMMEDIATE takes the writer's lock at the
# start of a transaction instead of failing in its middle, and whoever has to wait waits up to 20 s.
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": RUN_DIR / "tom.sqlite3",
        "OPTIONS": {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"

LOGIN_URL = "/accounts/login/"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/"
LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True
FORMAT_MODULE_PATH = ["tom_base.formats"]
STATIC_URL = "/static/"
STATIC_ROOT = RUN_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
MEDIA_ROOT = RUN_DIR / "media"
MEDIA_URL = "/data/"
CACHES = {"default": {"BACKEND": "django.core.cache.backends.filebased.FileBasedCache", "LOCATION": RUN_DIR / "cache"}}
TASKS = {"default": {"BACKEND": "django_tasks.backends.immediate.ImmediateBackend"}}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"timestamped": {"format": "[{asctime}] {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "timestamped"}},
    "loggers": {"": {"handlers": ["console"], "level": "INFO"}},
}

# The TOM Toolkit's own settings.
TARGET_TYPE = "SIDEREAL"
MATCH_MANAGERS: dict[str, str] = {}
FACILITIES: dict[str, dict[str, str]] = {}
DATA_PRODUCT_TYPES = {"photometry": ("photometry", "Photometry"), "spectroscopy": ("spectroscopy", "Spectroscopy")}
DATA_PROCESSORS = {
    "photometry": "tom_dataproducts.processors.photometry_processor.PhotometryProcessor",
    "spectroscopy": "tom_dataproducts.processors.spectroscopy_processor.SpectroscopyProcessor",
}
TOM_FACILITY_CLASSES: list[str] = []
EXTRA_FIELDS: list[dict[str, str]] = []
GENERAL_SEARCH_FUNCTIONS: dict[str, str] = {}
SELECTION_EXTRA_FIELDS: list[str] = []
AUTH_STRATEGY = "READ_ONLY"
OPEN_URLS: list[str] = []
TARGET_PERMISSIONS_ONLY = True
# What streams bring in is for everyone who has an account. The toolkit's own default, PRIVATE, shows it to nobody but
# superusers.
TARGET_DEFAULT_PERMISSION = "PUBLIC"
TARGET_LIST_COLUMNS = ["name", "type", "observations", "saved_data"]
HOOKS = {
    "target_post_save": "tom_common.hooks.target_post_save",
    "observation_change_state": "tom_common.hooks.observation_change_state",
    "data_product_post_upload": "tom_dataproducts.hooks.data_product_post_upload",
    "data_product_post_save": "tom_dataproducts.hooks.data_product_post_save",
    "multiple_data_products_post_save": "tom_dataproducts.hooks.multiple_data_products_post_save",
}
AUTO_THUMBNAILS = False
THUMBNAIL_MAX_SIZE = (0, 0)
THUMBNAIL_DEFAULT_SIZE = (200, 200)
HINTS_ENABLED = False
HINT_LEVEL = 20
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "tom_common.accounts.api_auth.TomTokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": [],
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
    "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.LimitOffsetPagination",
    "PAGE_SIZE": 100,
}
PLOTLY_THEME = "plotly_white"
SHOW_PAGINATION_INFO = True

# The alert streams this TOM listens to: see the README. `make demo` starts a broker of its own in place of all four,
# which asks for no login, and names it in ALERT_BROKER. In a TOM of yours each stream has its own address, which most
# of them know by themselves, and the names and passwords that you got there.
ALERT_BROKER = os.environ.get("ALERT_BROKER", "")
# The demo's broker lets a consumer wait for nearly a session's length whenever the group changes; real ones do not, and
# need no CONFIG.
CONFIG = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 500}
INGEST = "tom_alertstreams.ingest.handlers.ingest_targets"
ALERT_STREAMS = [
    {
        "ACTIVE": bool(ALERT_BROKER),
        "NAME": "tom_alertstreams.alertstreams.kafka.KafkaAlertStream",
        "LABEL": "ztf",
        "OPTIONS": {
            "BOOTSTRAP_SERVERS": ALERT_BROKER,
            "CONFIG": CONFIG,
            # Every new source that is real with some certainty becomes a Target.
            "TOPIC_HANDLERS": {"ztf_alerts": {"HANDLER": INGEST, "OPTIONS": {"MIN_RB": 0.65}}},
        },
    },
    {
        "ACTIVE": bool(ALERT_BROKER),
        "NAME": "alerce_stream.streams.AlerceAlertStream",
        "LABEL": "alerce",
        "OPTIONS": {
            "BOOTSTRAP_SERVERS": ALERT_BROKER,  # kafka.alerce.science:9093 if left out
            "PROTOCOL": os.environ.get("ALERCE_PROTOCOL", "SASL_SSL"),
            "USERNAME": os.environ.get("ALERCE_USERNAME", ""),
            "PASSWORD": os.environ.get("ALERCE_PASSWORD", ""),
            "API_URL": os.environ.get("ALERCE_API_URL"),
            "CONFIG": CONFIG,
            # Supernovae become Targets. What is said of Targets that are there already is always stored.
            "TOPIC_HANDLERS": {
                "lc_classifier": {
                    "HANDLER": "alerce_stream.handlers.ingest_classifications",
                    "OPTIONS": {"CLASSES": ["SNIa", "SNIbc", "SNII", "SLSN"], "TARGET_LIST": "Supernovae (ALeRCE)"},
                },
                "stamp_classifier": {
                    "HANDLER": "alerce_stream.handlers.ingest_classifications",
                    "OPTIONS": {"CLASSES": ["SN"], "TARGET_LIST": "Supernovae (ALeRCE)"},
                },
            },
        },
    },
    {
        "ACTIVE": bool(ALERT_BROKER),
        "NAME": "tom_alertstreams.alertstreams.hopskotch.HopskotchAlertStream",
        "LABEL": "hopskotch",
        "OPTIONS": {
            "URL": f"kafka://{ALERT_BROKER or 'kafka.scimma.org'}/",
            "USERNAME": os.environ.get("SCIMMA_USERNAME", ""),
            "PASSWORD": os.environ.get("SCIMMA_PASSWORD", ""),
            "CONFIG": CONFIG,
            "TOPIC_HANDLERS": {"hermes.*": INGEST, "gcn.classic.text.*": INGEST},
        },
        "DELIVERY": {"START": "earliest"},  # the demo's alerts are there before anybody listens
    },
    {
        "ACTIVE": bool(ALERT_BROKER),
        "NAME": "tom_alertstreams.alertstreams.gcn.GCNClassicAlertStream",
        "LABEL": "gcn",
        "OPTIONS": {
            "GCN_CLASSIC_CLIENT_ID": os.environ.get("GCN_CLIENT_ID", ""),
            "GCN_CLASSIC_CLIENT_SECRET": os.environ.get("GCN_CLIENT_SECRET", ""),
            "CONFIG": {**CONFIG, "bootstrap.servers": ALERT_BROKER},
            "TOPIC_HANDLERS": {"gcn.notices.*": INGEST, "gcn.classic.voevent.*": INGEST, "igwn.gwalert": INGEST},
        },
        "DELIVERY": {"START": "earliest"},
    },
]
