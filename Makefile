# `make` lists the targets.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SHELL  := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help install install-dev servers spark demo build docs pictures test test-quick test-unit test-integration chaos mutants benchmark lint format check lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(VENV)/.installed ## install the project into .venv, with hash-locked packages

install-dev: $(VENV)/.installed-dev ## install the project and its development tools into .venv

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is required, not $$($(PYTHON) --version). Try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.lock pyproject.toml | $(VENV)/bin/pip
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

$(VENV)/.installed-spark: requirements-spark.lock scripts/spark_jars/sedona.txt $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-spark.lock
	@bash scripts/get_spark_jars.sh $(BIN)/python scripts/spark_jars/sedona.txt
	@touch $@

spark: $(VENV)/.installed-spark ## install Spark into .venv, and Sedona's jars into .spark (and Java, if it is missing: Debian or Ubuntu, as root)

servers: ## install PostgreSQL with PostGIS, Redis, Chromium and GDAL if they are missing (Debian or Ubuntu, as root)
	@bash scripts/install_servers.sh

demo: install ## load the bundled sample into tested tables and a docs page (three minutes, no server)
	WAREHOUSE_TARGET=embedded $(BIN)/python -m ingest gadm tiger timezones --release sample
	WAREHOUSE_TARGET=embedded $(BIN)/python -m ingest tiger --release sample-2023
	WAREHOUSE_TARGET=embedded BOUNDARIES=tiger $(BIN)/dbt --quiet build
	WAREHOUSE_TARGET=embedded $(BIN)/dbt --quiet build --vars 'concordance: [gadm, tiger]'
	WAREHOUSE_TARGET=embedded $(BIN)/dbt --quiet docs generate --static --vars 'concordance: [gadm, tiger]'
	@WAREHOUSE_TARGET=embedded $(BIN)/python -m ingest pictures --page target/static_index.html >/dev/null
	@WAREHOUSE_TARGET=embedded $(BIN)/python scripts/show_demo.py

build: install ## build and test the marts with dbt
	$(BIN)/dbt build

docs: install ## write the docs site, with pictures of this warehouse, to target/static_index.html
	$(BIN)/dbt docs generate --static
	$(BIN)/python -m ingest pictures --page target/static_index.html

pictures: install-dev ## regenerate the pictures and screenshots in docs/images from the bundled sample
	$(BIN)/python scripts/make_pictures.py

test: servers install-dev spark ## run all tests; the suite starts its own PostgreSQL and Redis
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

test-unit: install-dev ## run the tests that need no server
	$(BIN)/pytest tests/ingest -n 2

test-quick: servers install-dev spark ## the tests that take less than five seconds each
	$(BIN)/pytest -n 2 --dist loadfile -m "not slow"

test-integration: servers install-dev spark ## run the tests on PostGIS, Redis and Spark
	$(BIN)/pytest tests/integration

chaos: servers install-dev ## random faults during loads and builds, as root: nothing is lost, and readers see whole editions (ROUNDS=5 for fewer than thirty rounds)
	$(BIN)/python -m tests.chaos --rounds $(or $(ROUNDS),30)

mutants: servers install-dev spark ## put small faults into the code, one at a time; the tests must notice 95 of 100 (hours; --only TEXT of tests.mutants for a part)
	$(BIN)/python -m tests.mutants

benchmark: servers install-dev ## measure the ingest and its peers on one file: SCALE=0.1, or SCALE=1 for the size of the world (under an hour)
	$(BIN)/python -m benchmarks.run --scale $(or $(SCALE),0.1)

lint: install-dev spark ## run ruff, mypy, import-linter and sqlfluff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/sqlfluff lint --processes 2 models macros tests/dbt

format: install-dev ## format the Python code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: lint test ## run what CI runs: lint and all tests

lock: ## update requirements.lock and those of Spark, of assistants, of development, of the examples and of the image's tools
	$(BIN)/uv pip compile $(LOCK_OPTIONS) --output-file requirements.lock pyproject.toml
	$(BIN)/uv pip compile $(LOCK_OPTIONS) --extra spark --output-file requirements-spark.lock pyproject.toml requirements.lock
	$(BIN)/uv pip compile $(LOCK_OPTIONS) --extra mcp --output-file requirements-mcp.lock pyproject.toml requirements.lock
	$(BIN)/uv pip compile $(LOCK_OPTIONS) --extra dev --output-file requirements-dev.lock pyproject.toml requirements.lock
	$(BIN)/uv pip compile $(LOCK_OPTIONS) --output-file requirements-examples.lock docs/examples/requirements.txt
	$(BIN)/uv pip compile $(LOCK_OPTIONS) --output-file docker/requirements-build.lock docker/requirements-build.txt

# --universal: one lock for every supported Python; a lock made for 3.11.7 alone lacks packages that 3.11.2 needs
LOCK_OPTIONS := --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-header --no-emit-index-url

clean: ## remove the environment, the output of dbt and caches, but not the warehouse
	rm -rf $(VENV) target logs .pytest_cache .mypy_cache .ruff_cache
