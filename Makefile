# `make` lists what there is to do.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SHELL  := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help install install-dev servers demo build docs pictures test test-unit test-integration chaos mutants benchmark lint format check lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(VENV)/.installed ## the environment to use the project: .venv with hash-locked packages

install-dev: $(VENV)/.installed-dev ## the environment to work on the project

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; $$($(PYTHON) --version) found. Try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.lock pyproject.toml | $(VENV)/bin/pip
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

servers: ## install PostgreSQL with PostGIS, and Redis, where they are missing (Debian, Ubuntu; as root)
	@bash scripts/install_servers.sh

demo: install ## two minutes: the bundled sample, from file to tested tables and a docs page; no server needed
	WAREHOUSE_TARGET=embedded $(BIN)/python -m ingest gadm timezones --release sample
	WAREHOUSE_TARGET=embedded $(BIN)/dbt --quiet build
	WAREHOUSE_TARGET=embedded $(BIN)/dbt --quiet docs generate --static
	@WAREHOUSE_TARGET=embedded $(BIN)/python -m ingest pictures --page target/static_index.html >/dev/null
	@WAREHOUSE_TARGET=embedded $(BIN)/python scripts/show_demo.py

build: install ## dbt build on the target
	$(BIN)/dbt build

docs: install ## the docs site as one page, with pictures of this warehouse: target/static_index.html
	$(BIN)/dbt docs generate --static
	$(BIN)/python -m ingest pictures --page target/static_index.html

pictures: install-dev ## the pictures and screenshots in docs/images, from the bundled sample and nothing else
	$(BIN)/python scripts/make_pictures.py

test: servers install-dev ## every test, on real PostGIS and Redis that the suite starts itself
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

test-unit: install-dev ## the tests that need no server
	$(BIN)/pytest tests/ingest -n 2

test-integration: servers install-dev ## the tests on PostGIS and Redis
	$(BIN)/pytest tests/integration

chaos: servers install-dev ## thirty rounds of random kills over a load: nothing lost, nothing doubled (half an hour)
	$(BIN)/python -m tests.chaos --rounds $(or $(ROUNDS),30)

mutants: servers install-dev ## small faults put into the code, one at a time: the tests must notice 95 of 100 (an hour or two)
	$(BIN)/python -m tests.mutants

benchmark: servers install-dev ## our ingest and its peers on one file: SCALE=1 is the size of the world (under an hour), SCALE=0.1 a tenth
	$(BIN)/python -m benchmarks.run --scale $(or $(SCALE),0.1)

lint: install-dev ## ruff, mypy, import-linter, sqlfluff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/sqlfluff lint models macros tests/dbt

format: install-dev ## put the Python code in shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: lint test ## what CI runs

lock: ## write requirements.lock and requirements-dev.lock anew
	$(BIN)/uv pip compile $(LOCK_OPTIONS) --output-file requirements.lock pyproject.toml
	$(BIN)/uv pip compile $(LOCK_OPTIONS) --extra dev --output-file requirements-dev.lock pyproject.toml requirements.lock

# universal: one lock for every supported Python; a lock made by 3.11.7 lacks what 3.11.2 needs
LOCK_OPTIONS := --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-header --no-emit-index-url

clean: ## remove the environment, what dbt made and what the tests left; not the warehouse
	rm -rf $(VENV) target logs .pytest_cache .mypy_cache .ruff_cache
