"""What import-linter does not see: what the command line loads, and how few modules a question needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT

HEAVY = {
    "ingest.cli": ("numpy", "pyarrow", "sqlalchemy", "redis", "huey", "dbt", "shapely", "pycurl", "duckdb", "psycopg"),
    "admin_boundaries": ("numpy", "pyarrow", "duckdb", "psycopg", "yaml", "ingest"),
    "admin_boundaries.warehouse": ("numpy", "pyarrow", "sqlalchemy", "shapely", "duckdb", "psycopg"),
    "admin_boundaries.postgres_warehouse": ("numpy", "pyarrow", "sqlalchemy", "shapely", "duckdb"),
    "ingest.ledger": ("numpy", "pyarrow", "pycurl", "huey", "shapely"),
    "ingest.pipeline.tasks": ("sedonadb", "geopandas", "matplotlib", "dbt"),
}


@pytest.mark.parametrize("module", HEAVY)
def test_a_module_loads_no_library_that_only_others_need(module: str) -> None:
    code = f"import sys, {module}\nprint(*(name for name in sys.argv[1:] if name in sys.modules))"
    command = [sys.executable, "-c", code, *HEAVY[module]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
