"""The unit tests of the models, on DuckDB and before anything is loaded: the quickest way to run all of them."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from ingest import catalog, settings, sinks
from ingest.ledger import Ledger
from tests.conftest import ROOT
from tests.integration.conftest import Warehouse

pytestmark = pytest.mark.slow


def test_the_models_of_an_empty_warehouse_are_built_and_their_unit_tests_pass(tmp_path: Path) -> None:
    env = {
        **os.environ,
        **{"WAREHOUSE_TARGET": "embedded", "WAREHOUSE_HOME": str(tmp_path), "INGEST_SECRET": "secret-of-the-tests"},
        **{"DBT_TARGET_PATH": str(tmp_path / "target"), "DBT_LOG_PATH": str(tmp_path / "dbt-logs")},
        "PYTHONPATH": str(ROOT),
    }
    target = settings.read_settings(env)
    Ledger(target).open()
    for name, dataset in catalog.datasets().items():
        sinks.get(target).ensure_published(name, dataset.tables)
    printed = Warehouse(env, tmp_path).dbt("build", "--exclude-resource-type", "test").stdout
    assert re.search(r"(\d+) unit tests", printed)
