# What a developer needs. Only Python 3.10 to 3.13 and make have to be there; PYTHON=… names another interpreter.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
MANAGE := $(PY) example_tom/manage.py
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help venv demo test check format mutants faults bench

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 10

venv: $(STAMP) ## create .venv and install the package with everything for its development

# The tests start programs by the hundred: without bytecode each would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE

# Installed again only when the requirements change. The stamp comes last, so that a broken installation is repeated.
# Compiling all of it takes as long as downloading it; Python compiles what is imported, when it is.
$(STAMP): setup.py
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 10) <= sys.version_info[:2] <= (3, 13) else \
	    "Python 3.10 to 3.13 is needed, this is " + sys.version.split()[0] + "; name another: make PYTHON=python3.12")'
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV); the first time takes some minutes."
	@$(PY) -m pip install --quiet --quiet --disable-pip-version-check --no-compile --editable '.[dev]'
	@touch $@

demo: $(STAMP) ## a simulated night in an example TOM; ARGS=--once runs it through and ends
	@$(PY) example_tom/demo.py $(ARGS)

test: $(STAMP) ## the test suite, on SQLite and PostgreSQL; ARGS go to pytest
	@$(PY) -m tests.services --suite -- $(ARGS)

check: $(STAMP) ## lint, types, layers, migrations, Django's checks
	@run_dir=$$(mktemp -d) && trap 'rm -rf "$$run_dir"' EXIT && export EXAMPLE_TOM_RUN_DIR="$$run_dir" && set -ex && \
	    $(VENV)/bin/ruff check . && \
	    $(VENV)/bin/ruff format --check . && \
	    $(VENV)/bin/mypy && \
	    $(VENV)/bin/lint-imports && \
	    $(MANAGE) makemigrations --check --dry-run && \
	    $(MANAGE) check --fail-level WARNING

format: $(STAMP) ## let ruff format and sort the code
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

mutants: $(STAMP) ## take each promise away and see its test fail
	@$(PY) -m tests.mutants.run $(ARGS)

faults: $(STAMP) ## mishap upon mishap, for an hour: nothing is lost, nothing is double; ARGS="--seed 7 storm" makes one proof again
	@$(PY) -m tests.faults.run $(ARGS)

bench: $(STAMP) ## how fast it is, beside what a hand would write; ARGS="--minute", ARGS="--alerts 20000 ingest sqlite"
	@$(PY) -m tests.benchmarks.run $(ARGS)
