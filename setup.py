"""Distribution metadata. Tools are configured in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

KAFKA = "confluent-kafka>=2.14.2,<3"
HOPSKOTCH = ["hop-client>=0.10,<1", "six"]  # hop's vendored bson imports six without declaring it
GCN = ["gcn-kafka>=0.3.4,<1"]
ANTARES = ["antares-client>=2"]
ALERCE = ["requests>=2.31", "stamina>=25.2"]
FINK = ["fink-client>=8.8"]
TOM = ["tomtoolkit>=3.1,<4", "django>=5.2,<6", "astropy-healpix>=1.1"]
POSTGRES = ["psycopg[binary]>=3.2"]
METRICS = ["prometheus-client>=0.20"]

setup(
    name="tom-alertstreams",
    version="1.4.0",
    description="Bring alerts from Kafka brokers into a TOM: nothing lost, nothing twice.",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="GPL-3.0-only",
    python_requires=">=3.10,<3.14",
    packages=[
        *find_packages(include=["tom_alertstreams*", "alerce_stream*", "apf_bridge*"]),
        # Folders of data only: setuptools warns of those that are not named.
        "alerce_stream.schemas",
        "alerce_stream.templates.alerce_stream",
        "apf_bridge.management.templates",
        "tom_alertstreams.management.templates",
        "tom_alertstreams.static.tom_alertstreams",
        "tom_alertstreams.templates.tom_alertstreams",
        "tom_alertstreams.templates.tom_alertstreams.letters",
        "tom_alertstreams.templates.tom_alertstreams.partials",
    ],
    include_package_data=True,
    package_data={"": ["py.typed", "templates/*-tpl", "schemas/*.avsc", "*.html", "*.css", "*.js"]},
    entry_points={"console_scripts": ["apf-run-step=apf_bridge.run_step:main"]},
    install_requires=["django>=4.2,<6", KAFKA, "fastavro>=1.9", "defusedxml>=0.7.1"],
    extras_require={
        "hopskotch": HOPSKOTCH,
        "gcn": GCN,
        "antares": ANTARES,
        "fink": FINK,
        "all-streams": [*HOPSKOTCH, *GCN, *ANTARES, *FINK, *ALERCE],
        "tom": TOM,
        "alerce": ALERCE,
        "postgres": POSTGRES,
        "metrics": METRICS,
        "apf": ["pyyaml>=6", *METRICS],
        "dev": [
            *TOM, *HOPSKOTCH, *GCN, *ANTARES, *POSTGRES, *ALERCE, *METRICS,
            "pyyaml>=6", "rich>=13",
            "pytest>=8.3", "pytest-django>=4.9", "pytest-timeout>=2.3", "pytest-randomly>=3.15", "pytest-xdist>=3.6",
            "hypothesis>=6.100", "ruff>=0.17,<0.18",
            "mypy>=2.4,<3", "django-stubs>=6.0,<7", "import-linter>=2.5", "types-requests", "types-defusedxml",
            "types-PyYAML",
            # Pages in a browser that reaches no other machine: Bootstrap, and what finds barriers for readers.
            "django-bootstrap-static>=5.3", "axe-core-python>=0.1",
            # Released handlers that must run unchanged. sqlalchemy 2.1 reads postgresql:// as psycopg 3, which the
            # second of them does not install.
            "tom-hermes==0.2.1", "tom-nonlocalizedevents==1.0.0", "sqlalchemy<2.1",
        ],
    },
    classifiers=[
        "Environment :: Web Environment",
        "Framework :: Django",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Astronomy",
    ],
)  # fmt: skip
